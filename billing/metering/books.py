"""Find what the ledgers lack, and put it in: rows are written by nobody else, and always under the meter's version."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Max, Sum

from billing.models import Meter, TrafficRecord, UsageRecord
from egress.control import clock

from .difference import Booked, Difference, Key, differences
from .evidence import Usage, batches, traffic_of, usage_of

#: Rows of one statement; a statement's parameters are bounded on both engines.
ROWS_AT_ONCE = 1_000
METER = 1
#: Of a correction that nobody announced: such as a report that was written just after its hour was closed.
LATE_REPORT = "told after the close"


class Overtaken(Exception):
    """Another worker wrote in the ledger meanwhile: what was read is out of date, and nothing was written."""


@dataclass(slots=True)
class Lacking:
    """What the ledgers lack of some hours."""

    usage: list[Difference] = field(default_factory=list)
    traffic: list[Difference] = field(default_factory=list)
    #: As in `Usage`.
    unheard_since: dict[UUID, datetime] = field(default_factory=dict)


def lacking(
    assignments: Collection[UUID], begin: datetime, end: datetime, *, traffic_since: datetime | None = None
) -> Lacking:
    """Compare the ledgers with what was used in the whole hours from `begin` up to `end`; traffic may begin earlier."""
    usage: Usage = usage_of(assignments, begin, end)
    first = traffic_since or begin
    traffic = traffic_of(assignments, first, end)
    return Lacking(
        differences(usage.seconds, _booked(UsageRecord, ("seconds", "outage_seconds"), assignments, begin, end), 2),
        differences(traffic, _booked(TrafficRecord, ("sent_bytes",), assignments, first, end), 1),
        usage.unheard_since,
    )


def _booked(
    ledger: type[UsageRecord | TrafficRecord],
    columns: tuple[str, ...],
    assignments: Collection[UUID],
    begin: datetime,
    end: datetime,
) -> dict[Key, Booked]:
    """Return what the rows add up to."""
    sums: dict[Key, Booked] = {}
    for some in batches(assignments):
        rows = ledger.objects.filter(assignment__in=some, hour__gte=begin, hour__lt=end).order_by()
        keyed = rows.values_list("assignment", "slot", "hour")
        for pk, slot, hour, last, *amounts in keyed.annotate(Max("sequence"), *map(Sum, columns)):
            sums[Key(pk, slot, hour)] = Booked(tuple(amounts), last + 1)
    return sums


@contextmanager
def writing(meter: Meter, **moved: Any) -> Iterator[None]:
    """Write in the ledger and move `meter` on, together. Raises Overtaken if the meter isn't as it was read."""
    with transaction.atomic():
        # First, for it locks the row: numbers of the ledgers' rows are given out in the order in which they are seen.
        mine = Meter.objects.filter(pk=METER, version=meter.version)
        if not mine.update(version=F("version") + 1, **moved):
            raise Overtaken
        yield
    meter.version += 1
    for name, value in moved.items():
        setattr(meter, name, value)


def put(lack: Lacking, reasons: Mapping[UUID, str]) -> int:
    """Add the rows that are lacking, inside `writing`; returns how many. `reasons`: why so late, by assignment."""
    now = clock.now()

    def columns(one: Difference) -> dict[str, Any]:
        pk, slot, hour = one.key
        late = reasons.get(pk, "")
        return {
            "assignment_id": pk, "slot": slot, "hour": hour, "sequence": one.next_sequence,
            "reason": late or (LATE_REPORT if one.next_sequence else ""), "recorded_at": now,
        }  # fmt: skip

    usage = [UsageRecord(**columns(one), seconds=one.amounts[0], outage_seconds=one.amounts[1]) for one in lack.usage]
    traffic = [TrafficRecord(**columns(one), sent_bytes=one.amounts[0]) for one in lack.traffic]
    UsageRecord.objects.bulk_create(usage, batch_size=ROWS_AT_ONCE)
    TrafficRecord.objects.bulk_create(traffic, batch_size=ROWS_AT_ONCE)
    return len(usage) + len(traffic)
