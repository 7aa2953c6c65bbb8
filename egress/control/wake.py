"""Ask for assignments to be looked at. The due time is what counts; the message is a hint that spares a wait."""

from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from celery import current_app
from django.db import transaction
from django.db.models import Q

from . import clock
from .models import Assignment, AssignmentStatus

RECONCILE_TASK: Final = "egress.control.tasks.reconcile_assignment"
#: A hint that waited this long is worth nothing: the sweep has sent another.
HINT_EXPIRES_SECONDS: Final = 30
#: An active pair of which a gateway is under maintenance; one that is settled has no due time.
IN_MAINTENANCE: Final = Q(status=AssignmentStatus.ACTIVE, due_at__isnull=False)
#: What goes on once nodes acknowledge or report something.
WAITING_FOR_NODES: Final = IN_MAINTENANCE | Q(
    status__in=(AssignmentStatus.DISTRIBUTING, AssignmentStatus.DRAINING, AssignmentStatus.RELEASING)
)
#: What goes on once a gateway reports something.
WAITING_FOR_GATEWAYS: Final = IN_MAINTENANCE | Q(status=AssignmentStatus.PROVISIONING)


def wake(assignment_ids: Iterable[UUID]) -> None:
    """Make these assignments due now and, once the transaction is committed, enqueue their reconcile.

    A worker that is busy with one of them sees the new due time and looks again before it goes. A broker that
    is away costs time only: the sweep finds what is due.
    """
    ids = list(assignment_ids)
    if not ids:
        return
    with transaction.atomic():
        Assignment.objects.filter(pk__in=ids).update(due_at=clock.now())
        enqueue(ids)


def wake_waiting(cluster_id: int, *, up_to_revision: int | None = None) -> None:
    """Wake a cluster's assignments that wait for nodes; with `up_to_revision`, for that revision or an older one."""
    waiting = Assignment.objects.filter(WAITING_FOR_NODES, cluster_id=cluster_id)
    if up_to_revision is not None:
        waiting = waiting.filter(target_revision__lte=up_to_revision)
    wake(waiting.values_list("pk", flat=True))


def enqueue(assignment_ids: Iterable[UUID]) -> None:
    """Enqueue a reconcile for each, on commit. By the task's name: the tasks import reconcile, which imports this."""
    for assignment_id in assignment_ids:
        transaction.on_commit(_hint(str(assignment_id)), robust=True)


def _hint(assignment_id: str) -> Callable[[], None]:
    # No partial: Django logs a robust hook that fails by its __qualname__, which a partial lacks.
    def send() -> None:
        current_app.send_task(RECONCILE_TASK, [assignment_id], expires=HINT_EXPIRES_SECONDS)

    return send
