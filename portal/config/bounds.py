"""Bound what a request's body may take, in bytes and in time, on every path and before anything of it is kept.

Django itself writes a body of any size to a file before a view sees the request.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from django.conf import settings

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: More than any form, API request or report takes; rooms have tighter ones of their own.
MAX_BODY_BYTES = 1024 * 1024


class _Refused(Exception):
    """The body isn't taken."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class BoundedBodies:
    """An ASGI application that gives `application` whole bodies only, and none that is too large or too slow."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        try:
            async with asyncio.timeout(settings.REQUEST_BODY_SECONDS):
                first = await _whole(_declared(scope), receive)
        except TimeoutError:
            late = f"The request's body wasn't there after {settings.REQUEST_BODY_SECONDS:g} s."
            await _refuse(send, _Refused(HTTPStatus.REQUEST_TIMEOUT, "too_slow", late))
        except _Refused as refusal:
            await _refuse(send, refusal)
        else:
            await self._application(scope, _beginning_with(first, receive), send)


def _declared(scope: Scope) -> int:
    # The server has made sure that it is a number, and holds the sender to it.
    lengths = [int(value) for name, value in scope["headers"] if name == b"content-length" and value.isdigit()]
    return max(lengths, default=0)


async def _whole(declared: int, receive: Receive) -> Message:
    """Return one message with the whole body; the sender's going away is a message too. Raises _Refused."""
    body = bytearray()
    more = True
    while more:
        if max(declared, len(body)) > MAX_BODY_BYTES:
            large = f"The request's body is larger than {MAX_BODY_BYTES} bytes."
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", large)
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        more = message.get("more_body", False) or len(body) > MAX_BODY_BYTES
    return {"type": "http.request", "body": bytes(body), "more_body": False}


def _beginning_with(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def _refuse(send: Send, refusal: _Refused) -> None:
    body = json.dumps({"code": refusal.code, "message": str(refusal), "details": {}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # What is left of the body isn't read.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
