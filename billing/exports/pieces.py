"""Cut a charge into the rows of an export: usage by hour or day, all else in one piece. Pure."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from billing.models import Price

from .bills import Charge
from .selection import Grain
from .spread import PER_CENT, spread

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
#: Returns the list price in force at a moment, if any.
type_of_prices = Callable[[datetime], Price | None]


class Piece(NamedTuple):
    """One row: `quantity` in the charge's unit, `amount` in millionths of the currency's unit, the list price."""

    begin: datetime
    end: datetime
    quantity: int
    amount: int
    price: Price | None


def pieces_of(charge: Charge, grain: Grain, prices: type_of_prices) -> Iterator[Piece]:
    """Yield the charge's pieces in the order of time; their amounts add up to the charge's cents.

    Usage goes by its seconds in each hour or day, so that cap and free hours lower all hours of the month alike. An
    hour's list price is the one at its beginning; a day in which that changes is cut there.
    """
    amount = charge.cents * PER_CENT
    if not charge.hours:
        yield Piece(charge.begin, charge.end, charge.quantity, amount, prices(charge.begin))
        return
    cut = _hours(charge, prices) if grain == Grain.HOUR else _days(charge, prices)
    for (begin, end, seconds, price), share in zip(cut, spread(amount, [each[2] for each in cut]), strict=True):
        yield Piece(begin, end, seconds, share, price)


type_of_cut = list[tuple[datetime, datetime, int, Price | None]]


def _hours(charge: Charge, prices: type_of_prices) -> type_of_cut:
    return [(hour, hour + HOUR, seconds, prices(hour)) for hour, seconds in charge.hours]


def _days(charge: Charge, prices: type_of_prices) -> type_of_cut:
    return [
        (*_within(day, price), sum(seconds for _, seconds in hours), price)
        for (day, price), hours in groupby(charge.hours, lambda each: (each[0].replace(hour=0), prices(each[0])))
    ]


def _within(day: datetime, price: Price | None) -> tuple[datetime, datetime]:
    """Return the part of the day whose hours have this list price."""
    begin, end = day, day + DAY
    if price:
        begin = max(begin, _next_hour(price.starts_at))
        end = min(end, _next_hour(price.ends_at)) if price.ends_at else end
    return begin, end


def _next_hour(moment: datetime) -> datetime:
    """Return when the first hour begins that doesn't begin before `moment`."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    return hour if hour == moment else hour + HOUR
