"""Write history: one function, called inside the transaction that makes it so."""

from portal.accounts.models import User

from . import clock
from .models import Assignment, Cluster, Event, Gateway, Node

#: Operators' detail can hold a provider's whole answer; what is kept of it is bounded.
MAX_REASON_CHARACTERS = 2_000


def record(
    kind: Event.Kind,
    subject: str,
    *,
    on: Assignment | Gateway | Node | Cluster | None,
    old: str = "",
    new: str = "",
    reason: str = "",
    actor: User | None = None,
) -> Event:
    """Write one event about `on`, None for the installation; what `on` belongs to is filled in."""
    gateway = on if isinstance(on, Gateway) else None
    node = on if isinstance(on, Node) else None
    assignment = gateway.assignment if gateway else on if isinstance(on, Assignment) else None
    return Event.objects.create(
        at=clock.now(),
        kind=kind,
        subject=subject,
        cluster_id=_cluster_id(assignment or on),
        app_id=assignment.app_id if assignment else None,
        assignment=assignment,
        gateway=gateway,
        node=node,
        actor=actor,
        old=old,
        new=new,
        reason=reason[:MAX_REASON_CHARACTERS],
    )


def _cluster_id(row: Assignment | Gateway | Node | Cluster | None) -> int | None:
    if row is None:
        return None
    if isinstance(row, Cluster):
        return row.pk
    return row.assignment.cluster_id if isinstance(row, Gateway) else row.cluster_id
