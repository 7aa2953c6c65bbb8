"""Let time pass in a demo: day by day, with all that falls due on each, as if nobody had waited for it.

The control plane's clock and that of the stand-in for Stripe move together. Nodes, gateways and this machine keep the
real time, so nothing of theirs gets old: to them it is as if the control plane had been away for a moment.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

from django.conf import settings

from billing import notices
from billing.collecting import inbox, invoicing, reminding
from billing.guards import budgets
from billing.metering import close as hours
from billing.metering.evidence import hour_of
from billing.models import Invoice, InvoiceStatus, Meter, MonthClose, Notice, Statement, UsageRecord, WebhookEvent
from billing.rating import months
from billing.statements import close as statements
from billing.words import money
from egress.control import clock
from egress.control.models import Assignment, AssignmentStatus

from . import stripe
from .errors import StackError

DAY = timedelta(days=1)
#: A statement may be made when its month's hold is over; some minutes later it is.
AFTER_HOLD = timedelta(minutes=10)
#: For webhooks to arrive, and for workers that do the same work at the same time.
PATIENCE_SECONDS = 60.0
_AT_REST = (AssignmentStatus.ACTIVE, AssignmentStatus.RELEASED)


@dataclass(frozen=True, slots=True)
class Day:
    """A day that came: its time, and what was stated and told on it, a line each."""

    now: datetime
    news: tuple[str, ...]


def months_pass(number: int) -> Iterator[Day]:
    """Let time pass until the present month, or `number` of them, is over and invoiced; yields each day that came.

    Raises StackError.
    """
    month = months.month_of(clock.now())
    for _ in range(number - 1):
        month = months.following(month)
    yield from _pass(months.end_of(month) + timedelta(hours=settings.BILLING_HOLD_HOURS) + AFTER_HOLD)


def days_pass(number: int) -> Iterator[Day]:
    """Let `number` days pass; yields each that came. Raises StackError."""
    yield from _pass(clock.now() + DAY * number)


def _pass(until: datetime) -> Iterator[Day]:
    if not settings.CLOCK_OFFSET_FILE:
        raise StackError("Only a running demo's time can be moved: start ./dev demo first.")
    if busy := _busy():
        raise StackError(f"Wait until {', '.join(busy)} is enabled or released: time passes only while all is at rest.")
    with _alone():
        while (left := until - clock.now()) > timedelta():
            begun = clock.now()
            _move(min(left, DAY))
            _do_what_is_due()
            yield Day(clock.now(), tuple(_news(begun)))


@contextmanager
def _alone() -> Iterator[None]:
    """Hold off others who let time pass: of two at once, one would turn it back."""
    with Path(f"{settings.CLOCK_OFFSET_FILE}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError("Time is passing already, by another command: wait until it is done.") from None
        yield


def _busy() -> list[str]:
    """Return the apps on whose gateways work is under way: their deadlines would be over at once."""
    rows = Assignment.objects.exclude(status__in=_AT_REST).select_related("app")
    return [str(row.app) for row in rows[:5]]


def _move(by: timedelta) -> None:
    file = Path(settings.CLOCK_OFFSET_FILE)
    before = int(file.read_text()) if file.exists() else 0
    new = file.with_suffix(".new")
    new.write_text(str(before + ceil(by.total_seconds())))
    new.replace(file)


def _do_what_is_due() -> None:
    """Do what workers would have done by now: hours, statements, invoices, payments, reminders; in this order."""
    _stripes_turn()
    _until("all hours are closed", _hours_closed)
    _until("all months are closed", _months_closed)
    _until("the invoices are at Stripe", _invoiced)
    # What was finalized is charged, and what came of it is known before anybody is reminded.
    _stripes_turn()
    reminding.look()
    notices.send_due()
    budgets.look()


def _news(since: datetime) -> Iterator[str]:
    for row in Statement.objects.filter(made_at__gte=since).select_related("team", "invoice"):
        outcome = row.invoice.get_status_display().lower() if hasattr(row, "invoice") else "not collected"
        amount = money(row.total_cents, row.currency)
        yield f"{row.made_at:%Y-%m-%d} {row.team}: {amount} for {row.month:%B %Y}, {outcome}"
    for notice in Notice.objects.filter(created_at__gte=since).order_by("pk"):
        yield f"{notice.created_at:%Y-%m-%d} {notice.subject}"


def _stripes_turn() -> None:
    """Let the stand-in come to the same day and do what is due there, and see what it tells of that."""
    if stripe.is_there():
        stripe.clock_set(round(clock.offset().total_seconds()))
        _until("the webhooks of the stand-in for Stripe arrive", stripe.has_told_all)
    _until("what Stripe told is dealt with", _heard)


# Workers do the same at their own times: what one of them is about is waited for, what failed is left to later.


def _hours_closed() -> bool:
    hours.close_hours()
    # The last hour of all waits for reports of its last minutes.
    return Meter.objects.filter(closed_until__gte=hour_of(clock.now() - hours.SETTLE)).exists()


def _months_closed() -> bool:
    statements.close_months()
    held = months.month_of(clock.now() - timedelta(hours=settings.BILLING_HOLD_HOURS))
    used = UsageRecord.objects.filter(hour__lt=months.begin_of(held))
    over = months.month_of(months.begin_of(held) - DAY)
    return not used.exists() or MonthClose.objects.filter(month=over, looked_at__isnull=False).exists()


def _invoiced() -> bool:
    invoicing.sweep()
    begun = Invoice.objects.filter(status__in=(InvoiceStatus.WAITING, InvoiceStatus.DRAFT), error_code="")
    return not (stripe.collects() and begun.exists())


def _heard() -> bool:
    inbox.sweep()
    return not WebhookEvent.objects.filter(due_at__isnull=False, outcome="").exists()


def _until(what: str, done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > end:
            raise StackError(f"Waited {PATIENCE_SECONDS:.0f} s in vain until {what}; worker.log may say why.")
        time.sleep(0.1)
