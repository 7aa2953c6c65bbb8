"""The chart of a month's cost by day: where its bars stand. Pure; a template draws it as SVG.

Lengths are SVG user units, which are CSS pixels at the drawing's natural width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from billing.overview.month import DayCost
from billing.words import money

#: Above the highest bar, below the axis, and beside it for its amounts.
TOP, BOTTOM, LEFT = 16, 24, 56
#: A bar that is there can be seen.
LEAST_BAR = 2
#: Lines are at 1, 2 or 5 times a power of ten cents, so many at most.
MOST_LINES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One day; `height` is 0 where nothing was charged."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A line across with its amount, or a day below."""

    at: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The drawing."""

    width: int
    height: int
    left: int
    floor: int
    bars: tuple[Bar, ...]
    lines: tuple[Mark, ...]
    days: tuple[Mark, ...]


def draw(days: Sequence[DayCost], currency: str, *, width: int, height: int, every: int) -> Chart:
    """Lay out the days of a month; every so many of them are named below."""
    floor = height - BOTTOM
    steps = scale(max((day.cents for day in days), default=0))
    per_cent = (floor - TOP) / steps[-1]
    room = (width - LEFT) / max(len(days), 1)
    return Chart(
        width=width,
        height=height,
        left=LEFT,
        floor=floor,
        bars=tuple(_bar(day, currency, LEFT + room * n, room, floor, per_cent) for n, day in enumerate(days)),
        lines=tuple(Mark(at=round(floor - cents * per_cent, 1), words=money(cents, currency)) for cents in steps),
        days=tuple(
            Mark(at=round(LEFT + room * (n + 0.5), 1), words=str(n + 1)) for n in range(len(days)) if n % every == 0
        ),
    )


def scale(highest: int) -> list[int]:
    """Return the amounts at which lines are drawn, from 0 to at least `highest` cents, in even steps."""
    step = 1
    while step * MOST_LINES < highest:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    lines = max(-(-highest // step), 1)
    return [step * number for number in range(lines + 1)]


def in_words(days: Sequence[DayCost], currency: str) -> str:
    """Say what the chart shows, for those who don't see it."""
    charged = [day for day in days if day.cents]
    if not charged:
        return "Cost by day: nothing was charged yet."
    top = max(charged, key=lambda day: day.cents)
    total = money(sum(day.cents for day in charged), currency)
    return (
        f"Cost by day: {total} on {len(charged)} day{'' if len(charged) == 1 else 's'},"
        f" most on {_named(top.day)} with {money(top.cents, currency)}. The table below has every day."
    )


def _bar(day: DayCost, currency: str, x: float, room: float, floor: int, per_cent: float) -> Bar:
    height = max(day.cents * per_cent, LEAST_BAR) if day.cents > 0 else 0
    return Bar(
        x=round(x + room * 0.15, 1),
        y=round(floor - height, 1),
        width=round(room * 0.7, 1),
        height=round(height, 1),
        words=f"{_named(day.day)}: {money(day.cents, currency)}",
    )


def _named(day: date) -> str:
    return f"{day.day} {day:%B}"
