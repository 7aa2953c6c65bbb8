"""The agents' HTTP API: read a message, call one service, answer. `docs/architecture.md` has the list."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import OperationalError, close_old_connections
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from egress.wire.codec import WireError, decode, encode
from egress.wire.messages import (
    MAX_REQUEST_BYTES,
    ErrorReply,
    GatewayEnrol,
    GatewayReport,
    GatewaySyncRequest,
    NodeJoin,
    NodeReport,
    NodeSyncRequest,
)

from . import agents
from .errors import EgressError, Malformed, TooLarge, TooManyRequests, Unauthorized
from .guard import Guard
from .watch import Position, Watcher

log = logging.getLogger(__name__)
GUARD = Guard()

P = ParamSpec("P")
R = TypeVar("R")
Handler = Callable[[HttpRequest, str, Any], Awaitable[object]]


View = Callable[[HttpRequest], Coroutine[Any, Any, HttpResponse]]


def _endpoint(kind: type[Any]) -> Callable[[Handler], View]:
    """Make a view of a handler that takes (request, bearer token, message of `kind`) and returns a message."""

    def decorate(handler: Handler) -> View:
        @csrf_exempt
        @wraps(handler)
        async def view(request: HttpRequest) -> HttpResponse:
            address = request.META.get("REMOTE_ADDR", "")
            try:
                token = _bearer(request)
                await _in_thread(GUARD.admit, token, address)
                return _answer(200, await _served(request, token, address))
            except TooManyRequests as error:
                refusal = _refusal(error.http_status, error.code, str(error))
                refusal["Retry-After"] = str(error.retry_after_seconds)
                return refusal
            except WireError as error:
                return _refusal(Malformed.http_status, Malformed.code, str(error))
            except EgressError as error:
                return _refusal(error.http_status, error.code, str(error))
            except OperationalError as error:
                log.warning("%s: the database is away: %s", request.path, error)
                return _refusal(
                    503, "unavailable", "The control plane can't reach its database: try again in a moment."
                )

        async def _served(request: HttpRequest, token: str, address: str) -> object:
            message = decode(kind, _body(request))
            try:
                reply = await handler(request, token, message)
            except Unauthorized:
                await _in_thread(GUARD.failed, token, address)
                raise
            GUARD.passed(token)
            return reply

        return view

    return decorate


def _bearer(request: HttpRequest) -> str:
    if request.method != "POST":
        raise Malformed("The agent API takes POST requests only.")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("Send the header Authorization: Bearer followed by the token.")
    return token


def _body(request: HttpRequest) -> bytes:
    """Return the body, of which no more than the limit is ever parsed."""
    body: bytes = request.read(MAX_REQUEST_BYTES + 1)
    if len(body) > MAX_REQUEST_BYTES:
        raise TooLarge(f"The message is larger than {MAX_REQUEST_BYTES} bytes.")
    return body


def _answer(status: int, message: object) -> HttpResponse:
    return HttpResponse(encode(message), status=status, content_type="application/json")


def _refusal(status: int, code: str, text: str) -> HttpResponse:
    return _answer(status, ErrorReply(code=code, message=text[:1000]))


async def _in_thread(service: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a service in a worker thread that gives its connection back, so that a poll holds none while it waits."""

    def call() -> R:
        close_old_connections()
        try:
            return service(*args, **kwargs)
        finally:
            close_old_connections()

    return await sync_to_async(call, thread_sensitive=False)()


@_endpoint(NodeJoin)
async def nodes_join(_request: HttpRequest, token: str, message: NodeJoin) -> object:
    """Take a node into its cluster."""
    return await _in_thread(agents.node_join, token=token, message=message)


@_endpoint(NodeSyncRequest)
async def nodes_sync(_request: HttpRequest, token: str, message: NodeSyncRequest) -> object:
    """Note what the node applied; answer once there is something other than that."""
    node = await _in_thread(agents.node_acknowledge, token=token, message=message)

    def changed(position: Position | None) -> bool:
        return position is None or (position.epoch, position.revision) != (message.epoch, message.applied_revision)

    await Watcher.here().wait(node.cluster_id, changed, message.wait_seconds, who=node.pk)
    return await _in_thread(agents.node_delta, token=token, message=message)


@_endpoint(NodeReport)
async def nodes_report(_request: HttpRequest, token: str, message: NodeReport) -> object:
    """Keep what the node sees."""
    return await _in_thread(agents.node_report, token=token, message=message)


@_endpoint(GatewayEnrol)
async def gateways_enrol(request: HttpRequest, token: str, message: GatewayEnrol) -> object:
    """Give a gateway its credential."""
    address = request.META.get("REMOTE_ADDR", "")
    return await _in_thread(agents.gateway_enrol, token=token, message=message, remote_address=address)


@_endpoint(GatewaySyncRequest)
async def gateways_sync(_request: HttpRequest, token: str, message: GatewaySyncRequest) -> object:
    """Note the client list that the gateway applied; answer once there is another."""
    gateway = await _in_thread(agents.gateway_acknowledge, token=token, message=message)

    def changed(position: Position | None) -> bool:
        return position is None or position.clients_revision != message.applied_revision

    await Watcher.here().wait(gateway.assignment.cluster_id, changed, message.wait_seconds, who=gateway.pk)
    return await _in_thread(agents.gateway_clients, token=token, message=message)


@_endpoint(GatewayReport)
async def gateways_report(_request: HttpRequest, token: str, message: GatewayReport) -> object:
    """Keep what the gateway sees of itself."""
    return await _in_thread(agents.gateway_report, token=token, message=message)
