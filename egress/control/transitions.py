"""Every move of a status: what is allowed as data, and one compare-and-swap that makes it, with its event.

No other module writes `Assignment.status` or `Gateway.provisioning_status` of a row that exists.
"""

from collections.abc import Mapping
from typing import Any, Final

from django.db import transaction

from portal.accounts.models import User

from . import clock, events
from .errors import TransitionConflict, TransitionNotAllowed
from .models import Assignment, AssignmentStatus, Event, Gateway, GatewayStatus

_A, _G = AssignmentStatus, GatewayStatus

#: Releasing never fails: a VM that can't be deleted is tried again until it is gone.
ASSIGNMENT_MOVES: Final[Mapping[AssignmentStatus, frozenset[AssignmentStatus]]] = {
    _A.PROVISIONING: frozenset({_A.DISTRIBUTING, _A.RELEASING, _A.ERROR}),
    _A.DISTRIBUTING: frozenset({_A.ACTIVE, _A.DRAINING}),
    _A.ACTIVE: frozenset({_A.DRAINING}),
    # Back while its addresses are held.
    _A.DRAINING: frozenset({_A.RELEASING, _A.DISTRIBUTING}),
    _A.RELEASING: frozenset({_A.RELEASED}),
    _A.RELEASED: frozenset(),
    _A.ERROR: frozenset({_A.PROVISIONING, _A.RELEASING}),
}

GATEWAY_MOVES: Final[Mapping[GatewayStatus, frozenset[GatewayStatus]]] = {
    _G.PENDING: frozenset({_G.CREATING, _G.DELETING}),
    _G.CREATING: frozenset({_G.BOOTING, _G.DELETING}),
    _G.BOOTING: frozenset({_G.READY, _G.DELETING, _G.ERROR}),
    _G.READY: frozenset({_G.DRAINING, _G.DELETING, _G.ERROR}),
    _G.DRAINING: frozenset({_G.READY, _G.MAINTENANCE, _G.DELETING, _G.ERROR}),
    _G.MAINTENANCE: frozenset({_G.BOOTING, _G.READY, _G.DELETING, _G.ERROR}),
    _G.DELETING: frozenset({_G.DELETED}),
    _G.DELETED: frozenset(),
    # A gateway whose rebuild failed is rebuilt again.
    _G.ERROR: frozenset({_G.MAINTENANCE, _G.DELETING}),
}


def assignment_transition(
    *, assignment: Assignment, to: AssignmentStatus, reason: str = "", actor: User | None = None, **changes: Any
) -> Event:
    """Move `assignment` to `to`, with `changes` to other fields in the same write.

    Raises TransitionNotAllowed, or TransitionConflict if another worker moved it first.
    """
    old = AssignmentStatus(assignment.status)
    if to not in ASSIGNMENT_MOVES[old]:
        raise TransitionNotAllowed(f"assignment {assignment.pk} can't move from {old} to {to}")
    return _move(assignment, "status", "assignment.status", to, reason, actor, changes)


def gateway_transition(
    *, gateway: Gateway, to: GatewayStatus, reason: str = "", actor: User | None = None, **changes: Any
) -> Event:
    """Move `gateway` to `to`, with `changes` to other fields in the same write.

    Raises TransitionNotAllowed, or TransitionConflict if another worker moved it first.
    """
    old = GatewayStatus(gateway.provisioning_status)
    if to not in GATEWAY_MOVES[old]:
        raise TransitionNotAllowed(f"gateway {gateway.pk} can't move from {old} to {to}")
    return _move(gateway, "provisioning_status", "gateway.status", to, reason, actor, changes)


def _move(
    row: Assignment | Gateway,
    field: str,
    subject: str,
    to: AssignmentStatus | GatewayStatus,
    reason: str,
    actor: User | None,
    changes: dict[str, Any],
) -> Event:
    old = getattr(row, field)
    values = {**changes, field: to.value, "status_since": clock.now()}
    with transaction.atomic():
        if not type(row).objects.filter(pk=row.pk, **{field: old}).update(**values):
            raise TransitionConflict(f"{subject.partition('.')[0]} {row.pk} is no longer {old}: not moved to {to}")
        event = events.record(Event.Kind.STATUS, subject, on=row, old=old, new=to.value, reason=reason, actor=actor)
    for name, value in values.items():
        setattr(row, name, value)
    return event
