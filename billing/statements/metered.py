"""What metering tells: hours closed, traffic, and when inside an hour a slot was used. Nothing else here asks it."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from billing.metering import close
from billing.metering.evidence import usage_of
from billing.models import Meter, TrafficRecord


def close_hours(until: datetime, seconds: float) -> bool:
    """Have all hours before `until` closed, in about `seconds`; says whether they are."""
    close.close_hours(until, seconds=seconds)
    return Meter.objects.filter(closed_until__gte=until).exists()


def traffic_rows() -> QuerySet[TrafficRecord]:
    """Return the ledger of traffic."""
    return TrafficRecord.objects.order_by()


def seconds_between(assignments: Collection[UUID], begin: datetime, end: datetime) -> dict[tuple[UUID, int], int]:
    """Return how many seconds each slot of `assignments` was used from `begin` up to `end`, a part of one hour.

    By events and outages: the ledger knows only how many seconds its hour had.
    """
    used = usage_of(assignments, begin, end).seconds
    return {(key.assignment_id, key.slot): seconds for key, (seconds, _) in used.items()}
