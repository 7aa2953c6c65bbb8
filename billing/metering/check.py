"""Prove that the ledgers say what events, pivots and counters say, hour by hour; or name each difference."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import QuerySet

from billing.models import Meter, TrafficRecord, UsageRecord
from egress.control.models import Assignment

from . import late
from .books import METER, lacking, writing
from .difference import Difference
from .evidence import HOUR, hour_of

#: So many slot hours are compared in one go: it bounds the memory.
SLOT_HOURS_AT_ONCE: Final = 50_000
WINDOW: Final = timedelta(days=31)


class CannotCheck(Exception):
    """This range can't be checked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One slot's hour that the ledger and the facts tell of differently."""

    #: "usage" or "traffic"
    ledger: str
    difference: Difference

    def __str__(self) -> str:
        key = self.difference.key
        units = {"usage": "{} s and {} s of outage", "traffic": "{} bytes"}[self.ledger]
        facts, rows = (units.format(*amounts) for amounts in (self.difference.wanted, self.difference.booked))
        return (
            f"{self.ledger} of assignment {key.assignment_id}, slot {key.slot},"
            f" {key.hour:%Y-%m-%dT%H:%M}Z: {facts} by the facts, {rows} in the ledger"
        )


def checkable(begin: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return what of a range can be checked: closed hours. Raises CannotCheck."""
    meter = Meter.objects.filter(pk=METER).first()
    if meter is None:
        raise CannotCheck("No hour was closed yet: is a worker with a scheduler running?")
    if begin != hour_of(begin) or end != hour_of(end) or begin >= end:
        raise CannotCheck("Give whole hours, the end after the beginning: such as 2026-03-01 or 2026-03-01T13:00.")
    if begin < late.earliest():
        raise CannotCheck(
            f"What nodes told of outages is kept since {late.earliest():%Y-%m-%d %H:%M} UTC"
            " (EGRESS_TOLD_KEPT_DAYS): begin there at the earliest."
        )
    return begin, min(end, meter.closed_until)


def findings(begin: datetime, end: datetime) -> Iterator[Finding]:
    """Yield where the ledgers differ from the facts in the hours from `begin` up to `end`, which are closed."""
    assignments = list(Assignment.objects.order_by("pk").values_list("pk", flat=True))
    while begin < end:
        until = min(end, begin + WINDOW)
        at_once = max(1, SLOT_HOURS_AT_ONCE // (2 * ((until - begin) // HOUR)))
        for first in range(0, len(assignments), at_once):
            lack = lacking(assignments[first : first + at_once], begin, until)
            yield from (Finding("usage", one) for one in lack.usage)
            yield from (Finding("traffic", one) for one in lack.traffic)
        begin = until


def booked_rows(begin: datetime, end: datetime) -> int:
    """Return how many rows both ledgers have in these hours."""
    within: list[QuerySet[UsageRecord] | QuerySet[TrafficRecord]] = [
        ledger.objects.filter(hour__gte=begin, hour__lt=end) for ledger in (UsageRecord, TrafficRecord)
    ]
    return sum(rows.count() for rows in within)


def have_corrected(found: list[Finding]) -> None:
    """Note these hours, so that the next close adds what they lack. Raises Overtaken."""
    keys = (one.difference.key for one in found)
    with writing(Meter.objects.get(pk=METER)):
        late.look_again((key.assignment_id, key.hour, "found by billing_check") for key in keys)
