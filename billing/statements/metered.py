"""What metering tells: hours closed, traffic, and when inside an hour a slot was used. Nothing else here asks it.

Metering is another room that may not be there yet: then hours are as they are in the ledger, and there is no traffic.
"""

from collections.abc import Collection
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from uuid import UUID


def close_hours(until: datetime, seconds: float) -> bool:
    """Have all hours before `until` closed, in about `seconds`; says whether they are."""
    if find_spec("billing.metering") is None:
        return True
    import_module("billing.metering.close").close_hours(until, seconds=seconds)
    return bool(import_module("billing.models").Meter.objects.filter(closed_until__gte=until).exists())


def traffic_rows() -> Any:
    """Return the ledger of traffic as a query: assignment, slot, hour, sent_bytes; None where there is none."""
    ledger = getattr(import_module("billing.models"), "TrafficRecord", None)
    return None if ledger is None else ledger.objects.order_by()


def seconds_between(assignments: Collection[UUID], begin: datetime, end: datetime) -> dict[tuple[UUID, int], int]:
    """Return how many seconds each slot of `assignments` was used from `begin` up to `end`, a part of one hour.

    By events and outages: the ledger knows only how many seconds its hour had.
    """
    if find_spec("billing.metering") is None:
        return {}
    used = import_module("billing.metering.evidence").usage_of(assignments, begin, end).seconds
    return {(key.assignment_id, key.slot): seconds for key, (seconds, _) in used.items()}
