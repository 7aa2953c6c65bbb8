"""Egress that is taken away by the platform, and given back while its addresses are held."""

from datetime import timedelta

import pytest

from egress.control import clock
from egress.control.attention import assignment_concerns
from egress.control.models import Assignment, AssignmentStatus, Event, Wish
from egress.control.withdrawal import MARGIN, egress_resume, egress_withdraw

from .fleet import Fleet

pytestmark = pytest.mark.costly
HELD = timedelta(days=7)


def test_what_is_held_keeps_its_gateways_and_is_given_back(fleet: Fleet) -> None:
    fleet.bring_up()
    had = [gateway.pk for gateway in fleet.gateways()]
    until = clock.now() + HELD
    for _ in range(2):
        withdrawn = egress_withdraw(app=fleet.app, reason="unpaid", held_until=until)
    assert withdrawn
    assert withdrawn.wish == Wish.DISABLED
    fleet.step()
    fleet.nodes_follow()
    assert fleet.step().status == AssignmentStatus.DRAINING
    for _ in range(2):
        egress_resume(app=fleet.app, reason="paid")
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING
    fleet.nodes_follow()
    assert fleet.step().status == AssignmentStatus.ACTIVE
    assert [gateway.pk for gateway in fleet.gateways()] == had
    asked = Event.objects.filter(subject__startswith="egress.").order_by("pk")
    assert list(asked.values_list("subject", "reason")) == [
        ("egress.enable", ""),
        ("egress.disable", "unpaid"),
        ("egress.enable", "paid"),
    ]


@pytest.mark.parametrize("held", [None, timedelta(0), MARGIN])
def test_what_is_not_held_or_not_for_long_enough_is_not_given_back(fleet: Fleet, held: timedelta | None) -> None:
    fleet.bring_up()
    egress_withdraw(app=fleet.app, reason="unpaid", held_until=clock.now() + held if held is not None else None)
    assert egress_resume(app=fleet.app, reason="paid") is None
    assert fleet.assignment.wish == Wish.DISABLED


def test_one_that_is_given_back_before_nodes_were_told_stays_as_it_was(fleet: Fleet) -> None:
    fleet.bring_up()
    egress_withdraw(app=fleet.app, reason="unpaid", held_until=clock.now() + HELD)
    egress_resume(app=fleet.app, reason="paid")
    assert fleet.step().status == AssignmentStatus.ACTIVE


def test_there_is_nothing_to_withdraw_where_nothing_is_enabled(fleet: Fleet) -> None:
    assert egress_withdraw(app=fleet.app, reason="unpaid") is None
    assert egress_resume(app=fleet.app, reason="paid") is None


def test_what_is_held_is_no_operators_concern(fleet: Fleet) -> None:
    fleet.bring_up()
    egress_withdraw(app=fleet.app, reason="unpaid", held_until=clock.now() + HELD)
    fleet.step()
    Assignment.objects.update(status_since=clock.now() - timedelta(days=1))
    slow = next(concern for concern in assignment_concerns() if concern.key == "slow")
    assert not Assignment.objects.filter(slow.where).exists()
    Assignment.objects.update(held_until=clock.now() - timedelta(hours=1))
    assert Assignment.objects.filter(slow.where).exists()
