"""What workers run for billing. No logic here; time limits and acknowledgement are settings. All may run twice."""

from celery import shared_task

from .collecting import inbox, invoicing


@shared_task
def collect() -> None:
    """Bring statements to Stripe, and deal with what it sent: every minute."""
    inbox.sweep()
    invoicing.sweep()


@shared_task
def handle_event(event_id: int) -> None:
    """Deal with one event of Stripe's."""
    inbox.handle_now(event_id)
