"""What workers run. No logic here; time limits and acknowledgement are settings. All may run twice, or at once."""

from uuid import UUID

from celery import shared_task

from . import rolling
from .inventory import tidy as tidying
from .reconcile import loop as reconcile
from .repair import sweep as repair


@shared_task
def reconcile_assignment(assignment_id: str) -> None:
    """Go on with one assignment."""
    reconcile.reconcile(UUID(assignment_id))


@shared_task
def sweep() -> None:
    """Find what is due: every second."""
    reconcile.sweep()


@shared_task
def watch() -> None:
    """Find who fell silent or can't serve, and begin to repair gateways: every few seconds."""
    repair.watch()


@shared_task
def roll() -> None:
    """Bring rollouts nearer to their end: every two seconds."""
    rolling.roll()


@shared_task
def tidy() -> None:
    """Compare the provider's VMs with the rows: every half minute."""
    tidying.tidy()
