"""What workers run for billing. No logic here; all may run twice, or at once."""

from celery import shared_task

from .exports import months

#: A month of 10,000 gateways takes some minutes. Delivered again meanwhile, it finds the folder locked and ends.
EXPORT_SECONDS = 3600


@shared_task(soft_time_limit=EXPORT_SECONDS, time_limit=EXPORT_SECONDS + 60)
def export_months() -> None:
    """Write finished months to the export folder: every hour."""
    months.export_months()
