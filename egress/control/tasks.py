"""What workers run. No logic here; time limits and acknowledgement are settings. All may run twice, or at once."""

from uuid import UUID

from celery import shared_task

from . import rolling
from .inventory import tidy as tidying
from .reconcile import loop as reconcile
from .repair import sweep as repair
from .told import mail as mailing
from .told import retention, standing


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


@shared_task
def tell() -> None:
    """Note how pairs stand, and write down what their teams must be told: every few seconds."""
    standing.look()


@shared_task
def mail() -> None:
    """Send the mails that are due: every few seconds."""
    mailing.send_due()


@shared_task
def forget() -> None:
    """Delete what is older than anybody needs: every hour."""
    retention.forget()
