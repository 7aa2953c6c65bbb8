"""Billing's part of the metrics page: a handful of queries for any number of rows, and no customers' names."""

from datetime import datetime
from typing import Any

from django.db.models import Count, Min, QuerySet

from billing.collecting import concerns
from billing.collecting.door import is_set_up
from billing.exports.concerns import export_concerns
from billing.metering import concerns as metering
from billing.models import (
    Invoice,
    InvoiceStatus,
    Meter,
    MonthClose,
    MonthExport,
    Movement,
    Refusal,
    Statement,
    StatementProblem,
    WebhookEvent,
)
from billing.statements import concerns as statements
from egress.control import clock
from egress.control.attention import Concern
from egress.wire.exposition import PLAIN, Metric, Page, Values

INVOICES = Metric("sluicegate_invoices", "gauge", "Statements that are to be paid, by how far that got.", ("status",))
CONCERNS = Metric(
    "sluicegate_billing_of_concern",
    "gauge",
    "Rows of billing that the admin's filters of these names list.",
    ("concern",),
)
STALLED = Metric(
    "sluicegate_collecting_stalled_seconds",
    "gauge",
    "How long the oldest statement or webhook has waited that Stripe couldn't be asked about; 0 when none has.",
)
UNMETERED = Metric(
    "sluicegate_metering_behind_seconds",
    "gauge",
    "How long ago the oldest hour ended that isn't in the ledger; some minutes are normal.",
)
UNCLOSED = Metric(
    "sluicegate_month_close_behind_seconds",
    "gauge",
    "How long ago the oldest month could be closed that hasn't all its statements; 0 where all are closed.",
)
METRICS = (INVOICES, CONCERNS, STALLED, UNMETERED, UNCLOSED)

_UNMADE = (InvoiceStatus.WAITING, InvoiceStatus.DRAFT)


def page() -> Page:
    """Return what the database says."""
    counts = dict(Invoice.objects.order_by().values_list("status").annotate(Count("pk")))
    waiting = Invoice.objects.filter(status__in=_UNMADE, due_at__isnull=False)
    unread = WebhookEvent.objects.filter(done_at=None, due_at__isnull=False)
    unopened = Statement.objects.filter(invoice=None) if is_set_up() else Statement.objects.none()
    now = clock.unmoved()
    waits = [_age(waiting, "created_at", now), _age(unread, "received_at", now), _age(unopened, "made_at", clock.now())]
    return {
        INVOICES: {(status,): counts.get(status, 0) for status in InvoiceStatus.values},
        CONCERNS: {
            **_concerned(Refusal.objects.all(), concerns.refusal_concerns()),
            **_concerned(Invoice.objects.all(), concerns.invoice_concerns()),
            **_concerned(Movement.objects.all(), concerns.movement_concerns()),
            **_concerned(WebhookEvent.objects.all(), concerns.event_concerns()),
            **_concerned(StatementProblem.objects.all(), statements.problem_concerns()),
            **_concerned(MonthClose.objects.all(), statements.close_concerns()),
            **_concerned(Meter.objects.all(), metering.meter_concerns()),
            **_concerned(MonthExport.objects.all(), export_concerns()),
        },
        STALLED: {PLAIN: max(waits)},
        UNMETERED: {PLAIN: metering.behind_seconds()},
        UNCLOSED: {PLAIN: statements.behind_seconds()},
    }


def _age(rows: QuerySet[Any], field: str, now: datetime) -> float:
    """Return how many seconds ago the oldest came; 0 without any."""
    oldest: datetime | None = rows.aggregate(oldest=Min(field))["oldest"]
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0


def _concerned(rows: QuerySet[Any], wanted: tuple[Concern, ...]) -> Values:
    counts = rows.aggregate(**{concern.key: Count("pk", filter=concern.where) for concern in wanted})
    return {(key,): count for key, count in counts.items()}
