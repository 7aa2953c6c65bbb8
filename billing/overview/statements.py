"""Finished months, as their team sees them."""

from datetime import date, datetime, timedelta
from uuid import UUID

from django.db.models import Min, Prefetch, QuerySet

from billing.models import Movement, MovementKind, Statement, StatementLine, UsageRecord
from billing.rating.months import month_of
from portal.accounts.models import Team

#: Months that are offered, the latest ones.
MONTHS_SHOWN = 36


def statements_of(team: Team) -> QuerySet[Statement]:
    """Return a team's statements, newest first, with their invoices where there are, and those' disputes."""
    disputes = Prefetch("invoice__movements", Movement.objects.filter(kind=MovementKind.DISPUTE), to_attr="disputes")
    rows = Statement.objects.filter(team=team).select_related("invoice").prefetch_related(disputes)
    return rows.order_by("-month", "currency")


def statement_of(team: Team, statement_id: str) -> Statement | None:
    """Return one of a team's statements; None where the id is none of them, or none at all."""
    try:
        key = UUID(statement_id)
    except ValueError:
        return None
    return statements_of(team).prefetch_related("lines").filter(pk=key).first()


def lines_of(statement: Statement) -> QuerySet[StatementLine]:
    """Return a statement's lines in order."""
    return statement.lines.select_related("app").order_by("position")


def months_of(team: Team, now: datetime) -> list[date]:
    """Return the months since the team's first usage, newest first; [] before any."""
    first = UsageRecord.objects.filter(assignment__app__team=team).aggregate(first=Min("hour"))["first"]
    found: list[date] = []
    month = month_of(now)
    while first is not None and month_of(first) <= month and len(found) < MONTHS_SHOWN:
        found.append(month)
        month = (month - timedelta(days=1)).replace(day=1)
    return found
