"""A DigitalOcean-compatible API for the lab: the part of `/v2` that creates, watches, switches and destroys Droplets.

State lives in memory: when the lab ends, its Droplets are gone as well. `state` is the model, `work`
drives the hypervisor, `faults` makes the API misbehave; here is only HTTP. Serve it with `server_config`.
"""

import asyncio
import contextlib
import hmac
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from egress.lab.hypervisor import Hypervisor

from . import views
from .catalog import image_slug
from .errors import ApiError, bad_request, no_capacity, not_found, server_error, too_many_requests, unauthorized
from .faults import Fault, Faults, Operation
from .limits import RateLimit
from .requests import parse_action, parse_create, parse_json, parse_page
from .state import Action, CloudLayout, CloudState, Droplet
from .work import CloudWork

logger = logging.getLogger(__name__)

#: 64 KiB of user data, every character of it escaped in JSON, and room for the rest.
MAX_BODY_BYTES = 512 * 1024
BODY_TIMEOUT_SECONDS = 30
DROP_TIMEOUT_SECONDS = 10
MAX_ID_DIGITS = 18

_Handler = Callable[[Request], Awaitable[Response]]


def create_app(
    hypervisor: Hypervisor,
    *,
    tokens: Sequence[str],
    layout: CloudLayout | None = None,
    faults: Faults | None = None,
    requests_per_hour: int = 5_000,
    requests_per_minute: int = 250,
    work_timeout_seconds: float = 120,
    clock: Callable[[], float] = time.time,
) -> Starlette:
    """Return the API as an ASGI application. `clock` gives epoch seconds.

    `app.state.faults`, `app.state.cloud` (a CloudState) and `app.state.work` are the lab's handles on it.
    """
    state = CloudState(layout or CloudLayout())
    work = CloudWork(state, hypervisor, clock=clock, timeout_seconds=work_timeout_seconds)
    limits = {token: RateLimit(per_hour=requests_per_hour, per_minute=requests_per_minute) for token in tokens}
    faults = faults or Faults()
    api = CloudApi(state, work, clock)
    gate = Gate(limits, faults, work, clock)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await work.close()

    app = Starlette(
        routes=[
            Route(f"/v2{path}", gate.guard(operation, handler), methods=[method])
            for method, path, operation, handler in api.routes()
        ],
        exception_handlers={HTTPException: _http_error, Exception: _crash},
        lifespan=lifespan,
    )
    app.state.faults, app.state.cloud, app.state.work = faults, state, work
    return app


def server_config(app: Starlette, *, host: str, port: int, certificate: Path, key: Path) -> uvicorn.Config:
    """Return how to serve `app` over TLS so that the faults `dropped` and `dropped_before` can break connections."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BreakableProtocol,
        ws="none",
        loop="asyncio",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=2,
    )


class BreakableProtocol(H11Protocol):
    """HTTP/1.1 that hands its transport to the application: ASGI itself has no way to break a connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Note the transport in the ASGI scope's state."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class Gate:
    """What every request passes: token, rate limit, faults; and what every answer carries."""

    def __init__(
        self, limits: dict[str, RateLimit], faults: Faults, work: CloudWork, clock: Callable[[], float]
    ) -> None:
        self._limits = limits
        self._faults = faults
        self._work = work
        self._clock = clock

    def guard(self, operation: Operation, handler: _Handler) -> _Handler:
        """Return `handler` behind the gate; ApiErrors become answers."""

        async def guarded(request: Request) -> Response:
            headers: dict[str, str] = {}
            try:
                headers.update(self._admit(request))
                # All of it first: a client that gives up while the answer is slow doesn't undo its request.
                request.state.body = await _body(request)
                response = await self._with_faults(operation, handler, request)
            except ApiError as error:
                response = _error_response(error)
            except ClientDisconnect:
                response = _error_response(bad_request("The request ended before its body did."))
            response.headers.update(headers)
            return response

        return guarded

    def _admit(self, request: Request) -> dict[str, str]:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        known = [token for token in self._limits if hmac.compare_digest(token.encode(), given.encode())]
        if scheme.lower() != "bearer" or not known:
            raise unauthorized()
        verdict = self._limits[known[0]].request(self._clock())
        if not verdict.allowed:
            refusal = too_many_requests(verdict.retry_after_seconds)
            refusal.headers.update(verdict.headers())
            raise refusal
        return verdict.headers()

    async def _with_faults(self, operation: Operation, handler: _Handler, request: Request) -> Response:
        fault = request.state.fault = self._faults.take(operation)
        if fault is None:
            return await handler(request)
        logger.info("fault %s strikes %s", fault.kind, operation)
        if fault.kind == "late":
            self._work.spawn(_later(fault, handler, request))
            raise server_error(HTTPStatus.GATEWAY_TIMEOUT)
        await _before(fault, request)
        response = await handler(request)
        if fault.kind == "failed_after":
            raise server_error(fault.status)
        if fault.kind == "dropped":
            await _break_connection(request)
        return response


async def _later(fault: Fault, handler: _Handler, request: Request) -> None:
    await asyncio.sleep(fault.delay_seconds)
    try:
        await handler(request)
    except ApiError as error:
        logger.info("what came late was refused: %s", error)


async def _before(fault: Fault, request: Request) -> None:
    match fault.kind:
        case "slow":
            await asyncio.sleep(fault.delay_seconds)
        case "rate_limited":
            raise too_many_requests(fault.retry_after_seconds or None)
        case "failed_before":
            raise server_error(fault.status)
        case "dropped_before":
            await _break_connection(request)
            raise ClientDisconnect
        case "no_capacity":
            raise no_capacity()
        case "token_refused":
            raise unauthorized()


async def _break_connection(request: Request) -> None:
    transport = request.scope.get("state", {}).get("transport")
    if transport is None:
        raise RuntimeError("this fault needs a server made by server_config")
    transport.abort()
    async with asyncio.timeout(DROP_TIMEOUT_SECONDS):
        while (await request.receive())["type"] != "http.disconnect":
            pass


class CloudApi:
    """The endpoints. Each parses, asks the model, starts the work and shows the result."""

    def __init__(self, state: CloudState, work: CloudWork, clock: Callable[[], float]) -> None:
        self._state = state
        self._work = work
        self._clock = clock

    def routes(self) -> list[tuple[str, str, Operation, _Handler]]:
        """Return (method, path after /v2, operation, handler) of every endpoint."""
        return [
            ("POST", "/droplets", "create", self._create),
            ("GET", "/droplets", "list", self._list),
            ("DELETE", "/droplets", "delete", self._delete_by_tag),
            ("GET", "/droplets/{droplet_id}", "get", self._get),
            ("DELETE", "/droplets/{droplet_id}", "delete", self._delete),
            ("POST", "/droplets/{droplet_id}/actions", "action", self._act),
            ("GET", "/droplets/{droplet_id}/actions/{action_id}", "action_status", self._droplet_action),
            ("GET", "/droplets/{droplet_id}/neighbors", "other", self._neighbours),
            ("GET", "/reports/droplet_neighbors_ids", "other", self._neighbour_groups),
            ("GET", "/actions/{action_id}", "action_status", self._action),
            ("GET", "/images/{image}", "other", self._image),
            ("GET", "/account", "other", self._account),
            ("GET", "/tags", "other", self._tags),
        ]

    async def _create(self, request: Request) -> Response:
        wanted = parse_create(parse_json(request.state.body))
        fault = request.state.fault
        same_host = fault is not None and fault.kind == "same_host"
        created = self._state.create(wanted, self._clock(), same_host=same_host)
        # The answer shows the Droplets as they are now, without addresses: it is made before the work begins.
        base_url = f"{request.url.scheme}://{request.url.netloc}"
        answer = views.created_view(created, several=wanted.several, base_url=base_url)
        for droplet, action in created:
            self._work.start(action, droplet, fault)
        return JSONResponse(answer, HTTPStatus.ACCEPTED)

    async def _list(self, request: Request) -> Response:
        page = parse_page(request.query_params)
        droplets = self._state.droplets(tag=request.query_params.get("tag_name"), name=request.query_params.get("name"))
        return JSONResponse(views.list_view("droplets", droplets, views.droplet_view, page=page, url=str(request.url)))

    async def _get(self, request: Request) -> Response:
        return JSONResponse({"droplet": views.droplet_view(self._droplet(request))})

    async def _delete(self, request: Request) -> Response:
        droplet, fault = self._droplet(request), request.state.fault
        if fault is None or fault.kind != "stuck":
            self._state.remove(droplet)
            self._work.destroy(droplet)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _delete_by_tag(self, _: Request) -> Response:
        # One call that destroys every match: refused, so that nothing here can come to rely on it.
        raise ApiError(HTTPStatus.FORBIDDEN, "forbidden", "You do not have access for the attempted action.")

    async def _act(self, request: Request) -> Response:
        droplet = self._droplet(request)
        wanted = parse_action(parse_json(request.state.body))
        action = self._state.begin(droplet, wanted.type, self._clock())
        droplet.image = wanted.image or droplet.image
        answer = {"action": views.action_view(action)}
        self._work.start(action, droplet, request.state.fault)
        return JSONResponse(answer, HTTPStatus.CREATED)

    async def _droplet_action(self, request: Request) -> Response:
        action = self._find_action(request)
        if action.droplet_id != self._droplet(request).id:
            raise not_found()
        return JSONResponse({"action": views.action_view(action)})

    async def _action(self, request: Request) -> Response:
        return JSONResponse({"action": views.action_view(self._find_action(request))})

    async def _neighbours(self, request: Request) -> Response:
        droplets = self._state.neighbours(self._droplet(request))
        return JSONResponse({"droplets": [views.droplet_view(droplet) for droplet in droplets]})

    async def _neighbour_groups(self, _: Request) -> Response:
        return JSONResponse({"neighbor_ids": views.neighbour_groups(self._state.droplets())})

    async def _image(self, request: Request) -> Response:
        name: str = request.path_params["image"]
        slug = image_slug(int(name) if name.isascii() and name.isdecimal() and len(name) <= MAX_ID_DIGITS else name)
        if slug is None:
            raise not_found()
        return JSONResponse({"image": views.image_view(slug)})

    async def _account(self, _: Request) -> Response:
        return JSONResponse(views.account_view(self._state.layout))

    async def _tags(self, request: Request) -> Response:
        page = parse_page(request.query_params)
        tags = views.tags_of(self._state.droplets())
        return JSONResponse(views.list_view("tags", tags, dict, page=page, url=str(request.url)))

    def _droplet(self, request: Request) -> Droplet:
        droplet = self._state.droplet(_path_id(request, "droplet_id"))
        if droplet is None:
            raise not_found()
        return droplet

    def _find_action(self, request: Request) -> Action:
        action = self._state.action(_path_id(request, "action_id"))
        if action is None:
            raise not_found()
        return action


def _path_id(request: Request, name: str) -> int:
    text: str = request.path_params[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS):
        raise not_found()
    return int(text)


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise ApiError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large", "The request body is too large."
                    )
    except TimeoutError:
        raise ApiError(
            HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request body didn't arrive in time."
        ) from None
    return bytes(body)


def _error_response(error: ApiError) -> Response:
    return JSONResponse({"id": error.error_id, "message": error.message}, error.status, headers=error.headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _error_response(not_found())
    error_id = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return _error_response(
        ApiError(error.status_code, error_id, error.detail, headers=dict[str, Any](error.headers or {}))
    )


async def _crash(_: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette logs it and raises it again
    return _error_response(server_error())
