"""Rate a month the naive way: tick by tick, one counter a slot. Knows nothing of the product."""

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import NamedTuple

TICK = 900


class Price(NamedTuple):
    """From tick `since` on, for one cluster."""

    since: int
    cluster: int
    per_hour: Decimal
    cap_hours: int


class Terms(NamedTuple):
    """From tick `since` on."""

    since: int
    percent: Decimal
    free_hours: int


class Slot(NamedTuple):
    """Seconds used in each tick, and those of outage in the month."""

    cluster: int
    used: list[int]
    outage: int


def line_cents(month_seconds: int, prices: list[Price], terms: list[Terms], slots: list[Slot]) -> list[int]:
    """Return the cents of each slot's line, without discount."""
    ticks = month_seconds // TICK
    turns = sorted({0, *(row.since for row in (*prices, *terms) if row.since < ticks)})
    charged = [0] * len(slots)
    amounts = [Fraction(0)] * len(slots)
    free_taken = 0
    for number, begin in enumerate(turns):
        end = turns[number + 1] if number + 1 < len(turns) else ticks
        agreed = [row for row in terms if row.since <= begin]
        free_limit = agreed[-1].free_hours * 3600 if agreed else 0
        for index, slot in enumerate(slots):
            price = [row for row in prices if row.cluster == slot.cluster and row.since <= begin][-1]
            cap = price.cap_hours * 3600 * (month_seconds - slot.outage) // month_seconds
            for tick in range(begin, end):
                for_tick = slot.used[tick]
                if charged[index] + for_tick > cap:
                    for_tick = cap - charged[index] if cap > charged[index] else 0
                charged[index] += for_tick
                gratis = min(for_tick, free_limit - free_taken) if free_limit > free_taken else 0
                free_taken += gratis
                amounts[index] += Fraction(price.per_hour) * (for_tick - gratis)
    return [_cents(amount / 3600) for amount in amounts]


def _cents(amount: Fraction) -> int:
    """Round as schools in banks teach it: by hand, not by Python's round."""
    whole, rest = divmod(amount.numerator * 100, amount.denominator)
    twice = 2 * rest - amount.denominator
    return whole + (1 if twice > 0 or (twice == 0 and whole % 2 == 1) else 0)


def percent_off(cents: int, percent: Decimal) -> int:
    """Return a discount of one rate on the sum of lines, rounded half-even by the decimal module."""
    return int((Decimal(cents) * percent / 100).quantize(Decimal(1), ROUND_HALF_EVEN))
