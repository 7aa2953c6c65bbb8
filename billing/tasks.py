"""What workers run of billing. No logic here; time limits are settings. All may run twice, or at once."""

from celery import shared_task

from . import notices
from .collecting import closing, disputes, inbox, invoicing, reminding
from .exports import months as exporting
from .guards import budgets
from .metering import close as hours
from .statements import close as months

#: A run ends itself after about so long, well before a task's limit; the next one goes on.
CLOSE_SECONDS = 20
#: A month of 10,000 gateways takes some minutes. Delivered again meanwhile, it finds the folder locked and ends.
EXPORT_SECONDS = 3600


@shared_task
def close_hours() -> None:
    """Close the hours that are over, and correct those that late facts concern: every minute."""
    hours.close_hours(seconds=CLOSE_SECONDS)


@shared_task
def close_months() -> None:
    """Make the statements of months that are over: every minute."""
    months.close_months()


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
def look_for_disputes() -> None:
    """See what became of disputes whose webhooks were lost: every hour."""
    disputes.look()


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


@shared_task(soft_time_limit=EXPORT_SECONDS, time_limit=EXPORT_SECONDS + 60)
def export_months() -> None:
    """Write finished months to the export folder: every hour."""
    exporting.export_months()


@shared_task
def look_at_budgets() -> None:
    """Tell who reached a part of their budget: every few minutes."""
    budgets.look()
