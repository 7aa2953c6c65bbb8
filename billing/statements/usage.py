"""Read what a team's slots used in one month, period by period: the ledger is added up in the database.

Whole hours lie in one period. Of an hour in which a price or a term changes, each second counts in the period that it
was used in, by metering's intervals; if these don't add up to what the ledger has, because something came late and
isn't booked yet, the ledger's seconds are shared out in their proportion. Traffic has no times inside its hour: all of
an hour counts in the period that it began in.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Max, Min, QuerySet, Sum

from billing.models import UsageRecord
from billing.rating.facts import Period
from billing.rating.shares import share_out
from egress.control.models import SLOTS, Assignment
from portal.accounts.models import Team

from . import metered

HOUR = timedelta(hours=1)
HOUR_SECONDS = 3600
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_SECONDS, _BYTES = ("seconds", "outage_seconds"), ("sent_bytes",)
Slot = tuple[UUID, int]


class Stretch(NamedTuple):
    """Whole hours that lie in one period, or one hour that several share."""

    begin: datetime
    end: datetime
    #: Their numbers.
    periods: tuple[int, ...]


class Mark(NamedTuple):
    """How far the ledgers went when they were read: the last row's id in each.

    Rows appear in the order of their ids, for who writes them takes turns (`Meter.version`).
    """

    usage: int
    traffic: int


#: Of what is only looked at.
UNMARKED = Mark(0, 0)


@dataclass(slots=True)
class Used:
    """What one slot used, period by period."""

    seconds: list[int]
    traffic: list[int]
    outage_seconds: int = 0
    #: From the beginning of its first hour to the end of its last.
    begin: datetime = LATEST
    end: datetime = EARLIEST

    def spans(self, first_hour: datetime, last_hour: datetime) -> None:
        """Take note of hours in which it was used."""
        self.begin, self.end = min(self.begin, first_hour), max(self.end, last_hour + HOUR)


def mark() -> Mark:
    """Return how far the ledgers go now."""
    return Mark(_last(UsageRecord.objects.all()), _last(metered.traffic_rows()))


def stretches(periods: Sequence[Period]) -> list[Stretch]:
    """Cut a month, which `periods` make up, into stretches of whole hours."""
    turns = [periods[0].begin, *(period.end for period in periods)]
    floors = {turn.replace(minute=0, second=0) for turn in turns}
    cut_hours = {turn.replace(minute=0, second=0) for turn in turns if turn.minute or turn.second}
    bounds = sorted(floors | {hour + HOUR for hour in cut_hours})
    return [
        Stretch(begin, end, tuple(n for n, period in enumerate(periods) if period.begin < end and period.end > begin))
        for begin, end in pairwise(bounds)
    ]


def use_of(team: Team, periods: Sequence[Period]) -> dict[Slot, Used]:
    """Return what each slot of `team` used in the month that `periods` make up.

    One query a ledger and stretch: each of them takes its part of the index, which costs less than one with conditions.
    """
    used: dict[Slot, Used] = defaultdict(lambda: Used([0] * len(periods), [0] * len(periods)))
    traffic = metered.traffic_rows()
    for part in stretches(periods):
        seconds: dict[Slot, int] = {}
        for slot, first, last, count, outage in _added_up(UsageRecord.objects.all(), team, part, _SECONDS):
            used[slot].spans(first, last)
            used[slot].outage_seconds += outage
            seconds[slot] = count
        for slot, shares in _shares(part, periods, seconds).items():
            for period, count in zip(part.periods, shares, strict=True):
                used[slot].seconds[period] += count
        for slot, first, last, sent in _added_up(traffic, team, part, _BYTES):
            used[slot].spans(first, last)
            # PostgreSQL adds big integers up to a decimal.
            used[slot].traffic[part.periods[0]] += int(sent)
    return dict(used)


def _added_up(rows: "QuerySet[Any]", team: Team, part: Stretch, columns: Sequence[str]) -> Iterator[Any]:
    """Yield each slot, its first and last hour in a stretch, and the sums of `columns` there."""
    found = rows.filter(
        assignment__in=Assignment.objects.filter(app__team=team).order_by().values("pk"),
        # All there are: so that the index, in which the slot comes before the hour, is used.
        slot__in=SLOTS,
        hour__gte=part.begin,
        hour__lt=part.end,
    )
    sums = {"first": Min("hour"), "last": Max("hour"), **{f"sum_{column}": Sum(column) for column in columns}}
    grouped = found.order_by().values("assignment", "slot").annotate(**sums)
    for assignment, slot, *figures in grouped.values_list("assignment", "slot", *sums).iterator():
        yield (assignment, slot), *figures


def _shares(part: Stretch, periods: Sequence[Period], seconds: Mapping[Slot, int]) -> dict[Slot, list[int]]:
    """Return how each slot's seconds of a stretch belong to its periods."""
    if len(part.periods) == 1:
        return {slot: [count] for slot, count in seconds.items()}
    pieces = [(max(periods[n].begin, part.begin), min(periods[n].end, part.end)) for n in part.periods]
    lengths = [int((end - begin).total_seconds()) for begin, end in pieces]
    # Who used the whole hour needn't be asked about.
    asked = {assignment for (assignment, _), count in seconds.items() if count != HOUR_SECONDS}
    told = [metered.seconds_between(asked, begin, end) for begin, end in pieces] if asked else []
    weights = {slot: [piece.get(slot, 0) for piece in told] for slot in seconds}
    return {slot: share_out(count, weights[slot] if any(weights[slot]) else lengths) for slot, count in seconds.items()}


def _last(rows: "QuerySet[Any]") -> int:
    last: int = rows.aggregate(last=Max("pk", default=0))["last"]
    return last
