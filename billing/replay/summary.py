"""Say what came of a history, month by month: from the rows that it left."""

from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from django.db.models import Count, QuerySet, Sum

from billing.models import Invoice, Replay, Statement, StatementLine, UsageRecord
from billing.rating import months

from .plot import month_after

HOUR_SECONDS = 3600
HEADER = ("month", "apps", "gateway hours", "outage hours", "statements", "charges", "credits", "total", "invoices")


class Month(NamedTuple):
    """One month. Amounts are in cents; `charges` are before credits, corrections of earlier months included."""

    month: date
    apps: int
    seconds: int
    outage_seconds: int
    statements: int
    charges: int
    credits: int
    total: int
    invoices: int

    def cells(self) -> tuple[str, ...]:
        """Return its row of the table."""
        return (
            f"{self.month:%Y-%m}",
            str(self.apps),
            f"{self.seconds / HOUR_SECONDS:.2f}",
            f"{self.outage_seconds / HOUR_SECONDS:.2f}",
            str(self.statements),
            *(f"{cents / 100:.2f}" for cents in (self.charges, self.credits, self.total)),
            str(self.invoices),
        )


def by_month(replay: Replay) -> Iterator[Month]:
    """Yield the history's months."""
    for number in range(replay.months):
        month = month_after(replay.first_month, number)
        rows = UsageRecord.objects.filter(
            assignment__cluster=replay.cluster_id, hour__gte=months.begin_of(month), hour__lt=months.end_of(month)
        )
        used = rows.aggregate(
            apps=Count("assignment__app", distinct=True),
            seconds=Sum("seconds", default=0),
            outage_seconds=Sum("outage_seconds", default=0),
        )
        statements = Statement.objects.filter(month=month)
        lines = StatementLine.objects.filter(statement__in=statements)
        credit = lines.filter(kind=StatementLine.Kind.CREDIT)
        yield Month(
            month=month,
            statements=statements.count(),
            charges=_cents(lines) - _cents(credit),
            credits=_cents(credit),
            total=sum(statements.values_list("total_cents", flat=True)),
            invoices=Invoice.objects.filter(statement__in=statements).exclude(stripe_id="").count(),
            **used,
        )


def _cents(lines: QuerySet[StatementLine]) -> int:
    return int(lines.aggregate(cents=Sum("cents", default=0))["cents"])


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table, its columns set to the right."""
    widths = [max(map(len, column)) for column in zip(HEADER, *rows, strict=True)]
    for row in (HEADER, *rows):
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
