"""What a history must cost, as plainly as it can be said: a byte for each second. Imports nothing of what it judges.

Times are whole microseconds since the history began; its seconds are numbered from 0 on.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

SECOND = 1_000_000
HOUR = 3_600
GIB = 1_024**3


@dataclass
class Node:
    """What a node says of one app: from when until when it had containers, and when it had no gateway, or again one."""

    carried: list[tuple[int, int]] = field(default_factory=list)
    turns: list[tuple[int, int, bool]] = field(default_factory=list)


@dataclass
class Life:
    """One assignment. `moves` and `wishes`: (when, whether it is in use, or wanted, from then on)."""

    name: str
    team: int
    created: int
    moves: list[tuple[int, bool]] = field(default_factory=list)
    wishes: list[tuple[int, bool]] = field(default_factory=list)
    nodes: dict[int, Node] = field(default_factory=lambda: defaultdict(Node))
    #: (when, slot, boot, reading)
    counters: list[tuple[int, int, str, int]] = field(default_factory=list)


@dataclass
class Price:
    since: int
    per_hour: Fraction
    cap_hours: int
    per_gib: Fraction
    included_gib: int


@dataclass
class Terms:
    team: int
    since: int
    percent: Fraction
    free_hours: int


@dataclass
class Month:
    """Seconds from `begin` up to `end`."""

    begin: int
    end: int


def seconds_of(life: Life, length: int) -> tuple[bytes, bytes]:
    """Return for each second whether it is billed, and whether it would be but for an outage."""
    in_use, wanted = _painted(life.moves, length), _painted([(0, True), *life.wishes], length)
    known_out, served = bytes(length), bytes(length)
    for node in life.nodes.values():
        out = _painted([(at, out) for at, _, out in sorted(node.turns)], length)
        carried = bytes(length)
        for begin, end in node.carried:
            carried = _any(carried, _painted([(begin, True), (end, False)], length))
        known_out = _any(known_out, _all(carried, out))
        served = _any(served, _all(carried, _not(out)))
    due = _all(in_use, wanted)
    out = _all(known_out, _not(served))
    return _all(due, _not(out)), _all(due, out)


def by_hour(seconds: bytes) -> dict[int, int]:
    """Return the seconds of each hour that has any."""
    counts = {first // HOUR: seconds[first : first + HOUR].count(1) for first in range(0, len(seconds), HOUR)}
    return {hour: count for hour, count in counts.items() if count}


def sent_by_hour(life: Life, slot: int) -> dict[int, int]:
    """Return the bytes that were told of in each hour."""
    highest: dict[str, int] = defaultdict(int)
    sent: dict[int, int] = defaultdict(int)
    for at, of, boot, reading in sorted(life.counters):
        if of == slot and reading > highest[boot]:
            sent[at // SECOND // HOUR] += reading - highest[boot]
            highest[boot] = reading
    return dict(sent)


def due_cents(month: Month, lives: Iterable[Life], prices: list[Price], terms: list[Terms], length: int) -> int:
    """Return what a team must pay for a month before credits."""
    agreed = max(
        (each for each in terms if each.since // SECOND <= month.begin), key=lambda each: each.since, default=None
    )
    percent, free = (agreed.percent, agreed.free_hours * HOUR) if agreed else (Fraction(0), 0)
    pieces = _pieces(month, prices)
    slots = []
    for life in sorted(lives, key=lambda each: each.created):
        billed, out = seconds_of(life, length)
        lost = out[month.begin : month.end].count(1)
        under_cap = _under_cap(month, pieces, billed, lost)
        slots += [(life, slot, list(under_cap)) for slot in (0, 1)]
    gratis = _gratis([charged for *_, charged in slots], free, len(pieces))
    cents = 0
    for (life, slot, charged), nothing in zip(slots, gratis, strict=True):
        hours = [
            price.per_hour * (paid - unpaid) / HOUR
            for (_, _, price), paid, unpaid in zip(pieces, charged, nothing, strict=True)
        ]
        cents += round(sum(hours, Fraction(0)) * 100) + round(_traffic(month, pieces, sent_by_hour(life, slot)) * 100)
    return cents - round(Fraction(cents) * percent / 100)


def _pieces(month: Month, prices: list[Price]) -> list[tuple[int, int, Price]]:
    """Return a month cut where prices change."""
    ordered = sorted(prices, key=lambda each: each.since)
    pieces = []
    for number, price in enumerate(ordered):
        until = ordered[number + 1].since // SECOND if number + 1 < len(ordered) else month.end
        begin, end = max(month.begin, price.since // SECOND), min(month.end, until)
        if begin < end:
            pieces.append((begin, end, price))
    return pieces


def _under_cap(month: Month, pieces: list[tuple[int, int, Price]], billed: bytes, lost: int) -> list[int]:
    whole, so_far, charged = month.end - month.begin, 0, []
    for begin, end, price in pieces:
        cap = price.cap_hours * HOUR * (whole - lost) // whole
        charged.append(min(billed[begin:end].count(1), max(0, cap - so_far)))
        so_far += charged[-1]
    return charged


def _gratis(charged: list[list[int]], free: int, pieces: int) -> list[list[int]]:
    gratis = [[0] * pieces for _ in charged]
    for piece in range(pieces):
        for slot, seconds in enumerate(charged):
            gratis[slot][piece] = min(free, seconds[piece])
            free -= gratis[slot][piece]
    return gratis


def _traffic(month: Month, pieces: list[tuple[int, int, Price]], sent: dict[int, int]) -> Fraction:
    total, amount = 0, Fraction(0)
    for hour in sorted(sent):
        if month.begin <= hour * HOUR < month.end:
            price = next(price for begin, end, price in pieces if begin <= hour * HOUR < end)
            beyond = total + sent[hour] - max(total, price.included_gib * GIB)
            amount += price.per_gib * max(0, beyond) / GIB
            total += sent[hour]
    return amount


def _painted(turns: list[tuple[int, bool]], length: int) -> bytes:
    """Return a line of seconds, painted over from each turn on; it begins with zeros."""
    line = bytearray(length)
    for at, so in sorted(turns, key=lambda turn: turn[0]):
        first = max(0, at // SECOND)
        line[first:] = bytes([so]) * max(0, length - first)
    return bytes(line)


def _all(some: bytes, others: bytes) -> bytes:
    both = int.from_bytes(some, "big") & int.from_bytes(others, "big")
    return both.to_bytes(len(some), "big")


def _any(some: bytes, others: bytes) -> bytes:
    either = int.from_bytes(some, "big") | int.from_bytes(others, "big")
    return either.to_bytes(len(some), "big")


def _not(line: bytes) -> bytes:
    return line.translate(bytes([1, 0]) + bytes(range(2, 256)))
