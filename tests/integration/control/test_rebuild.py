"""A gateway of an active pair is laid anew: drained first, told to the nodes, and never both at once."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from egress.control import clock
from egress.control.agents import calls as agents
from egress.control.errors import GatewayLost, GatewayNotInUse, PeerNotReady, Unauthorized, WindowClosed
from egress.control.health import LOST
from egress.control.maintenance import gateway_maintain
from egress.control.models import Assignment, AssignmentStatus, Cluster, Event, Gateway, Node, RouteChange
from egress.control.models_rollouts import Maintenance
from egress.control.selectors import egress_view
from egress.control.services import egress_disable, egress_enable, egress_retry
from egress.control.waiting import waits_for
from egress.wire.messages import GatewaySyncRequest

from .cloud import LOST_ANSWER
from .fleet import Fleet

pytestmark = pytest.mark.costly


@pytest.fixture
def active(fleet: Fleet) -> Fleet:
    assert fleet.bring_up().status == AssignmentStatus.ACTIVE
    return fleet


def statuses(fleet: Fleet) -> list[str]:
    return [gateway.provisioning_status for gateway in fleet.gateways()]


def told() -> list[str]:
    """Return what nodes were told last of each gateway."""
    return [gateway["state"] for gateway in RouteChange.objects.get().route["gateways"]]


def rebuild(fleet: Fleet, slot: int = 0) -> Gateway:
    return gateway_maintain(kind=Maintenance.REBUILD, gateway=fleet.gateways()[slot], actor=fleet.user)


def to_maintenance(fleet: Fleet) -> None:
    rebuild(fleet)
    fleet.step()
    fleet.nodes_follow()
    fleet.step()
    assert statuses(fleet) == ["maintenance", "ready"]


def come_back(fleet: Fleet) -> Assignment:
    fleet.lay_anew()
    fleet.step()
    fleet.boot_gateways()
    return fleet.step()


def test_a_rebuild_drains_lays_anew_enrols_again_and_keeps_the_addresses(active: Fleet) -> None:
    before = [(gateway.pk, gateway.public_address, gateway.private_address) for gateway in active.gateways()]
    old_token = active.tokens[str(active.gateways()[0].pk)]
    assert rebuild(active).provisioning_status == "draining"
    active.step()
    assert (statuses(active), told()) == (["draining", "ready"], ["draining", "active"])
    assert active.cloud.calls("rebuild") == 0

    active.nodes_follow()
    active.step()
    assert statuses(active) == ["maintenance", "ready"]
    assert active.cloud.calls("rebuild") == 1

    active.lay_anew()
    active.step()
    assert (statuses(active), told()) == (["booting", "ready"], ["draining", "active"])
    with pytest.raises(Unauthorized):
        agents.gateway_clients(token=old_token, message=GatewaySyncRequest(applied_revision=0, wait_seconds=0))

    active.boot_gateways()
    assignment = active.step()
    assert (statuses(active), told()) == (["ready", "ready"], ["active", "active"])
    assert (assignment.status, assignment.due_at) == (AssignmentStatus.ACTIVE, None)
    assert [(each.pk, each.public_address, each.private_address) for each in active.gateways()] == before
    assert active.cloud.rebuilt() == ["1"]
    assert len(active.cloud.servers()) == 2
    assert Event.objects.get(subject="gateway.rebuild").actor == active.user


def test_nothing_can_enrol_before_the_old_system_is_gone_or_after_the_new_one_is_ready(active: Fleet) -> None:
    to_maintenance(active)
    with pytest.raises(WindowClosed):
        active.enrol(active.gateways()[0])
    come_back(active)
    with pytest.raises(WindowClosed):
        active.enrol(active.gateways()[0])


def test_a_report_of_the_old_system_does_not_make_the_new_one_ready(active: Fleet) -> None:
    to_maintenance(active)
    active.report_gateway(active.gateways()[0])
    active.cloud.end_actions()
    active.step()
    assert active.step().due_at is not None
    assert statuses(active) == ["booting", "ready"]


def test_the_rebuild_waits_for_nodes_and_open_connections(active: Fleet) -> None:
    carrying = str(rebuild(active).pk)
    active.step()
    active.sync_node(active.nodes[0])
    active.report_node(active.nodes[0])
    active.step()
    assert statuses(active) == ["draining", "ready"]
    active.sync_node(active.nodes[1])
    active.report_node(active.nodes[1], flows={carrying: 2})
    active.step()
    assert statuses(active) == ["draining", "ready"]
    active.report_node(active.nodes[1], flows={str(active.gateways()[1].pk): 7})
    active.step()
    assert statuses(active) == ["maintenance", "ready"]


def test_connections_that_go_on_hold_it_up_until_the_deadline(active: Fleet) -> None:
    carrying = str(rebuild(active).pk)
    active.step()
    for node in active.nodes:
        active.sync_node(node)
        active.report_node(node, flows={carrying: 1})
    active.step()
    assert statuses(active) == ["draining", "ready"]
    Cluster.objects.update(flow_deadline_seconds=0)
    active.step()
    assert statuses(active) == ["maintenance", "ready"]


def test_the_news_that_a_rebuild_waits_for_wake_it(active: Fleet) -> None:
    def woken() -> bool:
        due_at = active.assignment.due_at
        return due_at is not None and due_at <= clock.now()

    rebuild(active)
    active.step()
    assert not woken()
    active.nodes_follow()
    assert woken()
    active.step()
    active.lay_anew()
    active.step()
    assert not woken()
    active.boot_gateways()
    assert woken()


def test_asking_twice_rebuilds_once(active: Fleet) -> None:
    rebuild(active)
    active.step()
    assert rebuild(active).provisioning_status == "draining"
    active.nodes_follow()
    active.step()
    assert rebuild(active).provisioning_status == "maintenance"
    come_back(active)
    assert active.cloud.rebuilt() == ["1"]
    assert Event.objects.filter(subject="gateway.rebuild").count() == 1


def test_both_are_rebuilt_one_after_the_other_only(active: Fleet) -> None:
    rebuild(active)
    with pytest.raises(PeerNotReady):
        rebuild(active, slot=1)
    active.step()
    active.nodes_follow()
    active.step()
    come_back(active)
    rebuild(active, slot=1)
    active.step()
    active.nodes_follow()
    active.step()
    come_back(active)
    assert active.cloud.rebuilt() == ["1", "2"]
    assert statuses(active) == ["ready", "ready"]


@pytest.mark.parametrize("sick", [{"forwarding": False}, {"reported_at": None}, {"provisioning_status": "error"}])
def test_with_an_unhealthy_peer_it_is_refused_and_nothing_changes(active: Fleet, sick: dict[str, object]) -> None:
    Gateway.objects.filter(slot=1).update(**sick)
    before = (list(Gateway.objects.values()), Event.objects.count())
    with pytest.raises(PeerNotReady, match="repair that one first"):
        rebuild(active)
    assert (list(Gateway.objects.values()), Event.objects.count()) == before


def silence(fleet: Fleet) -> None:
    Gateway.objects.update(reported_at=clock.now() - timedelta(minutes=5))


def test_of_two_dead_gateways_each_is_rebuilt_and_the_addresses_stay(active: Fleet) -> None:
    addresses = [gateway.public_address for gateway in active.gateways()]
    silence(active)
    assert rebuild(active).provisioning_status == "maintenance"
    active.step()
    active.nodes_follow()
    active.step()
    assert active.cloud.calls("rebuild") == 1
    come_back(active)
    assert statuses(active) == ["ready", "ready"]
    rebuild(active, slot=1)
    active.step()
    active.nodes_follow()
    active.step()
    come_back(active)
    assert active.cloud.rebuilt() == ["1", "2"]
    assert [gateway.public_address for gateway in active.gateways()] == addresses


def test_a_silent_gateway_that_a_node_still_uses_is_not_taken_from_it(active: Fleet) -> None:
    """It is perhaps only we who hear nothing."""
    silence(active)
    Node.objects.filter(pk=active.nodes[0].pk).update(gateways={str(active.gateways()[0].pk): "healthy"})
    with pytest.raises(PeerNotReady):
        rebuild(active)
    # What a node said long ago, before it died itself, holds nobody up.
    Node.objects.update(reported_at=clock.now() - timedelta(minutes=5))
    assert rebuild(active).provisioning_status == "maintenance"


def test_a_lost_server_is_not_rebuilt(active: Fleet) -> None:
    active.cloud.delete("1")
    Gateway.objects.filter(slot=0).update(provisioning_status="error", detail=LOST)
    with pytest.raises(GatewayLost, match="Replace it"):
        rebuild(active)
    assert statuses(active) == ["error", "ready"]


def test_a_server_that_turns_out_to_be_gone_at_its_rebuild_is_lost(active: Fleet, settings: Settings) -> None:
    settings.EGRESS_PROVIDER_ATTEMPTS = 1
    active.cloud.delete("1")
    rebuild(active)
    active.step()
    active.nodes_follow()
    active.step()
    assert egress_view(active.app).ips[0].lost


def test_a_peer_that_falls_ill_during_the_drain_ends_it(active: Fleet) -> None:
    rebuild(active)
    active.step()
    Gateway.objects.filter(slot=1).update(forwarding=False)
    active.step()
    assert (statuses(active), told()) == (["ready", "ready"], ["active", "active"])
    assert active.cloud.calls("rebuild") == 0


def test_only_a_pair_in_use_is_rebuilt(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    with pytest.raises(GatewayNotInUse):
        rebuild(fleet)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    fleet.nodes_follow()
    fleet.step()
    egress_disable(app=fleet.app, actor=fleet.user)
    with pytest.raises(GatewayNotInUse):
        rebuild(fleet)


@pytest.mark.parametrize("stage", range(4))
def test_disabling_ends_a_rebuild_at_any_stage(active: Fleet, stage: int) -> None:
    rebuild(active)
    acts = [active.step, active.nodes_follow, active.step, active.lay_anew, active.step]
    for act in acts[: stage + 2]:
        act()
    egress_disable(app=active.app, actor=active.user)
    for _ in range(3):
        active.step()
        active.nodes_follow()
    assert active.step().status == AssignmentStatus.RELEASED
    assert active.cloud.servers() == []


def test_a_lost_answer_is_asked_again_once_the_server_is_free(active: Fleet) -> None:
    active.cloud.fail("rebuild", LOST_ANSWER)
    rebuild(active)
    active.step()
    active.nodes_follow()
    assert active.step().error_code == "provider_outcome_unknown"
    assert active.step().error_code == "provider_unavailable"
    active.lay_anew()
    active.step()
    assert come_back(active).error_code == ""
    assert statuses(active) == ["ready", "ready"]


def test_a_rebuild_that_fails_at_the_provider_is_tried_again(active: Fleet) -> None:
    to_maintenance(active)
    active.cloud.end_actions("errored")
    assert active.step().error_code == "provider_unavailable"
    active.step()
    come_back(active)
    assert (statuses(active), active.cloud.rebuilt()) == (["ready", "ready"], ["1"])


def test_a_rebuild_given_up_leaves_the_pair_active_on_the_other_gateway_and_can_be_asked_again(active: Fleet) -> None:
    active.cloud.fail("rebuild", "provider_rejected")
    rebuild(active)
    active.step()
    active.nodes_follow()
    assignment = active.step()
    assert (assignment.status, assignment.error_code, assignment.due_at) == (AssignmentStatus.ACTIVE, "", None)
    assert (statuses(active), told()) == (["error", "ready"], ["draining", "active"])
    assert "made to fail" in Event.objects.get(subject="gateway.status", new="error").reason
    assert waits_for(assignment) == "gateway A error"

    rebuild(active)
    active.step()
    come_back(active)
    assert (statuses(active), told()) == (["ready", "ready"], ["active", "active"])


@pytest.mark.parametrize("boots", [True, False])
def test_a_gateway_that_does_not_come_back_fails_alone(active: Fleet, settings: Settings, boots: bool) -> None:  # noqa: FBT001 - a parameter
    to_maintenance(active)
    if boots:
        active.lay_anew()
        active.step()
    Gateway.objects.filter(slot=0).update(status_since=clock.now() - timedelta(hours=1))
    assert active.step().status == AssignmentStatus.ACTIVE
    assert statuses(active) == ["error", "ready"]
    assert "didn't come back" in Event.objects.get(subject="gateway.status", new="error").reason


def test_a_retry_of_what_failed_before_is_no_rebuild(fleet: Fleet) -> None:
    fleet.cloud.fail("create_or_adopt", "provider_rejected")
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    with pytest.raises(GatewayNotInUse):
        rebuild(fleet)
    egress_retry(app=fleet.app, actor=fleet.user)
    fleet.step()
    assert fleet.cloud.calls("rebuild") == 0


def test_operators_rebuild_on_the_command_line(active: Fleet) -> None:
    output = StringIO()
    call_command("gateway", "rebuild", str(active.gateways()[0].pk), stdout=output)
    assert "is draining" in output.getvalue()
    with pytest.raises(CommandError, match="repair that one first"):
        call_command("gateway", "rebuild", str(active.gateways()[1].pk))
    with pytest.raises(CommandError, match="no gateway"):
        call_command("gateway", "rebuild", str(active.app.pk))
