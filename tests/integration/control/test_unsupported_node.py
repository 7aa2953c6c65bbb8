"""A node whose network isn't supported: which apps it holds up, and what is said of it."""

from typing import Any

import pytest

from egress.control import attention
from egress.control.agents import calls as agents
from egress.control.models import App, AssignmentStatus, Node
from egress.control.overview import egress_overviews
from egress.control.selectors import egress_view
from egress.control.services import egress_enable
from egress.control.waiting import waits_for
from egress.wire.messages import NodeReport

from .fleet import Fleet

pytestmark = pytest.mark.costly

DETAIL = "network pods: containers' packets to the internet pass by this node's netfilter"


def report(fleet: Fleet, node: Node, *, dataplane: Any = "unsupported", **counts: dict[str, int]) -> None:
    message = NodeReport(boot_id="boot", agent_version="1", dataplane=dataplane, detail=DETAIL, **counts)
    agents.node_report(token=f"node-token-{node.name}", message=message)


def distribute(fleet: Fleet, *, containers: dict[str, int]) -> None:
    """Enable, and bring all nodes to the revision; the last one's network is unsupported."""
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    fleet.nodes_follow()
    report(fleet, fleet.nodes[-1], containers=containers)


def test_an_app_with_containers_there_is_not_active(fleet: Fleet) -> None:
    distribute(fleet, containers={fleet.app.namespace: 1})
    name = fleet.nodes[-1].name
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING
    assert egress_view(fleet.app).uncovered_nodes == (name,)
    assert egress_overviews([fleet.app])[0].uncovered_nodes == (name,)
    assert waits_for(fleet.assignment) == f"nodes: {name} (network unsupported)"


def test_an_app_without_containers_there_is_active(fleet: Fleet) -> None:
    distribute(fleet, containers={"someone-else": 3})
    assert fleet.step().status == AssignmentStatus.ACTIVE
    assert egress_view(fleet.app).uncovered_nodes == ()
    assert waits_for(fleet.assignment) == ""


def test_it_must_know_the_route_all_the_same_for_it_starts_no_container_of_the_app(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    for node in fleet.nodes[:-1]:
        fleet.sync_node(node)
        fleet.report_node(node)
    report(fleet, fleet.nodes[-1], containers={})
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING


@pytest.mark.parametrize("dataplane", ["unsupported", "ok"])
def test_it_goes_on_when_the_containers_there_are_gone_or_the_network_is_mended(fleet: Fleet, dataplane: str) -> None:
    distribute(fleet, containers={fleet.app.namespace: 1})
    fleet.step()
    left = {} if dataplane == "unsupported" else {fleet.app.namespace: 1}
    before = fleet.assignment.due_at
    report(fleet, fleet.nodes[-1], containers=left, dataplane=dataplane)
    # The report itself asks for a look.
    assert fleet.assignment.due_at != before
    assert fleet.step().status == AssignmentStatus.ACTIVE


def test_a_network_that_turns_unsupported_later_is_told_of_an_active_app(fleet: Fleet) -> None:
    fleet.bring_up()
    node = fleet.nodes[-1]
    report(fleet, node, containers={fleet.app.namespace: 2})
    assert fleet.step().status == AssignmentStatus.ACTIVE
    view = egress_view(fleet.app)
    assert view.uncovered_nodes == (node.name,)
    assert [each.slot for each in view.nodes if each.name == node.name] == [None]
    assert waits_for(fleet.assignment) == f"nodes: {node.name} (network unsupported)"


def test_operators_find_it_among_what_needs_attention_with_the_reason(fleet: Fleet) -> None:
    node = fleet.nodes[-1]
    report(fleet, node, containers={})
    (concern,) = [each for each in attention.node_concerns() if each.key == "unsupported"]
    assert [each.name for each in Node.objects.filter(concern.where)] == [node.name]
    event = node.cluster.nodes.get(pk=node.pk)
    assert (event.health, event.detail) == ("unhealthy", DETAIL)


def test_a_container_from_before_the_network_was_mended_holds_its_app_up_until_it_is_gone(fleet: Fleet) -> None:
    namespace, node = fleet.app.namespace, fleet.nodes[-1]
    distribute(fleet, containers={namespace: 2})
    report(fleet, node, containers={namespace: 2}, in_doubt={namespace: 1}, dataplane="ok")
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING
    assert egress_view(fleet.app).uncovered_nodes == (node.name,)
    assert egress_overviews([fleet.app])[0].uncovered_nodes == (node.name,)
    assert waits_for(fleet.assignment) == f"nodes: {node.name} (has containers in doubt)"
    (concern,) = [each for each in attention.node_concerns() if each.key == "doubt"]
    assert [each.name for each in Node.objects.filter(concern.where)] == [node.name]

    before = fleet.assignment.due_at
    report(fleet, node, containers={namespace: 1}, dataplane="ok")
    assert fleet.assignment.due_at != before
    assert fleet.step().status == AssignmentStatus.ACTIVE
    assert egress_view(fleet.app).uncovered_nodes == ()
    assert not Node.objects.filter(concern.where).exists()


def test_a_container_in_doubt_of_another_app_holds_nobody_else_up(fleet: Fleet) -> None:
    distribute(fleet, containers={})
    report(fleet, fleet.nodes[-1], containers={"other": 1}, in_doubt={"other": 1}, dataplane="ok")
    assert fleet.step().status == AssignmentStatus.ACTIVE
    assert egress_view(fleet.app).uncovered_nodes == ()


def test_an_app_on_shared_addresses_is_nobodys_concern_there(fleet: Fleet) -> None:
    report(fleet, fleet.nodes[-1], containers={fleet.app.namespace: 1})
    assert egress_view(App.objects.get(pk=fleet.app.pk)).uncovered_nodes == ()
    assert egress_overviews([fleet.app])[0].uncovered_nodes == ()
