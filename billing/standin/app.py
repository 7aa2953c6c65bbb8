"""The stand-in as an ASGI application: Stripe's API, its own control API, and hosted pages."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from . import shown
from .account import Account
from .answers import Answers
from .clock import Clock
from .control import Control
from .deliveries import Deliveries
from .errors import ApiError, server_error
from .faults import Faults
from .form import decode
from .gate import Gate, body_of
from .pages import checkout, invoice
from .pages import portal as customer_portal
from .pages.html import page, tag
from .store import Store
from .things import (
    balances,
    cards,
    customers,
    disputes,
    events,
    invoices,
    items,
    notes,
    payments,
    portal,
    refunds,
    settling,
    setups,
)
from .things.endpoint import Endpoint
from .ticks import Ticks

logger = logging.getLogger(__name__)

_Show = Callable[[Account, str], Response]
_Act = Callable[[Account, str, dict[str, str]], Response]
_THINGS = (
    customers,
    balances,
    cards,
    setups,
    portal,
    invoices,
    items,
    settling,
    payments,
    refunds,
    notes,
    disputes,
    events,
)


def endpoints() -> list[Endpoint]:
    """Return all addresses of the API; fixed ones before those with ids."""
    every = [endpoint for thing in _THINGS for endpoint in thing.endpoints()]
    return sorted(every, key=lambda endpoint: endpoint.path.count("{}"))


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events go, and the secret that they are signed with."""

    url: str
    secret: str


def create_app(folder: Path, *, base_url: str, api_key: str = "", webhook: Webhook | None = None) -> Starlette:
    """Return the stand-in with its state in `folder`; `base_url` is where browsers reach it."""
    store = Store(folder / "standin.sqlite3")
    account = Account(store, Clock(store), Deliveries(store))
    account.base_url = base_url
    account.shown = lambda row: shown.shown(account, row)
    faults = Faults()
    account.declines = faults.declines
    gate = Gate(account, Answers(store), faults, api_key)
    ticks = Ticks(account)
    if webhook:
        with store.transaction():
            events.register(account, webhook.url, webhook.secret, events=["*"])
    table = endpoints()
    control = Control(account, faults, gate, ticks, {endpoint.name for endpoint in table})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        jobs = [asyncio.create_task(ticks.run()), asyncio.create_task(account.deliveries.run())]
        for job in jobs:
            job.add_done_callback(_ended)
        try:
            yield
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            store.close()

    return Starlette(
        routes=[*_api(table, gate), *control.routes(), *_pages(account)],
        exception_handlers={Exception: _crash},
        lifespan=lifespan,
    )


def server_config(app: Starlette) -> uvicorn.Config:
    """Return how to serve `app` so that faults can break connections."""
    return uvicorn.Config(
        app,
        http=BreakableProtocol,
        ws="none",
        loop="asyncio",
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


def _api(table: Sequence[Endpoint], gate: Gate) -> list[Route]:
    def route(endpoint: Endpoint | None) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await gate.pass_through(endpoint, request)

        return answer

    routes = [
        Route(_template(endpoint.path), route(endpoint), methods=[endpoint.method], include_in_schema=False)
        for endpoint in table
    ]
    methods = ["GET", "POST", "DELETE", "PUT", "PATCH"]
    return [
        *routes,
        Route("/v1/{rest:path}", route(None), methods=methods),
        Route("/v2/{rest:path}", route(None), methods=methods),
    ]


def _template(path: str) -> str:
    """Return a path as Starlette writes it: `/v1/customers/{id0}`."""
    first, *rest = path.split("{}")
    return first + "".join(f"{{id{number}}}{part}" for number, part in enumerate(rest))


def _pages(account: Account) -> list[Route]:
    def shows(show: _Show) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return _shown(lambda: show(account, request.path_params["id"]))

        return answer

    def acts(act: _Act) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                form = decode((await body_of(request)).decode("utf-8", "replace"))
            except ApiError as error:
                return _refused(error)
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            return _acted(account, lambda: act(account, request.path_params["id"], fields))

        return answer

    both = (
        ("checkout", checkout.show, checkout.act),
        ("invoice", invoice.show, invoice.act),
        ("portal", customer_portal.show, customer_portal.act),
    )
    return [
        *(Route(f"/{name}/{{id}}", shows(show), methods=["GET"]) for name, show, _ in both),
        *(Route(f"/{name}/{{id}}", acts(act), methods=["POST"]) for name, _, act in both),
        Route("/invoice/{id}/pdf", shows(invoice.invoice_pdf), methods=["GET"]),
        Route("/credit-note/{id}/pdf", shows(invoice.note_pdf), methods=["GET"]),
    ]


def _shown(show: Callable[[], Response]) -> Response:
    try:
        return show()
    except ApiError as error:
        return _refused(error)


def _refused(error: ApiError) -> Response:
    return page("Not here", tag("p", error.message), status=error.status)


def _acted(account: Account, act: Callable[[], Response]) -> Response:
    with account.store.transaction():
        response = _shown(act)
    account.deliveries.wake()
    return response


def _ended(job: asyncio.Task[None]) -> None:
    """End the process when a job that must not end does: a stand-in that only seems to work is worse than none."""
    if not job.cancelled():
        logger.error("the stand-in ends", exc_info=job.exception())
        signal.raise_signal(signal.SIGTERM)


async def _crash(_: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette logs it and raises it again
    return JSONResponse(server_error().body(""), HTTPStatus.INTERNAL_SERVER_ERROR)
