"""Write history: one function, called inside the transaction that makes it so."""

from datetime import timedelta

from portal.accounts.models import User

from . import clock
from .models import App, Assignment, Cluster, Event, Gateway, Node

#: Operators' detail can hold a provider's whole answer; what is kept of it is bounded.
MAX_REASON_CHARACTERS = 2_000
#: Between two alarms about the same.
ALARM_PAUSE = timedelta(hours=1)


def record(
    kind: Event.Kind,
    subject: str,
    *,
    on: Assignment | Gateway | Node | Cluster | App | None,
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
        app_id=on.pk if isinstance(on, App) else assignment.app_id if assignment else None,
        assignment=assignment,
        gateway=gateway,
        node=node,
        actor=actor,
        old=old,
        new=new,
        reason=reason[:MAX_REASON_CHARACTERS],
    )


def alarm(subject: str, *, on: Gateway | None, new: str, reason: str) -> None:
    """Write a security event, unless there is one of the last hour: who tries again and again fills no table."""
    lately = Event.objects.filter(kind=Event.Kind.SECURITY, subject=subject, gateway=on, new=new)
    if not lately.filter(at__gt=clock.now() - ALARM_PAUSE).exists():
        record(Event.Kind.SECURITY, subject, on=on, new=new, reason=reason)


def _cluster_id(row: Assignment | Gateway | Node | Cluster | App | None) -> int | None:
    if row is None:
        return None
    if isinstance(row, Cluster):
        return row.pk
    return row.assignment.cluster_id if isinstance(row, Gateway) else row.cluster_id
