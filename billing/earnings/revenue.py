"""What finished months came to, and what came in of it: sums over statements, their lines, invoices and refunds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum

from billing.models import Invoice, InvoiceStatus, Movement, MovementKind, Statement, StatementLine
from billing.models.collecting import STANDS


@dataclass(slots=True, kw_only=True)
class MonthRevenue:
    """One month in one currency, in cents. What was stated is before tax; what was paid, and the rest, is with it."""

    month: date
    currency: str
    statements: int
    stated: int
    #: By the kinds of lines; together they make what was stated.
    kinds: Mapping[str, int] = field(default_factory=dict)
    tax: int = 0
    paid: int = 0
    #: Of invoices to be paid, what is left; and of those that were given up.
    unpaid: int = 0
    given_up: int = 0
    credited: int = 0
    refunded: int = 0
    #: Which the bank holds or paid back: disputes that aren't won.
    disputed: int = 0


def stated_months(count: int) -> list[date]:
    """Return the latest months that have statements, newest first."""
    return list(Statement.objects.order_by("-month").values_list("month", flat=True).distinct()[:count])


def revenue(since: date) -> list[MonthRevenue]:
    """Return the months from `since` on, newest first: five queries for any number of statements."""
    found: dict[tuple[date, str], MonthRevenue] = {}
    stated = Statement.objects.filter(month__gte=since).order_by("-month", "currency")
    for month, currency, count, cents in stated.values_list("month", "currency").annotate(
        Count("pk"), Sum("total_cents")
    ):
        found[month, currency] = MonthRevenue(month=month, currency=currency, statements=count, stated=int(cents))
    kinds = StatementLine.objects.filter(statement__month__gte=since)
    for month, currency, kind, cents in _by_month(kinds, "kind").annotate(Sum("cents")):
        row = found.get((month, currency))
        if row:
            row.kinds = {**row.kinds, kind: int(cents)}
    for month, currency, *sums in _by_month(Invoice.objects.filter(statement__month__gte=since)).annotate(**_SUMS):
        row = found.get((month, currency))
        if row:
            row.tax, row.paid, row.unpaid, row.given_up, row.credited = map(int, sums)
    refunds = Movement.objects.filter(
        kind=MovementKind.REFUND, status="succeeded", invoice__statement__month__gte=since
    )
    for month, currency, cents in _by_month(refunds, of="invoice__statement").annotate(Sum("cents")):
        row = found.get((month, currency))
        if row:
            row.refunded = int(cents)
    held = Movement.objects.filter(kind=MovementKind.DISPUTE, invoice__statement__month__gte=since)
    taken = held.exclude(status__in=STANDS).exclude(status__startswith="warning_")
    for month, currency, cents in _by_month(taken, of="invoice__statement").annotate(Sum("cents")):
        row = found.get((month, currency))
        if row:
            row.disputed = int(cents)
    return list(found.values())


_LEFT = F("due_cents") - F("paid_cents")
_SUMS = {
    "sum_tax": Sum("tax_cents", default=0),
    "sum_paid": Sum("paid_cents", default=0),
    "sum_left": Sum(_LEFT, filter=Q(status=InvoiceStatus.OPEN), default=0),
    "sum_given_up": Sum(_LEFT, filter=Q(status=InvoiceStatus.UNCOLLECTIBLE), default=0),
    "sum_credited": Sum("credited_cents", default=0),
}


def _by_month(rows: QuerySet[Any], *columns: str, of: str = "statement") -> QuerySet[Any]:
    return rows.order_by().values_list(f"{of}__month", f"{of}__currency", *columns)
