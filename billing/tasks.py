"""What workers run of billing. No logic here; all may run twice, or at once."""

from celery import shared_task

from .metering import close as hours
from .statements import close as months

#: A run ends itself after about so long, well before a task's limit; the next one goes on.
CLOSE_SECONDS = 20


@shared_task
def close_hours() -> None:
    """Close the hours that are over, and correct those that late facts concern: every minute."""
    hours.close_hours(seconds=CLOSE_SECONDS)


@shared_task
def close_months() -> None:
    """Make the statements of months that are over: every minute."""
    months.close_months()
