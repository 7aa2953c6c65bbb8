"""Make what statements are made of: assignments, ledger rows, prices."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.models import Price, Statement, UsageRecord
from egress.control import clock
from egress.control.models import SLOTS, App, Assignment, AssignmentStatus
from portal.accounts.models import Team
from tests.factories import make_app

HOUR = timedelta(hours=1)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3))


def unguard(table: str) -> None:
    """Let this test, whose transaction ends with it, change rows of `table` that the database guards."""
    on = f" ON {table}" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER {table}_append_only{on}")


def at(day: int, hour: int = 0, minute: int = 0, *, month: int = 1) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def make_assignment(team: Team | None = None, app: App | None = None, **fields: Any) -> Assignment:
    app = app or make_app(team)
    values = {"status": AssignmentStatus.ACTIVE, "due_at": None, "pair": app.cluster.assignments.count() + 1, **fields}
    return Assignment.objects.create(app=app, cluster=app.cluster, **values)


def book(
    assignment: Assignment,
    begin: datetime,
    hours: int = 1,
    *,
    seconds: int = 3600,
    slots: tuple[int, ...] = SLOTS,
    **fields: Any,
) -> None:
    """Write `seconds` for each of `hours` whole hours from `begin` on, for both slots."""
    UsageRecord.objects.bulk_create(
        UsageRecord(assignment=assignment, slot=slot, hour=begin + n * HOUR, seconds=seconds, **fields)
        for n in range(hours)
        for slot in slots
    )


def make_price(per_slot_hour: str = "0.01", starts_at: datetime = LONG_AGO, **fields: Any) -> Price:
    return Price.objects.create(per_slot_hour=Decimal(per_slot_hour), starts_at=starts_at, **fields)


def go_to(settings: Any, when: datetime) -> None:
    """Let the control plane's clock show `when`."""
    settings.CLOCK_OFFSET_SECONDS = 0
    settings.CLOCK_OFFSET_SECONDS = (when - clock.now()).total_seconds()


def cents(statement: Statement, kind: str = "") -> list[int]:
    lines = statement.lines.filter(kind=kind) if kind else statement.lines.all()
    return [line.cents for line in lines]
