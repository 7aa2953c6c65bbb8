"""What workers run for billing. No logic here; time limits and acknowledgement are settings. All may run twice."""

from celery import shared_task

from . import notices
from .collecting import closing, inbox, invoicing, reminding


@shared_task
def collect() -> None:
    """Bring statements to Stripe, and settle what was closed: every minute."""
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
def handle_events() -> None:
    """Deal with what Stripe sent and no worker was told of, or could deal with then: every minute."""
    inbox.sweep()


@shared_task
def handle_event(event_id: int) -> None:
    """Deal with one event of Stripe's."""
    inbox.handle_now(event_id)
