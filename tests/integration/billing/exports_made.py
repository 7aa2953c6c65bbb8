"""Rows as metering and statements leave them: ledger, statements with lines of every kind."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from billing.models import Price, Statement, StatementLine, UsageRecord
from egress.control.models import App, Assignment, Cluster
from portal.accounts.models import Team
from tests.factories import make_app, make_cluster, make_team

Kind = StatementLine.Kind

MONTH = date(2026, 10, 1)
BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
_pairs = count(1)


def assignment_of(app: App) -> Assignment:
    return Assignment.objects.create(app=app, cluster=app.cluster, pair=next(_pairs), status="released")


def ledger(assignment: Assignment, hours: Iterable[tuple[datetime, int]]) -> None:
    """Close these hours, both slots alike."""
    UsageRecord.objects.bulk_create(
        UsageRecord(assignment=assignment, slot=slot, hour=hour, seconds=seconds)
        for hour, seconds in hours
        for slot in (0, 1)
    )


def every_hour(begin: datetime = BEGIN, end: datetime = END, seconds: int = 3600) -> list[tuple[datetime, int]]:
    return [(begin + HOUR * number, seconds) for number in range(int((end - begin) / HOUR))]


def price(per_slot_hour: str = "0.01860119", **fields: Any) -> Price:
    return Price.objects.create(
        per_slot_hour=per_slot_hour, **{"per_gib": "0.01", "starts_at": datetime(2026, 1, 1, tzinfo=UTC), **fields}
    )


def line(kind: Kind = Kind.USAGE, cents: int = 1250, **fields: Any) -> StatementLine:
    """Return a line that isn't stored yet."""
    values: dict[str, Any] = {
        "description": f"{kind.label} of the month",
        "begin": BEGIN,
        "end": END,
        "exact": Decimal(cents) / 100,
        **fields,
    }
    return StatementLine(kind=kind, cents=cents, **values)


def usage_lines(assignment: Assignment, cents: int = 1250, **fields: Any) -> list[StatementLine]:
    """Return a line for each slot, as many seconds long as the ledger has."""
    return [
        line(
            cents=cents,
            app=assignment.app,
            assignment=assignment,
            slot=slot,
            unit="second",
            quantity=sum(record.seconds for record in assignment.usage.filter(slot=slot)),
            **fields,
        )
        for slot in (0, 1)
    ]


def statement(team: Team, lines: Iterable[StatementLine], **fields: Any) -> Statement:
    lines = list(lines)
    last = UsageRecord.objects.order_by("-pk").first()
    values: dict[str, Any] = {
        "month": MONTH,
        "currency": "USD",
        "total_cents": sum(each.cents for each in lines),
        "ledger_up_to": last.pk if last else 0,
        **fields,
    }
    made = Statement.objects.create(team=team, **values)
    for position, each in enumerate(lines):
        each.statement, each.position = made, position
    StatementLine.objects.bulk_create(lines)
    return made


def whole_month(team: Team | None = None, cluster: Cluster | None = None, *, hours: int = 30) -> Statement:
    """Return a statement with a line of every kind; an app's pair was used in the month's first hours."""
    app = make_app(team or make_team(), cluster or make_cluster())
    assignment = assignment_of(app)
    ledger(assignment, every_hour(end=BEGIN + HOUR * hours))
    of_app = {"app": app, "assignment": assignment}
    return statement(
        app.team,
        [
            *usage_lines(assignment),
            line(Kind.TRAFFIC, 37, **of_app, slot=0, unit="byte", quantity=3972844749),
            line(Kind.DISCOUNT, -254),
            line(
                Kind.CORRECTION,
                -3,
                **of_app,
                slot=1,
                unit="second",
                quantity=-5400,
                begin=BEGIN - HOUR * 3,
                end=BEGIN - HOUR,
            ),
            line(Kind.CREDIT, -1000),
        ],
    )
