"""Every move that is allowed, every one that isn't, and what happens when two make one."""

from itertools import product
from typing import Any

import pytest
from django.db import transaction

from egress.control.errors import TransitionConflict, TransitionNotAllowed
from egress.control.models import Assignment, AssignmentStatus, Event, Gateway, GatewayStatus
from egress.control.transitions import (
    ASSIGNMENT_MOVES,
    GATEWAY_MOVES,
    assignment_transition,
    gateway_transition,
)
from tests.factories import make_app

ASSIGNMENT_PAIRS = [(old, new, new in ASSIGNMENT_MOVES[old]) for old, new in product(AssignmentStatus, repeat=2)]
GATEWAY_PAIRS = [(old, new, new in GATEWAY_MOVES[old]) for old, new in product(GatewayStatus, repeat=2)]


def _assignment(status: AssignmentStatus = AssignmentStatus.PROVISIONING) -> Assignment:
    app = make_app()
    return Assignment.objects.create(app=app, cluster=app.cluster, pair=1, status=status)


def _gateway(status: GatewayStatus = GatewayStatus.PENDING) -> Gateway:
    return Gateway.objects.create(assignment=_assignment(), slot=0, provisioning_status=status)


@pytest.mark.parametrize(("old", "new", "allowed"), ASSIGNMENT_PAIRS)
def test_assignment_moves(db: None, old: AssignmentStatus, new: AssignmentStatus, *, allowed: bool) -> None:
    assignment = _assignment(old)
    since = assignment.status_since
    if allowed:
        assignment_transition(assignment=assignment, to=new, reason="because")
    else:
        with pytest.raises(TransitionNotAllowed):
            assignment_transition(assignment=assignment, to=new)
    stored = Assignment.objects.get()
    assert stored.status == assignment.status == (new if allowed else old)
    assert (stored.status_since > since) == allowed
    events = [(event.subject, event.old, event.new, event.reason) for event in Event.objects.filter(kind="status")]
    assert events == ([("assignment.status", old, new, "because")] if allowed else [])


@pytest.mark.parametrize(("old", "new", "allowed"), GATEWAY_PAIRS)
def test_gateway_moves(db: None, old: GatewayStatus, new: GatewayStatus, *, allowed: bool) -> None:
    gateway = _gateway(old)
    if allowed:
        gateway_transition(gateway=gateway, to=new)
    else:
        with pytest.raises(TransitionNotAllowed):
            gateway_transition(gateway=gateway, to=new)
    assert Gateway.objects.get().provisioning_status == (new if allowed else old)
    assert Event.objects.filter(gateway=gateway, assignment=gateway.assignment).count() == int(allowed)


def test_every_status_can_still_reach_its_end() -> None:
    """No row can get stuck: from each status there is a way out."""

    def reaches(moves: Any, start: Any, end: Any) -> bool:
        seen, todo = set(), [start]
        while todo:
            status = todo.pop()
            seen.add(status)
            todo += moves[status] - seen
        return end in seen

    assert all(reaches(ASSIGNMENT_MOVES, status, AssignmentStatus.RELEASED) for status in AssignmentStatus)
    assert all(reaches(GATEWAY_MOVES, status, GatewayStatus.DELETED) for status in GatewayStatus)


def test_of_two_movers_one_loses_and_writes_nothing(db: None) -> None:
    first = _assignment()
    second = Assignment.objects.get()
    assignment_transition(assignment=first, to=AssignmentStatus.ERROR)
    with pytest.raises(TransitionConflict):
        assignment_transition(assignment=second, to=AssignmentStatus.DISTRIBUTING)
    assert Assignment.objects.get().status == AssignmentStatus.ERROR
    assert Event.objects.filter(kind="status").count() == 1


def test_other_fields_move_with_the_status_or_not_at_all(db: None) -> None:
    gateway = _gateway(GatewayStatus.CREATING)
    stale = Gateway.objects.get()
    gateway_transition(gateway=gateway, to=GatewayStatus.BOOTING, server_id="1")
    with pytest.raises(TransitionConflict):
        gateway_transition(gateway=stale, to=GatewayStatus.BOOTING, server_id="2")
    assert Gateway.objects.get().server_id == "1"


def test_a_transaction_that_fails_takes_the_move_and_its_event_back(db: None) -> None:
    assignment = _assignment()

    def move_and_fail() -> None:
        with transaction.atomic():
            assignment_transition(assignment=assignment, to=AssignmentStatus.ERROR)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        move_and_fail()
    assert Assignment.objects.get().status == AssignmentStatus.PROVISIONING
    assert not Event.objects.filter(kind="status").exists()
