"""Keep notes of where pairs' new connections went and when, until the control plane has them: outages are billed by it.

Times are this node's own. What happens while the control plane or this agent is away is told later; what this agent
slept through bears the time at which it woke.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from egress.netkit.desired import Wish
from egress.netkit.local import fresh_gateway, routes_here
from egress.wire.codec import Bounds, Count, Identifier, WireError, decode, encode
from egress.wire.messages import MAX_ROUTES, Pivot, Route

from .state import write_atomic

log = logging.getLogger(__name__)
#: Notes kept at most; beyond it the oldest go, and the gap in the numbers shows it.
MAX_KEPT = 1_000
#: What one report takes of them.
MAX_TOLD = 100
_MAX_FILE_BYTES = 4 << 20
GatewayId = Annotated[str, Bounds(0, 64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where a pair's new connections go: a gateway's id, "" for none; and why."""

    gateway: str
    reason: str = ""


def choices(wish: Wish, reasons: Mapping[str, str]) -> dict[int, Choice]:
    """Return where new connections go, by the number of each active pair with containers here.

    `reasons` say, by gateway, why new connections are kept off it.
    """
    routes = (route for route in routes_here(wish).values() if route.state == "active")
    return {route.pair: _choice(route, wish, reasons) for route in routes}


def _choice(route: Route, wish: Wish, reasons: Mapping[str, str]) -> Choice:
    chosen = fresh_gateway(route, wish)
    words = {gateway.id: reasons.get(gateway.id) or gateway.state for gateway in route.gateways}
    told = ", ".join(f"{'AB'[gateway.slot]} {words[gateway.id]}" for gateway in route.gateways)
    return Choice(gateway=chosen.id if chosen else "", reason=told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What is on disk. By the pair's number: the gateway that is taken now, and the one that was taken last."""

    number: Count = 0
    present: Annotated[dict[Identifier, GatewayId], Bounds(0, MAX_ROUTES)] = field(default_factory=dict)
    last: Annotated[dict[Identifier, GatewayId], Bounds(0, MAX_ROUTES)] = field(default_factory=dict)
    untold: Annotated[tuple[Pivot, ...], Bounds(0, MAX_KEPT)] = ()


class PivotLog:
    """The notes in file `path`; `clock` gives Unix time.

    `on_change` is called when there is something to `save`: only what is on disk is told.
    """

    def __init__(self, path: Path, on_change: Callable[[], None], clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._on_change = on_change
        self._clock = clock
        # Numbers go on above those of a file that was lost: there is less than one pivot a second.
        self._notes = self._saved = _load(path) or Notes(number=int(clock()))

    @property
    def number(self) -> int:
        """The latest note's number."""
        return self._notes.number

    @property
    def outages(self) -> int:
        """How many pairs of containers here have no gateway for new connections."""
        return sum(not gateway for gateway in self._notes.present.values())

    def untold(self) -> tuple[Pivot, ...]:
        """Return the oldest notes not yet acknowledged, in order; none that isn't on disk."""
        known = self._notes.untold[:1]
        return tuple(pivot for pivot in self._saved.untold if known and pivot.number >= known[0].number)[:MAX_TOLD]

    def note(self, choices: Mapping[int, Choice]) -> None:
        """Note what differs from before. `choices` are all pairs with containers here.

        A pair that is new here and has a gateway is no pivot. For one without containers any more an outage is over.
        """
        old, present = self._notes, {str(pair): choice.gateway for pair, choice in choices.items()}
        if present == old.present:
            return
        news = [
            (pair, choice)
            for pair, choice in sorted(choices.items())
            if present[str(pair)] != old.present.get(str(pair), choice.gateway or None)
        ]
        news += [
            (int(pair), Choice(gateway=old.last[pair], reason="no container is left here"))
            for pair in sorted(old.present.keys() - present.keys())
            if not old.present[pair] and pair in old.last
        ]
        now = int(self._clock() * 1000)
        pivots = [
            Pivot(number=number, at=now, pair=pair, gateway=choice.gateway, reason=choice.reason)
            for number, (pair, choice) in enumerate(news, old.number + 1)
        ]
        last = {pair: gateway or old.last.get(pair, "") for pair, gateway in present.items()}
        self._notes = Notes(
            number=old.number + len(pivots),
            present=present,
            last={pair: gateway for pair, gateway in last.items() if gateway},
            untold=_fit((*old.untold, *pivots)),
        )
        self._on_change()

    def acknowledge(self, number: int) -> None:
        """Forget the notes up to `number`."""
        left = tuple(pivot for pivot in self._notes.untold if pivot.number > number)
        self._notes = replace(self._notes, untold=left)
        self._on_change()

    def save(self) -> None:
        """Bring the notes to disk, from one thread at a time. Raises OSError."""
        notes = self._notes
        if notes != self._saved:
            write_atomic(self._path, encode(notes))
            self._saved = notes


def _fit(pivots: tuple[Pivot, ...]) -> tuple[Pivot, ...]:
    if len(pivots) > MAX_KEPT:
        log.error("%d pivots that nobody was told of are forgotten", len(pivots) - MAX_KEPT)
    return pivots[-MAX_KEPT:]


def _load(path: Path) -> Notes | None:
    try:
        with path.open("rb") as file:
            return decode(Notes, file.read(_MAX_FILE_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, WireError) as error:
        log.error("%s is damaged, starting without it: %s", path, error)  # noqa: TRY400 - no fault of the program
        return None
