"""What workers run of billing. No logic here; all may run twice, or at once."""

from celery import shared_task

from .statements import close


@shared_task
def close_months() -> None:
    """Make the statements of months that are over: every minute."""
    close.close_months()
