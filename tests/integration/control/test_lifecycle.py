"""One assignment from enable to release, step by step, as the rows tell it."""

from egress.control.models import Assignment, AssignmentStatus, Cluster, Event, Gateway, GatewayStatus, RouteChange
from egress.control.services import egress_disable, egress_enable
from egress.wire.messages import Route

from .fleet import Fleet


def test_enabling_goes_from_provisioning_to_active_as_agents_report(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    assert fleet.step().status == AssignmentStatus.PROVISIONING
    assert [gateway.provisioning_status for gateway in fleet.gateways()] == ["booting", "booting"]

    fleet.boot_gateways()
    assignment = fleet.step()
    assert assignment.status == AssignmentStatus.DISTRIBUTING
    assert [gateway.provisioning_status for gateway in fleet.gateways()] == ["ready", "ready"]
    assert assignment.target_revision == 1

    fleet.sync_node(fleet.nodes[0])
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING

    fleet.sync_node(fleet.nodes[1])
    assignment = fleet.step()
    assert assignment.status == AssignmentStatus.ACTIVE
    assert assignment.due_at is None
    assert assignment.lease_owner == ""


def test_nodes_are_told_both_gateways_of_the_pair(fleet: Fleet) -> None:
    fleet.bring_up()
    reply = fleet.sync_node(fleet.nodes[0])
    assert reply.routes == ()
    fleet.nodes[0].applied_epoch = ""
    fleet.nodes[0].save()
    (route,) = fleet.sync_node(fleet.nodes[0]).routes
    assert isinstance(route, Route)
    assert (route.namespace, route.state) == (fleet.app.namespace, "active")
    assert [gateway.public_address for gateway in route.gateways] == ["203.0.113.1", "203.0.113.2"]
    assert [gateway.private_address for gateway in route.gateways] == ["10.110.0.101", "10.110.0.102"]


def test_no_route_is_published_before_both_gateways_know_the_nodes(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    Gateway.objects.filter(slot=1).update(applied_clients_revision=0)
    assert fleet.step().status == AssignmentStatus.PROVISIONING
    assert not RouteChange.objects.exists()


def test_active_waits_for_a_data_plane_that_works(fleet: Fleet) -> None:
    fleet.report_node(fleet.nodes[1], dataplane="unsupported")
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    for node in fleet.nodes:
        fleet.sync_node(node)
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING
    fleet.report_node(fleet.nodes[1])
    assert fleet.step().status == AssignmentStatus.ACTIVE


def test_disabling_drains_withdraws_deletes_and_releases(fleet: Fleet) -> None:
    fleet.bring_up()
    carrying = str(fleet.gateways()[0].pk)
    egress_disable(app=fleet.app, actor=fleet.user)
    assert fleet.step().status == AssignmentStatus.DRAINING
    assert RouteChange.objects.get().route["state"] == "draining"

    for node in fleet.nodes:
        fleet.sync_node(node)
        fleet.report_node(node, flows={carrying: 2})
    assert fleet.step().status == AssignmentStatus.DRAINING

    fleet.nodes_follow()
    assert fleet.step().status == AssignmentStatus.RELEASING
    assert RouteChange.objects.get().route is None
    assert len(fleet.cloud.servers()) == 2

    fleet.nodes_follow()
    assignment = fleet.step()
    assert assignment.status == AssignmentStatus.RELEASED
    assert assignment.due_at is None
    assert fleet.cloud.servers() == []
    assert not Gateway.objects.exclude(provisioning_status=GatewayStatus.DELETED).exists()


def test_a_report_from_before_the_drain_does_not_end_it(fleet: Fleet) -> None:
    fleet.bring_up()
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    for node in fleet.nodes:
        fleet.sync_node(node)
    assert fleet.step().status == AssignmentStatus.DRAINING


def test_draining_ends_at_the_deadline_though_connections_go_on(fleet: Fleet) -> None:
    fleet.bring_up()
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    carrying = str(fleet.gateways()[0].pk)
    for node in fleet.nodes:
        fleet.sync_node(node)
        fleet.report_node(node, flows={carrying: 1})
    assert fleet.step().status == AssignmentStatus.DRAINING
    Cluster.objects.update(flow_deadline_seconds=0)
    assert fleet.step().status == AssignmentStatus.RELEASING


def test_gateways_stay_until_every_live_node_forgot_the_route(fleet: Fleet) -> None:
    fleet.bring_up()
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.nodes_follow()
    fleet.step()
    fleet.sync_node(fleet.nodes[0])
    assert fleet.step().status == AssignmentStatus.RELEASING
    assert len(fleet.cloud.servers()) == 2


def test_reconcile_twice_at_every_stage_changes_nothing_more(fleet: Fleet) -> None:
    fleet.bring_up()
    before = Event.objects.count()
    fleet.step()
    fleet.step()
    assert Event.objects.count() == before
    assert fleet.cloud.calls("create_or_adopt") == 2


def test_the_app_can_be_enabled_again_after_its_release(fleet: Fleet) -> None:
    first = fleet.bring_up()
    egress_disable(app=fleet.app, actor=fleet.user)
    for _ in range(3):
        fleet.step()
        fleet.nodes_follow()
    assert fleet.step().status == AssignmentStatus.RELEASED
    second = fleet.bring_up()
    assert second.status == AssignmentStatus.ACTIVE
    assert second.pk != first.pk
    assert second.pair != first.pair
    assert Assignment.objects.count() == 2
