"""Read what was used, by slot and hour: from the control plane's events, nodes' pivots and gateways' counters."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db.models import Sum

from egress.control.models import METERED, SLOTS, Event
from egress.control.models_traffic import HourOfTraffic
from egress.control.told.outages import outages_of_each

from .billable import HOUR_SECONDS, Fact, Piece, Used, billable, by_hour, united
from .difference import Key

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(seconds=HOUR_SECONDS)
_MICROSECOND = timedelta(microseconds=1)
#: So many assignments are asked about in one query.
ASSIGNMENTS_AT_ONCE = 1_000


@dataclass(slots=True)
class Usage:
    """What was used, as far as is known by now."""

    #: Billable seconds, and those of outage.
    seconds: dict[Key, Used] = field(default_factory=dict)
    #: From when on nodes weren't heard yet whose word can change an outage.
    unheard_since: dict[UUID, datetime] = field(default_factory=dict)


def hour_of(at: datetime) -> datetime:
    """Return the beginning of the hour that `at` is in."""
    return at.replace(minute=0, second=0, microsecond=0)


def second_of(at: datetime) -> int:
    """Return the whole second that `at` is in, counted from 1970."""
    return (at - EPOCH) // timedelta(seconds=1)


def usage_of(assignments: Collection[UUID], begin: datetime, end: datetime) -> Usage:
    """Return what each of `assignments` used in the whole hours from `begin` up to `end`. Five queries a thousand."""
    usage = Usage()
    within = Piece(second_of(begin), second_of(end))
    for some in batches(assignments):
        told = outages_of_each(some, begin, end)
        for pk, facts in _facts_of_each(some).items():
            said = told.get(pk)
            out = united(Piece(second_of(span.begin), second_of(span.end)) for span in said.out) if said else []
            for second, used in by_hour(billable(facts), out, within).items():
                hour = EPOCH + timedelta(seconds=second)
                usage.seconds |= dict.fromkeys((Key(pk, slot, hour) for slot in SLOTS), used)
            if said and said.unheard_since is not None:
                usage.unheard_since[pk] = said.unheard_since
    return usage


def traffic_of(assignments: Collection[UUID], begin: datetime, end: datetime) -> dict[Key, tuple[int]]:
    """Return the bytes that the slots of `assignments` sent in the whole hours from `begin` up to `end`."""
    traffic: dict[Key, tuple[int]] = {}
    for some in batches(assignments):
        rows = HourOfTraffic.objects.filter(gateway__assignment__in=some, hour__gte=begin, hour__lt=end).order_by()
        by_slot = rows.values_list("gateway__assignment", "gateway__slot", "hour").annotate(Sum("sent_bytes"))
        traffic |= {Key(pk, slot, hour): (count,) for pk, slot, hour, count in by_slot}
    return traffic


def batches(assignments: Collection[UUID]) -> list[list[UUID]]:
    """Return `assignments` in lists that one query can bear."""
    every = list(assignments)
    return [every[first : first + ASSIGNMENTS_AT_ONCE] for first in range(0, len(every), ASSIGNMENTS_AT_ONCE)]


def _facts_of_each(assignments: Collection[UUID]) -> dict[UUID, list[Fact]]:
    # All of them, not those up to an hour's end: a clock that was put back dates earlier what happens later.
    facts: dict[UUID, list[Fact]] = defaultdict(list)
    rows = Event.objects.filter(assignment__in=assignments, subject__in=METERED).order_by()
    for pk, at, number, subject, old, new in rows.values_list("assignment", "at", "id", "subject", "old", "new"):
        facts[pk].append(Fact((at - EPOCH) // _MICROSECOND, number, subject, old, new))
    return facts
