"""The stand-in's own API, `/_standin`, in JSON: time, faults, webhooks, disputes. Stripe has nothing like it."""

import json
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .account import Account
from .errors import ApiError, invalid
from .faults import Faults
from .gate import Gate, body_of
from .things import disputes, invoices
from .ticks import Ticks

MAX_SEARCH_LAG_SECONDS = 3_600
Wanted = dict[str, Any]
_Answer = Callable[[Wanted], Any]


class Control:
    """What the demo and the tests do to Stripe behind its clients' back. Needs the API key, as `/v1` does."""

    def __init__(self, account: Account, faults: Faults, gate: Gate, ticks: Ticks, operations: Collection[str]) -> None:
        self._account = account
        self._faults = faults
        self._gate = gate
        self._ticks = ticks
        self._operations = operations

    def routes(self) -> list[Route]:
        """Return the addresses."""
        table: list[tuple[str, str, _Answer]] = [
            ("GET", "clock", self._clock),
            ("POST", "clock", self._move_clock),
            ("GET", "faults", self._show_faults),
            ("POST", "faults", self._add_fault),
            ("DELETE", "faults", self._clear_faults),
            ("GET", "webhooks", self._show_webhooks),
            ("POST", "webhooks", self._behave),
            ("POST", "webhooks/again", self._again),
            ("POST", "disputes", self._dispute),
            ("POST", "disputes/decide", self._decide),
            ("POST", "settings", self._set),
        ]
        return [Route(f"/_standin/{path}", self._route(answer), methods=[method]) for method, path, answer in table]

    def _route(self, answer: _Answer) -> Callable[[Request], Awaitable[Response]]:
        async def route(request: Request) -> Response:
            try:
                self._gate.admit(request)
                return JSONResponse(answer(_parsed(await body_of(request))))
            except ApiError as error:
                return JSONResponse(error.body(""), error.status)
            except (KeyError, ValueError, TypeError) as error:
                return JSONResponse(invalid(str(error)).body(""), HTTPStatus.BAD_REQUEST)
            except ClientDisconnect:
                return Response(status_code=HTTPStatus.BAD_REQUEST)

        return route

    def _clock(self, _: Wanted) -> Wanted:
        return {"now": self._account.now(), "offset_seconds": self._account.clock.offset_seconds}

    def _move_clock(self, wanted: Wanted) -> Wanted:
        """`offset_seconds` ahead of the machine, or `forward_seconds` from now; what is due then is done at once."""
        clock = self._account.clock
        ahead = wanted.get("offset_seconds", clock.offset_seconds + int(wanted.get("forward_seconds", 0)))
        clock.move(int(ahead))
        self._ticks.tick()
        return self._clock({})

    def _show_faults(self, _: Wanted) -> Wanted:
        return {"waiting": self._faults.show(), "away": self._faults.away}

    def _add_fault(self, wanted: Wanted) -> Wanted:
        if "away" in wanted:
            self._faults.away = bool(wanted["away"])
        else:
            self._faults.inject(wanted, self._operations)
        return self._show_faults({})

    def _clear_faults(self, _: Wanted) -> Wanted:
        self._faults.clear()
        return self._show_faults({})

    def _show_webhooks(self, _: Wanted) -> Wanted:
        return {"deliveries": self._account.deliveries.show()}

    def _behave(self, wanted: Wanted) -> Wanted:
        habits = self._account.deliveries.behave(**wanted)
        return {"held": habits.held, "lost": habits.lost, "copies": habits.copies, "order": habits.order}

    def _again(self, wanted: Wanted) -> Wanted:
        event = self._account.store.get("event", str(wanted.get("event", "")))
        return {"endpoints": self._account.deliveries.again(event["id"])}

    def _dispute(self, wanted: Wanted) -> Wanted:
        names = {name: str(wanted[name]) for name in ("charge", "invoice") if name in wanted}
        return self._did(
            lambda: disputes.open_on(
                self._account, charge_id=names.get("charge", ""), invoice_id=names.get("invoice", "")
            )
        )

    def _decide(self, wanted: Wanted) -> Wanted:
        return self._did(lambda: disputes.decide(self._account, str(wanted["dispute"]), str(wanted["status"])))

    def _did(self, do: Callable[[], Wanted]) -> Wanted:
        with self._account.store.transaction():
            row = do()
        self._account.deliveries.wake()
        return row

    def _set(self, wanted: Wanted) -> Wanted:
        lag = float(wanted.get(invoices.SEARCH_LAG, 0))
        if not 0 <= lag <= MAX_SEARCH_LAG_SECONDS:
            raise ValueError(f"{invoices.SEARCH_LAG} must be from 0 to {MAX_SEARCH_LAG_SECONDS}, not {lag}")
        self._account.store.set_setting(invoices.SEARCH_LAG, str(lag))
        return {invoices.SEARCH_LAG: lag}


def _parsed(body: bytes) -> Wanted:
    wanted = json.loads(body) if body else {}
    if not isinstance(wanted, dict):
        raise TypeError("the body must be a JSON object")
    return wanted
