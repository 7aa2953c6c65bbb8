"""What of billing is shown on the operators' start page, which asks for it by the setting `START_SECTIONS`."""

from datetime import datetime
from typing import Any

from django.db.models import Model, Q

from billing import words
from billing.collecting import concerns
from billing.exports.concerns import export_concerns
from billing.metering.concerns import meter_concerns
from billing.models import (
    Invoice,
    InvoiceStatus,
    Meter,
    MonthClose,
    MonthExport,
    Movement,
    MovementKind,
    Refusal,
    StatementProblem,
    WebhookEvent,
)
from billing.statements.concerns import close_concerns, problem_concerns
from egress.control.admin.start import Kind

_Matter = tuple[str, datetime | None]
_UNENDED = (InvoiceStatus.WAITING, InvoiceStatus.DRAFT, InvoiceStatus.OPEN)


def kinds() -> dict[type[Model], Kind]:
    """Return billing's rows in the order in which money moves."""
    return {
        Meter: Kind(
            alive=Q(),
            concerns=meter_concerns(),
            describe=_meter,
            since="Closed until",
            column="closed_until",
            title="metering",
        ),
        MonthClose: Kind(
            alive=Q(closed_at=None),
            concerns=close_concerns(),
            describe=_close,
            since="Since",
            column="began_at",
            title="months being closed",
        ),
        StatementProblem: Kind(
            alive=Q(resolved_at=None),
            concerns=problem_concerns(),
            describe=_problem,
            since="Since",
            column="noticed_at",
        ),
        Refusal: Kind(
            alive=Q(decided_at=None),
            concerns=concerns.refusal_concerns(),
            describe=_refusal,
            since="Since",
            column="created_at",
            title="refused by Stripe",
        ),
        Invoice: Kind(
            alive=Q(status__in=_UNENDED),
            concerns=concerns.invoice_concerns(),
            describe=_invoice,
            since="Made",
            column="created_at",
            title="invoices to be paid",
        ),
        Movement: Kind(
            alive=Q(kind=MovementKind.DISPUTE),
            concerns=concerns.movement_concerns(),
            describe=_movement,
            since="At",
            column="happened_at",
            title="disputes",
        ),
        WebhookEvent: Kind(
            alive=Q(done_at=None),
            concerns=concerns.event_concerns(),
            describe=_webhook,
            since="Received",
            column="received_at",
            title="webhooks in hand",
        ),
        MonthExport: Kind(
            alive=Q(),
            concerns=export_concerns(),
            describe=_export,
            since="Tried",
            column="at",
        ),
    }


def _meter(page: Any, row: Meter) -> _Matter:
    del page
    return "hours that are over aren't closed: look at the workers' log of billing.tasks.close_hours", row.closed_until


def _close(page: Any, row: MonthClose) -> _Matter:
    return f"statements that can't be made: {page.problems(row)}", row.began_at


def _problem(page: Any, row: StatementProblem) -> _Matter:
    del page
    return f"{row.code}: {row.message}", row.noticed_at


def _refusal(page: Any, row: Refusal) -> _Matter:
    del page
    return f"{row.account or 'no account'}: {row.message}", row.created_at


def _invoice(page: Any, row: Invoice) -> _Matter:
    del page
    if row.error_code:
        return f"{row.error_code}: {row.error_message}", row.created_at
    left = words.money(row.open_cents, row.currency)
    return f"{left} unpaid, tried {row.tries} times", row.created_at


def _movement(page: Any, row: Movement) -> _Matter:
    del page
    return f"{row.account}: {words.money(row.cents, row.currency)}, {row.reason}", row.happened_at


def _webhook(page: Any, row: WebhookEvent) -> _Matter:
    del page
    return f"tried {row.attempts} times: {row.outcome or 'no outcome yet'}", row.received_at


def _export(page: Any, row: MonthExport) -> _Matter:
    del page
    return row.problem, row.at
