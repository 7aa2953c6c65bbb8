"""Throw a whole history: apps' lives, nodes that report or are silent, prices, terms and credits. Pure.

The same seed, months and apps give the same plot; an app's history hangs on the seed and its number only.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from random import Random

from billing.rating import months

from .lives import AppHistory
from .scenes import Kind, Plot, Scene, Turn

APPS_OF_A_TEAM = 4
#: One node more for so many apps.
APPS_OF_A_NODE = 400
FEWEST_NODES = 3
#: A day's reports come at this time of day, and hours are closed then.
DAYS_BEGIN = timedelta(hours=2)
#: In such a share of its months a team is given terms, or a credit.
FAVOURED = 0.3
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


def plot_of(*, seed: int, first: date, count: int, apps: int) -> Plot:
    """Return the history of `count` months from `first` on, with so many apps."""
    begin, end = months.begin_of(first), months.begin_of(month_after(first, count))
    nodes = FEWEST_NODES + apps // APPS_OF_A_NODE
    teams = -(-apps // APPS_OF_A_TEAM)
    scenes: list[Scene] = []
    turns: dict[int, list[Turn]] = {}
    for app in range(apps):
        history = AppHistory(app, _dice(seed, "app", app), nodes)
        history.throw(begin, end)
        scenes += history.scenes
        for node, told in history.turns.items():
            turns.setdefault(node, []).extend(told)
    for node in range(nodes):
        scenes += _reports(_dice(seed, "node", node), node, turns.get(node, []), begin, end)
    scenes += _prices(_dice(seed, "prices", 0), first, count)
    for team in range(teams):
        scenes += _favours(_dice(seed, "team", team), team, first, count)
    ordered = sorted(scenes, key=attrgetter("at"))
    return Plot(begin=begin, end=end, apps=apps, teams=teams, nodes=nodes, scenes=ordered)


def month_after(month: date, count: int) -> date:
    """Return the month that begins `count` months after `month`."""
    for _ in range(count):
        month = months.following(month)
    return month


def days_of(begin: datetime, end: datetime) -> Iterator[datetime]:
    """Yield when a history's days begin, from the first up to the one after its end."""
    at = begin + DAYS_BEGIN
    while at <= end + DAYS_BEGIN:
        yield at
        at += _DAY


def _dice(*what: object) -> Random:
    return Random("/".join(map(str, what)))  # noqa: S311 - made-up history is no secret


def _reports(dice: Random, node: int, turns: list[Turn], begin: datetime, end: datetime) -> Iterator[Scene]:
    """Let a node report day by day, but for some days on which nothing is heard of it: it tells of those later."""
    buffered = [turn._replace(number=number) for number, turn in enumerate(sorted(turns))]
    silent_until = begin
    for at in days_of(begin, end):
        if at >= silent_until and dice.random() < 1 / 15:
            silent_until = min(at + _DAY * dice.choice([1, 1, 2, 5]), end - 2 * _DAY)
        if at >= silent_until:
            count = bisect_left(buffered, at, key=attrgetter("at"))
            told, buffered = buffered[:count], buffered[count:]
            yield Scene(at=at, kind=Kind.REPORT, node=node, turns=told)


def _prices(dice: Random, first: date, count: int) -> Iterator[Scene]:
    """Set a price at the beginning, and change it at any second of each month after some days' notice."""
    begin = months.begin_of(first)
    yield Scene(at=begin - _HOUR, kind=Kind.PRICE, given=_price(dice, begin))
    for number in range(count):
        month = months.begin_of(month_after(first, number))
        said = month + _DAY * dice.randrange(1, 20) * dice.random()
        starts = (said + _DAY * (1 + 5 * dice.random())).replace(microsecond=0)
        yield Scene(at=said, kind=Kind.PRICE, given=_price(dice, starts))


def _price(dice: Random, starts_at: datetime) -> Mapping[str, object]:
    return {
        "starts_at": starts_at,
        "per_slot_hour": Decimal(dice.randrange(1_000_000, 4_000_000)).scaleb(-8),
        "cap_hours": dice.choice([672, 672, 672, 300]),
        "per_gib": Decimal(dice.choice([0, 1_000_000, 1_234_567])).scaleb(-8),
        "included_gib": dice.choice([10, 50, 500]),
    }


def _favours(dice: Random, team: int, first: date, count: int) -> Iterator[Scene]:
    """Agree on terms from a month's beginning on, and grant credits."""
    for number in range(count):
        month = months.begin_of(month_after(first, number))
        if dice.random() < FAVOURED:
            given = {
                "starts_at": month,
                "discount_percent": Decimal(dice.choice(["0", "10", "12.5", "33.33"])),
                "free_slot_hours": dice.choice([0, 10, 500]),
            }
            yield Scene(at=month - _HOUR / 2, kind=Kind.TERMS, team=team, given=given)
        if dice.random() < FAVOURED:
            cents = dice.randrange(1, 4_000)
            yield Scene(at=month + _DAY * 27 * dice.random(), kind=Kind.CREDIT, team=team, given={"cents": cents})
