"""What pages and the API are given to show."""

from datetime import timedelta
from typing import Any

import pytest

from egress.control import clock
from egress.control.health import watch_silence
from egress.control.models import Assignment, Event, Gateway, Node
from egress.control.overview import egress_overviews
from egress.control.selectors import egress_view
from egress.control.services import egress_disable, egress_enable
from egress.control.waiting import waits_for

from .fleet import Fleet

pytestmark = pytest.mark.costly


def states(fleet: Fleet) -> dict[str, str]:
    return {step.name: step.state for step in egress_view(fleet.app).steps}


def test_without_an_assignment_the_app_is_shared(fleet: Fleet) -> None:
    view = egress_view(fleet.app)
    assert (view.type, view.status, view.wish, view.ips, view.steps) == ("AUTOASSIGN", "", "", (), ())
    assert (view.can_enable, view.can_disable, view.can_retry, view.busy) == (True, False, False, False)


def test_the_steps_follow_the_way_to_active(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    seen = [states(fleet)]
    fleet.step()
    seen.append(states(fleet))
    fleet.boot_gateways()
    fleet.step()
    seen.append(states(fleet))
    fleet.nodes_follow()
    fleet.step()
    seen.append(states(fleet))
    order = ("requested", "created", "ready", "applied", "active")
    done = [sum(state[name] == "done" for name in order) for state in seen]
    assert done == [1, 2, 3, 5]
    assert seen[0]["created"] == "current"
    assert seen[1]["ready"] == "current"
    assert seen[2]["applied"] == "current"
    assert seen[2]["active"] == "waiting"
    view = egress_view(fleet.app)
    assert all(step.at is not None for step in view.steps)
    assert (view.type, view.status, view.busy, view.can_disable) == ("DEDICATED_IP", "active", False, True)


def test_a_failure_marks_its_step(fleet: Fleet) -> None:
    fleet.cloud.fail("create_or_adopt", "provider_no_capacity")
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    (failed,) = [step for step in egress_view(fleet.app).steps if step.state == "failed"]
    assert failed.name == "created"
    assert "no room" in failed.detail


def test_addresses_are_assigned_once_traffic_uses_them(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    assert [(ip.ip, ip.status) for ip in egress_view(fleet.app).ips] == [(None, "ASSIGNING")] * 2
    fleet.step()
    assert [ip.ip for ip in egress_view(fleet.app).ips] == ["203.0.113.1", "203.0.113.2"]
    fleet.boot_gateways()
    fleet.step()
    fleet.nodes_follow()
    fleet.step()
    ips = egress_view(fleet.app).ips
    assert [(ip.gateway, ip.slot, ip.status, ip.health) for ip in ips] == [
        ("A", 0, "ASSIGNED", "healthy"),
        ("B", 1, "ASSIGNED", "healthy"),
    ]
    egress_disable(app=fleet.app, actor=fleet.user)
    for _ in range(2):
        fleet.step()
        fleet.nodes_follow()
    assert [ip.status for ip in egress_view(fleet.app).ips] == ["REMOVED", "REMOVED"]
    fleet.step()
    assert egress_view(fleet.app).ips == ()


def test_a_node_that_lags_is_named(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    fleet.sync_node(fleet.nodes[0])
    view = egress_view(fleet.app)
    assert view.lagging_nodes == ("node-2",)
    assert [(node.name, node.applied) for node in view.nodes] == [("node-1", True), ("node-2", False)]
    (current,) = [step for step in view.steps if step.state == "current"]
    assert current.detail == "1 of 2 nodes updated"
    assert waits_for(fleet.assignment) == "nodes: node-2"


def test_two_nodes_use_two_gateways(fleet: Fleet) -> None:
    fleet.bring_up()
    assert {node.slot for node in egress_view(fleet.app).nodes} == {0, 1}
    assert [node.containers for node in egress_view(fleet.app).nodes] == [1, 1]


def test_a_view_costs_a_fixed_number_of_queries(fleet: Fleet, django_assert_max_num_queries: Any) -> None:
    fleet.bring_up()
    with django_assert_max_num_queries(6):
        egress_view(fleet.app)


def test_the_timeline_is_bounded_and_newest_first(fleet: Fleet) -> None:
    fleet.bring_up()
    assignment = fleet.assignment
    for _ in range(30):
        Event.objects.create(cluster=fleet.cluster, app=fleet.app, assignment=assignment, kind="node", subject="x")
    events = egress_view(fleet.app).events
    assert len(events) == 20
    assert list(events) == sorted(events, key=lambda event: event.at, reverse=True)


def test_silence_makes_unhealthy_with_one_event_and_a_report_heals(fleet: Fleet) -> None:
    fleet.bring_up()
    old = clock.now() - timedelta(seconds=31)
    Node.objects.filter(name="node-1").update(reported_at=old)
    Gateway.objects.filter(slot=0).update(reported_at=old)
    watch_silence()
    watch_silence()
    assert [node.alive for node in egress_view(fleet.app).nodes] == [False, True]
    assert [ip.health for ip in egress_view(fleet.app).ips] == ["unhealthy", "healthy"]
    silences = Event.objects.filter(kind="health", new="unhealthy")
    assert sorted(event.subject for event in silences) == ["gateway.health", "node.health"]
    assert all("no report since" in event.reason for event in silences)

    fleet.report_gateway(fleet.gateways()[0])
    fleet.report_node(fleet.nodes[0])
    assert all(node.alive for node in egress_view(fleet.app).nodes)
    assert [ip.health for ip in egress_view(fleet.app).ips] == ["healthy", "healthy"]


def test_a_silent_node_is_still_waited_for(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    fleet.sync_node(fleet.nodes[0])
    Node.objects.filter(name="node-2").update(reported_at=clock.now() - timedelta(hours=1))
    watch_silence()
    assert fleet.step().status == "distributing"


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("public_address", None, "no address yet"),
        ("reported_at", None, "no report yet"),
        ("detail", "nft: permission denied", "nft: permission denied"),
    ],
)
def test_operators_read_what_a_boot_waits_for(fleet: Fleet, field: str, value: object, expected: str) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    Gateway.objects.update(**{"reported_at": clock.now(), field: value})
    assert expected in waits_for(fleet.assignment)


def test_a_disable_shows_at_once_what_comes_next(fleet: Fleet) -> None:
    fleet.bring_up()
    egress_disable(app=fleet.app, actor=fleet.user)
    view = egress_view(fleet.app)
    assert (view.type, view.status, view.busy, view.can_disable) == ("AUTOASSIGN", "draining", True, False)
    assert [ip.status for ip in view.ips] == ["ASSIGNED", "ASSIGNED"]
    assert [row.status for row in egress_overviews([fleet.app])] == ["draining"]


@pytest.mark.parametrize(
    ("status", "shown"), [("provisioning", "releasing"), ("distributing", "draining"), ("error", "releasing")]
)
def test_a_disable_of_what_is_not_active_shows_at_once_too(fleet: Fleet, status: str, shown: str) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    Assignment.objects.update(status=status)
    assert egress_view(fleet.app).status == status
    egress_disable(app=fleet.app, actor=fleet.user)
    assert egress_view(fleet.app).status == shown
    assert fleet.assignment.status == status


def test_operators_read_that_a_cluster_has_no_live_node(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    Assignment.objects.update(status="distributing", target_revision=1)
    Node.objects.update(status="removed")
    assert waits_for(fleet.assignment) == "no live node"


def test_operators_read_what_an_active_pair_lacks(fleet: Fleet) -> None:
    assert waits_for(fleet.bring_up()) == ""
    Gateway.objects.filter(slot=1).update(health="unhealthy")
    assert waits_for(fleet.assignment) == "gateway B unhealthy"
    Gateway.objects.filter(slot=0).update(provisioning_status="maintenance")
    Node.objects.filter(name="node-1").update(dataplane="failed")
    assert waits_for(fleet.assignment) == "gateway A maintenance; gateway B unhealthy; nodes: node-1"


def test_what_holds_up_is_told_without_a_query_where_the_rows_are_known(
    fleet: Fleet, django_assert_num_queries: Any
) -> None:
    fleet.bring_up()
    (assignment,) = Assignment.objects.select_related("app", "cluster").prefetch_related("gateways")
    with django_assert_num_queries(0):
        assert waits_for(assignment, fleet.nodes) != ""


def test_operators_read_which_connections_hold_a_drain(fleet: Fleet) -> None:
    fleet.bring_up()
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.report_node(fleet.nodes[1], flows={str(fleet.gateways()[0].pk): 3})
    assert waits_for(fleet.assignment) == "connections on node-2 (3)"
    Assignment.objects.update(attempts=2, error_code="provider_unavailable")
    assert waits_for(fleet.assignment) == "provider_unavailable, 2 attempts"
