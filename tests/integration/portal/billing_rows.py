"""Rows of billing, as metering, statements and collecting leave them: this month's usage, finished months, invoices."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from billing.models import (
    BillingAccount,
    Credit,
    Dunning,
    Invoice,
    Meter,
    MonthClose,
    MonthExport,
    Movement,
    Notice,
    Price,
    Recheck,
    Refusal,
    Statement,
    StatementLine,
    StatementProblem,
    Terms,
    TrafficRecord,
    UsageRecord,
    WebhookEvent,
)
from egress.control import clock
from egress.control.models import App, Assignment, Event
from portal.accounts.models import Team

HOUR = timedelta(hours=1)
_pairs = count(1000)


def month_begin(now: datetime | None = None) -> datetime:
    return (now or clock.now()).astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def assignment(app: App, status: str = "active") -> Assignment:
    wish = "disabled" if status == "released" else "enabled"
    return Assignment.objects.create(app=app, cluster=app.cluster, pair=next(_pairs), status=status, wish=wish)


def used(
    assignment: Assignment, begin: datetime, hours: int, *, outages: Iterable[int] = (), seconds: int = 3600
) -> None:
    """Close so many hours, both slots alike; in those of `outages`, by their number, both gateways were down."""
    out = set(outages)
    UsageRecord.objects.bulk_create(
        UsageRecord(
            assignment=assignment,
            slot=slot,
            hour=begin + HOUR * number,
            seconds=0 if number in out else seconds,
            outage_seconds=3600 if number in out else 0,
        )
        for number in range(hours)
        for slot in (0, 1)
    )


def event(assignment: Assignment, at: datetime, subject: str, new: str = "", **fields: Any) -> Event:
    values = {"app": assignment.app, "cluster": assignment.cluster, "kind": Event.Kind.STATUS, **fields}
    return Event.objects.create(assignment=assignment, at=at, subject=subject, new=new, **values)


def account(team: Team, **fields: Any) -> BillingAccount:
    values = {"payment_method": "pm_1", "payment_brand": "visa", "payment_last4": "4242", **fields}
    return BillingAccount.objects.update_or_create(team=team, defaults=values)[0]


def usage_line(assignment: Assignment, slot: int, month: date, cents: int = 1250, hours: int = 720) -> StatementLine:
    """Return a line as rating makes it, not stored yet."""
    begin = datetime(month.year, month.month, 1, tzinfo=UTC)
    end = (begin + timedelta(days=32)).replace(day=1)
    part = {
        "begin": begin.isoformat(),
        "end": end.isoformat(),
        "price": None,
        "seconds": hours * 3600,
        "charged_seconds": min(hours, 672) * 3600,
        "free_seconds": 0,
        "cap_seconds": 672 * 3600,
        "per_slot_hour": "0.01860119",
    }
    return StatementLine(
        kind="usage",
        app=assignment.app,
        assignment=assignment,
        slot=slot,
        description=f"{assignment.app.name}, gateway {'AB'[slot]}: {hours} h used, {min(hours, 672)} h charged",
        quantity=hours * 3600,
        unit="second",
        begin=begin,
        end=end,
        exact=Decimal(cents) / 100,
        cents=cents,
        detail={"parts": [part], "outage_seconds": 0},
    )


def statement(team: Team, month: date, lines: Iterable[StatementLine]) -> Statement:
    lines = list(lines)
    row = Statement.objects.create(
        team=team, month=month, currency="USD", total_cents=sum(line.cents for line in lines)
    )
    for position, line in enumerate(lines, 1):
        line.statement, line.position = row, position
    StatementLine.objects.bulk_create(lines)
    return row


def invoice(statement: Statement, status: str = "paid", **fields: Any) -> Invoice:
    values = {
        "account": account(statement.team),
        "currency": statement.currency,
        "total_cents": statement.total_cents,
        "number": f"NW-{statement.month:%y%m}",
        "stripe_id": f"in_{statement.pk}",
        "hosted_url": f"https://invoice.stripe.com/i/{statement.pk}",
        "pdf_url": f"https://invoice.stripe.com/i/{statement.pk}/pdf",
        **fields,
    }
    return Invoice.objects.create(statement=statement, status=status, **values)


def trouble(team: Team, app: App) -> None:
    """Leave a row of everything that operators look at, for a month whose payment failed."""
    now = clock.now()
    month = (month_begin(now) - timedelta(days=1)).date().replace(day=1)
    pair = assignment(app, "released")
    used(pair, month_begin(now) - HOUR, 1)
    traffic = {"hour": month_begin(now) - HOUR, "sent_bytes": 5 * 2**30}
    TrafficRecord.objects.create(assignment=pair, slot=0, **traffic)
    event(pair, month_begin(now) - HOUR, "assignment.status", "distributing")
    bill = invoice(statement(team, month, [usage_line(pair, slot, month) for slot in (0, 1)]), "open", failed_at=now)
    payer = bill.account
    Movement.objects.create(
        stripe_id="re_1", kind="refund", account=payer, invoice=bill, currency="USD", cents=500, status="succeeded",
        happened_at=now,
    )  # fmt: skip
    brought = WebhookEvent.objects.create(
        stripe_id="evt_1", type="invoice.payment_failed", object_id=bill.stripe_id, payload={}, sent_at=now
    )
    Refusal.objects.create(
        account=payer, invoice=bill, event=brought, step="finalize", code="customer_tax_location_invalid",
        message="The customer's address can't be taxed.",
    )  # fmt: skip
    Dunning.objects.create(account=payer)
    Notice.objects.create(team=team, kind="payment_failed", key="one", subject="Your payment failed", text="It did.")
    MonthExport.objects.create(month=month, at=now, problem="no space left")
    Price.objects.create(per_slot_hour="0.02", starts_at=month_begin(now), reason="dearer servers")
    Terms.objects.create(team=team, discount_percent="12.5", starts_at=month_begin(now), reason="a pilot")
    Credit.objects.create(team=team, cents=2000, reason="an outage")
    Meter.objects.create(closed_until=month_begin(now) - HOUR)
    Recheck.objects.create(assignment=pair, since=month_begin(now) - HOUR, reason="an event came late")
    MonthClose.objects.create(month=month, began_at=month_begin(now) - HOUR)
    StatementProblem.objects.create(team=team, month=month, code="price_missing", message="There is no price in EUR.")
