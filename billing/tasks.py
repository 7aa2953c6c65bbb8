"""What workers run for billing. No logic here; time limits and acknowledgement are settings. All may run twice."""

from celery import shared_task

from . import notices
from .collecting import closing, inbox, invoicing, reminding
from .guards import budgets
from .statements import close


@shared_task
def collect() -> None:
    """Bring statements to Stripe, and deal with what it sent: every minute."""
    inbox.sweep()
    invoicing.sweep()
    closing.sweep()


@shared_task
def remind() -> None:
    """Remind and warn who owes, and send the mails: every minute."""
    reminding.look()
    notices.send_due()


@shared_task
def forget_events() -> None:
    """Delete what Stripe sent long ago: every hour."""
    inbox.forget()


@shared_task
def handle_event(event_id: int) -> None:
    """Deal with one event of Stripe's."""
    inbox.handle_now(event_id)


@shared_task
def look_at_budgets() -> None:
    """Tell who reached a part of their budget: every few minutes."""
    budgets.look()


@shared_task
def close_months() -> None:
    """Make the statements of months that are over: every minute."""
    close.close_months()
