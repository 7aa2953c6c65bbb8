"""The agents' HTTP API: read a message, call one service, answer. `docs/architecture.md` has the list.

An ASGI application beside Django's: hundreds of agents come at the same moment, and each would pass through sessions,
forms' protection and threads that are there for browsers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from django.db import OperationalError

from egress.control.errors import EgressError, Malformed, NoSuchVerb, TooLarge, TooManyRequests, Unauthorized
from egress.wire.codec import WireError, decode, encode
from egress.wire.messages import (
    MAX_REQUEST_BYTES,
    PREFIX,
    ErrorReply,
    GatewayEnrol,
    GatewayReport,
    GatewaySyncRequest,
    NodeJoin,
    NodeReport,
    NodeSyncRequest,
)

from . import calls as agents
from . import node_polls
from .guard import Guard
from .hands import Hands
from .watch import Position, Watcher

log = logging.getLogger(__name__)
GUARD = Guard()

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: Takes a bearer token, the address it came from and a message; returns the message to answer with.
Handler = Callable[[str, str, Any], Awaitable[object]]


class _Answer(NamedTuple):
    status: int
    message: object
    headers: tuple[tuple[bytes, bytes], ...] = ()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request, for as long as its sender is there."""
    body = await _body(receive)
    answering = asyncio.ensure_future(_answer(scope, body))
    hung_up = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((answering, hung_up), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            await _send(send, answering.result())
    finally:
        answering.cancel()
        hung_up.cancel()
        await asyncio.gather(answering, hung_up, return_exceptions=True)


async def _body(receive: Receive) -> bytes:
    """Return the body, of which no more is kept than shows that it is too large."""
    body, more = b"", True
    while more:
        message = await receive()
        body = (body + message.get("body", b""))[: MAX_REQUEST_BYTES + 1]
        more = message.get("more_body", False)
    return body


async def _answer(scope: Scope, body: bytes) -> _Answer:
    try:
        return _Answer(200, await _served(scope, body))
    except TooManyRequests as error:
        return _refusal(error, (b"retry-after", str(error.retry_after_seconds).encode()))
    except EgressError as error:
        return _refusal(error)
    except WireError as error:
        return _refusal(Malformed(str(error)))
    except OperationalError as error:
        log.warning("%s: the database is away: %s", scope["path"], error)
        text = "The control plane can't reach its database: try again in a moment."
        return _Answer(503, ErrorReply(code="unavailable", message=text))


def _refusal(error: EgressError, *headers: tuple[bytes, bytes]) -> _Answer:
    return _Answer(error.http_status, ErrorReply(code=error.code, message=str(error)[:1000]), headers)


async def _send(send: Send, answer: _Answer) -> None:
    content = encode(answer.message)
    length = str(len(content)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length), *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _served(scope: Scope, body: bytes) -> object:
    kind, handler = _verb(scope)
    token = _bearer(scope)
    # None on a unix socket.
    address = (scope.get("client") or ("",))[0]
    if not GUARD.knows(token):
        await Hands.here().alone(GUARD.admit_stranger, address)
    if len(body) > MAX_REQUEST_BYTES:
        raise TooLarge(f"The message is larger than {MAX_REQUEST_BYTES} bytes.")
    message = decode(kind, body)
    try:
        reply = await handler(token, address, message)
    except Unauthorized:
        await Hands.here().alone(GUARD.failed, token, address)
        raise
    GUARD.passed(token)
    return reply


def _verb(scope: Scope) -> tuple[type[Any], Handler]:
    try:
        verb = _VERBS[scope["path"].removeprefix(PREFIX)]
    except KeyError:
        raise NoSuchVerb from None
    if scope["method"] != "POST":
        raise Malformed("The agent API takes POST requests only.")
    return verb


def _bearer(scope: Scope) -> str:
    authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("Send the header Authorization: Bearer followed by the token.")
    return str(token)


async def _nodes_join(token: str, _address: str, message: NodeJoin) -> object:
    """Take a node into its cluster."""
    return await Hands.here().alone(agents.node_join, token=token, message=message)


async def _nodes_sync(token: str, _address: str, message: NodeSyncRequest) -> object:
    """Note what the node applied; answer once there is something other than that."""
    poll = node_polls.Poll(token, message)
    node = await Hands.here().together(node_polls.acknowledge, poll)

    def changed(position: Position | None) -> bool:
        return position is None or (position.epoch, position.revision) != (message.epoch, message.applied_revision)

    await Watcher.here().wait(node.cluster_id, changed, message.wait_seconds, who=node.pk)
    return await Hands.here().together(node_polls.tell, poll)


async def _nodes_report(token: str, _address: str, message: NodeReport) -> object:
    """Keep what the node sees."""
    return await Hands.here().alone(agents.node_report, token=token, message=message)


async def _gateways_enrol(token: str, address: str, message: GatewayEnrol) -> object:
    """Give a gateway its credential."""
    return await Hands.here().alone(agents.gateway_enrol, token=token, message=message, remote_address=address)


async def _gateways_sync(token: str, _address: str, message: GatewaySyncRequest) -> object:
    """Note the client list that the gateway applied; answer once there is another."""
    gateway = await Hands.here().alone(agents.gateway_acknowledge, token=token, message=message)

    def changed(position: Position | None) -> bool:
        return position is None or position.clients_revision != message.applied_revision

    await Watcher.here().wait(gateway.assignment.cluster_id, changed, message.wait_seconds, who=gateway.pk)
    return await Hands.here().alone(agents.gateway_clients, token=token, message=message)


async def _gateways_report(token: str, _address: str, message: GatewayReport) -> object:
    """Keep what the gateway sees of itself."""
    return await Hands.here().alone(agents.gateway_report, token=token, message=message)


_VERBS: dict[str, tuple[type[Any], Handler]] = {
    "nodes/join": (NodeJoin, _nodes_join),
    "nodes/sync": (NodeSyncRequest, _nodes_sync),
    "nodes/report": (NodeReport, _nodes_report),
    "gateways/enrol": (GatewayEnrol, _gateways_enrol),
    "gateways/sync": (GatewaySyncRequest, _gateways_sync),
    "gateways/report": (GatewayReport, _gateways_report),
}
