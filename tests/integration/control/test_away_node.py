"""A node that is away while an app is enabled: it comes back with old routes, so nobody may say "active" before."""

from datetime import timedelta

import pytest

from egress.control import clock, health
from egress.control.models import AssignmentStatus, Node
from egress.control.selectors import egress_view
from egress.control.services import egress_enable, node_remove
from egress.control.waiting import waits_for

from .fleet import Fleet


@pytest.fixture
def away(fleet: Fleet) -> Node:
    """One node silent for a day, while the others apply the app's route."""
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    *others, gone = fleet.nodes
    for node in others:
        fleet.sync_node(node)
        fleet.report_node(node)
    Node.objects.filter(pk=gone.pk).update(reported_at=clock.now() - timedelta(days=1))
    health.watch_silence()
    gone.refresh_from_db()
    assert gone.health == "unhealthy"
    return gone


def test_its_silence_makes_nobody_active_however_long_it_lasts(fleet: Fleet, away: Node) -> None:
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING
    assert waits_for(fleet.assignment) == f"nodes: {away.name}"
    assert egress_view(fleet.app).lagging_nodes == (away.name,)


def test_it_is_waited_for_no_more_once_it_applied_or_an_operator_says_that_it_is_fenced(
    fleet: Fleet, away: Node
) -> None:
    fleet.step()
    node_remove(node=away, actor=fleet.user)
    for gateway in fleet.gateways():
        fleet.report_gateway(gateway)
    assert fleet.step().status == AssignmentStatus.ACTIVE
