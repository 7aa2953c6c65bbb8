"""Which seconds of an assignment are billed, from its events and outages. Pure; times are seconds since 1970.

Billable is the time in which its status says that both gateways are ready and its addresses in use, and in which it is
wished for: from `distributing` on, to the request to disable it, or to where its status ends if that came first. What
passes between that request and one that takes it back, an undo, is free. Boundaries are floored to the second, so that
neighbouring pieces add up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

HOUR_SECONDS: Final = 3600
#: Later than all times, in microseconds: what hasn't ended.
NEVER: Final = 2**62
_SECOND: Final = 1_000_000

STATUS: Final = "assignment.status"
ENABLE: Final = "egress.enable"
DISABLE: Final = "egress.disable"
#: The statuses that are billed.
IN_USE: Final = frozenset({"distributing", "active"})


class Fact(NamedTuple):
    """One event of an assignment: when, its number in the history, what it is about, and the move of a status."""

    #: In microseconds since 1970.
    at: int
    number: int
    subject: str
    old: str = ""
    new: str = ""


class Piece(NamedTuple):
    """The seconds from `begin` up to `end`, which isn't one of them."""

    begin: int
    end: int


class Used(NamedTuple):
    """What was used of an hour, in seconds: billable ones, and those that would have been but for an outage."""

    seconds: int
    outage_seconds: int


def billable(facts: Iterable[Fact]) -> list[Piece]:
    """Return the billable time that `facts` tell of, in any order and any number of times: in order, apart."""
    known = {fact.number: fact for fact in facts}.values()
    moves = _in_order(fact for fact in known if fact.subject == STATUS)
    wishes = sorted(fact for fact in known if fact.subject in {ENABLE, DISABLE})
    in_use = _lasting((fact.at, fact.new in IN_USE) for fact in moves)
    # Who has an assignment wants it, until the first word to the contrary.
    wanted = _lasting([(0, True), *((fact.at, fact.subject == ENABLE) for fact in wishes)])
    return overlap(in_use, wanted)


def _in_order(moves: Iterable[Fact]) -> list[Fact]:
    """Return moves of a status in the order in which they happened.

    That is the order of their times, unless that of their numbers is an unbroken chain, each beginning with the status
    that the last one ended with: then the clock was put back in between, and is believed from there on. So a move to
    `active` that seems to come after the last one never bills for ever.
    """
    numbered = sorted(moves, key=lambda fact: fact.number)
    if any(last.new != fact.old for last, fact in pairwise(numbered)):
        return sorted(numbered)
    latest = NEVER
    ordered: list[Fact] = []
    for fact in reversed(numbered):
        latest = min(latest, fact.at)
        ordered.append(fact._replace(at=latest))
    return ordered[::-1]


def _lasting(turns: Iterable[tuple[int, bool]]) -> list[Piece]:
    """Return when it was so, from turns in order, each of which holds until the next."""
    untils = pairwise([*turns, (NEVER, False)])
    return united(Piece(at // _SECOND, until // _SECOND) for (at, so), (until, _) in untils if so)


def united(pieces: Iterable[Piece]) -> list[Piece]:
    """Return the same time as pieces that don't touch, in order."""
    joined: list[Piece] = []
    for piece in sorted(piece for piece in pieces if piece.begin < piece.end):
        if joined and piece.begin <= joined[-1].end:
            joined[-1] = Piece(joined[-1].begin, max(joined[-1].end, piece.end))
        else:
            joined.append(piece)
    return joined


def overlap(some: Sequence[Piece], others: Sequence[Piece]) -> list[Piece]:
    """Return the time that is in both; each in order and apart."""
    both = (Piece(max(a.begin, b.begin), min(a.end, b.end)) for a in some for b in others)
    return sorted(piece for piece in both if piece.begin < piece.end)


def by_hour(pieces: Sequence[Piece], outages: Sequence[Piece], within: Piece) -> dict[int, Used]:
    """Return what was used in each whole hour of `within`, by the hour's first second; hours without use are left out.

    `pieces` and `outages` are each in order and apart.
    """
    inside = overlap(pieces, [within])
    used = _seconds_by_hour(inside)
    out = _seconds_by_hour(overlap(inside, outages)) if outages else {}
    return {hour: Used(seconds - out.get(hour, 0), out.get(hour, 0)) for hour, seconds in used.items()}


def _seconds_by_hour(pieces: Iterable[Piece]) -> Mapping[int, int]:
    seconds: dict[int, int] = {}
    for hour, count in (part for piece in pieces for part in _parts(piece)):
        seconds[hour] = seconds.get(hour, 0) + count
    return seconds


def _parts(piece: Piece) -> Iterator[tuple[int, int]]:
    """Yield the hours that `piece` touches, each with its seconds there."""
    for hour in range(piece.begin - piece.begin % HOUR_SECONDS, piece.end, HOUR_SECONDS):
        yield hour, min(piece.end, hour + HOUR_SECONDS) - max(piece.begin, hour)
