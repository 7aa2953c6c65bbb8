"""One gateway is drained, taken back, rebooted or power-cycled; never so that its app loses its way out."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from egress.control import clock
from egress.control.errors import GatewayBusy, GatewayNotDrained, GatewayNotInUse, PeerNotReady
from egress.control.maintenance import gateway_drain, gateway_maintain, gateway_undrain
from egress.control.models import Assignment, AssignmentStatus, Event, Gateway, Node, RouteChange
from egress.control.models_rollouts import Maintenance
from egress.control.services import egress_disable, egress_enable
from egress.control.waiting import waits_for

from .fleet import Fleet

pytestmark = pytest.mark.costly

SAME_SYSTEM = [Maintenance.REBOOT, Maintenance.POWER_CYCLE]


@pytest.fixture
def active(fleet: Fleet) -> Fleet:
    assert fleet.bring_up().status == AssignmentStatus.ACTIVE
    return fleet


def statuses(fleet: Fleet) -> list[str]:
    return [gateway.provisioning_status for gateway in fleet.gateways()]


def told() -> list[tuple[str, bool]]:
    """Return what nodes were told last of each gateway: its state, and whether it is surely down."""
    return [(gateway["state"], gateway["down"]) for gateway in RouteChange.objects.get().route["gateways"]]


def drain(fleet: Fleet, slot: int = 0) -> Gateway:
    return gateway_drain(gateway=fleet.gateways()[slot], actor=fleet.user)


def undrain(fleet: Fleet, slot: int = 0) -> Gateway:
    return gateway_undrain(gateway=fleet.gateways()[slot], actor=fleet.user)


def maintain(fleet: Fleet, kind: Maintenance, slot: int = 0) -> Gateway:
    return gateway_maintain(gateway=fleet.gateways()[slot], kind=kind, actor=fleet.user)


def to_action(fleet: Fleet, kind: Maintenance) -> None:
    """Go on until the provider is at it."""
    maintain(fleet, kind)
    fleet.step()
    fleet.nodes_follow()
    fleet.step()
    assert statuses(fleet) == ["maintenance", "ready"]


# --- drain -----------------------------------------------------------------------------------------------------------


def test_a_drained_gateway_stays_so_until_it_is_taken_back(active: Fleet, settings: Settings) -> None:
    assert drain(active).provisioning_status == "draining"
    active.step()
    assert told() == [("draining", False), ("active", False)]
    active.nodes_follow()
    settings.CLOCK_OFFSET_SECONDS += 100_000
    active.boot_gateways()
    active.nodes_follow()
    assert active.step().due_at is not None
    assert statuses(active) == ["draining", "ready"]
    assert waits_for(active.assignment) == "gateway A draining (kept out of use)"

    assert undrain(active).provisioning_status == "ready"
    assignment = active.step()
    assert (told(), assignment.due_at) == ([("active", False), ("active", False)], None)
    assert active.cloud.calls("reboot") + active.cloud.calls("rebuild") == 0
    asked = Event.objects.filter(kind="request", subject__startswith="gateway.").order_by("pk")
    assert [(event.subject, event.actor) for event in asked] == [
        ("gateway.hold", active.user),
        ("gateway.undrain", active.user),
    ]


def test_draining_twice_drains_once_and_taking_back_twice_is_refused(active: Fleet) -> None:
    drain(active)
    before = Event.objects.count()
    assert drain(active).provisioning_status == "draining"
    assert Event.objects.count() == before
    undrain(active)
    with pytest.raises(GatewayNotDrained, match="nothing to take back"):
        undrain(active)


@pytest.mark.parametrize("sick", [{"forwarding": False}, {"reported_at": None}, {"provisioning_status": "error"}])
def test_the_last_healthy_gateway_is_not_drained(active: Fleet, sick: dict[str, object]) -> None:
    Gateway.objects.filter(slot=1).update(**sick)
    before = (list(Gateway.objects.values()), Event.objects.count())
    with pytest.raises(PeerNotReady, match="lose its way out"):
        drain(active)
    assert (list(Gateway.objects.values()), Event.objects.count()) == before


def test_both_are_never_drained(active: Fleet) -> None:
    drain(active)
    with pytest.raises(PeerNotReady):
        drain(active, slot=1)
    with pytest.raises(PeerNotReady):
        maintain(active, Maintenance.REBOOT, slot=1)


def test_what_is_not_in_use_is_not_drained(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    with pytest.raises(GatewayNotInUse):
        drain(fleet)
    with pytest.raises(GatewayNotInUse):
        undrain(fleet)
    fleet.bring_up()
    Gateway.objects.filter(slot=0).update(provisioning_status="error")
    with pytest.raises(GatewayNotInUse):
        drain(fleet)
    egress_disable(app=fleet.app, actor=fleet.user)
    with pytest.raises(GatewayNotInUse):
        drain(fleet, slot=1)


def test_a_drained_gateway_is_taken_back_when_its_peer_falls_ill(active: Fleet) -> None:
    drain(active)
    active.step()
    Gateway.objects.filter(slot=1).update(forwarding=False)
    active.step()
    assert (statuses(active), told()) == (["ready", "ready"], [("active", False), ("active", False)])
    assert "isn't healthy" in Event.objects.filter(subject="gateway.status", new="ready").latest("pk").reason


def test_a_drained_gateway_is_mended_without_being_taken_back(active: Fleet) -> None:
    drain(active)
    active.step()
    active.nodes_follow()
    maintain(active, Maintenance.REBOOT)
    active.step()
    assert statuses(active) == ["maintenance", "ready"]
    active.lay_anew()
    active.step()
    active.boot_gateways()
    active.step()
    assert (statuses(active), active.gateways()[0].maintenance) == (["ready", "ready"], "")


def test_disabling_ends_a_drain(active: Fleet) -> None:
    drain(active)
    active.step()
    egress_disable(app=active.app, actor=active.user)
    for _ in range(3):
        active.step()
        active.nodes_follow()
    assert active.step().status == AssignmentStatus.RELEASED
    assert active.cloud.servers() == []


# --- reboot and power cycle ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SAME_SYSTEM)
def test_the_same_system_comes_back_with_its_credential_and_addresses(active: Fleet, kind: Maintenance) -> None:
    before = [(gateway.pk, gateway.public_address, gateway.token_hash) for gateway in active.gateways()]
    to_action(active, kind)
    # What still runs over it can't go on, and nodes know it.
    assert told() == [("draining", True), ("active", False)]
    assert active.cloud.calls(kind) == 1
    active.lay_anew()
    active.step()
    assert (statuses(active), told()) == (["booting", "ready"], [("draining", False), ("active", False)])
    active.boot_gateways()
    assignment = active.step()
    assert (statuses(active), told()) == (["ready", "ready"], [("active", False), ("active", False)])
    assert (assignment.status, assignment.due_at) == (AssignmentStatus.ACTIVE, None)
    assert [(each.pk, each.public_address, each.token_hash) for each in active.gateways()] == before
    assert active.gateways()[0].maintained == 1
    assert active.cloud.calls("rebuild") == 0


@pytest.mark.parametrize("kind", SAME_SYSTEM)
def test_a_report_of_the_boot_before_does_not_make_it_ready(active: Fleet, kind: Maintenance) -> None:
    to_action(active, kind)
    active.cloud.end_actions()
    active.step()
    assert statuses(active) == ["booting", "ready"]
    # It says that it forwards, but it is still the one that is going down.
    active.boot_gateways()
    assert active.step().due_at is not None
    assert statuses(active) == ["booting", "ready"]
    active.boots[str(active.gateways()[0].pk)] += 1
    active.boot_gateways()
    active.step()
    assert statuses(active) == ["ready", "ready"]


def say(fleet: Fleet, *healths: str) -> None:
    """Let nodes report what their probes say of the first gateway."""
    for node, health in zip(fleet.nodes, healths, strict=True):
        gateways = {str(fleet.gateways()[0].pk): health} if health else {}
        Node.objects.filter(pk=node.pk).update(gateways=gateways, reported_at=clock.now())


@pytest.mark.parametrize(
    ("healths", "ready"),
    [
        (("", ""), True),
        (("healthy", "healthy"), True),
        (("healthy", ""), True),
        (("healthy", "unhealthy"), True),
        (("unhealthy", ""), False),
        (("unhealthy", "unhealthy"), False),
        (("unknown", ""), False),
    ],
)
def test_it_is_ready_once_nodes_see_it_work(active: Fleet, healths: tuple[str, ...], *, ready: bool) -> None:
    to_action(active, Maintenance.REBOOT)
    active.lay_anew()
    active.step()
    say(active, *healths)
    active.boot_gateways()
    active.step()
    assert statuses(active)[0] == ("ready" if ready else "booting")
    say(active, "healthy", "healthy")
    active.step()
    assert statuses(active) == ["ready", "ready"]


def test_what_nodes_said_before_it_booted_does_not_count_and_silent_nodes_have_no_say(active: Fleet) -> None:
    to_action(active, Maintenance.REBOOT)
    active.lay_anew()
    active.step()
    say(active, "healthy", "")
    Node.objects.update(reported_at=clock.now() - timedelta(seconds=20))
    active.boot_gateways()
    active.step()
    assert statuses(active) == ["booting", "ready"]
    Node.objects.update(reported_at=clock.now() - timedelta(minutes=5))
    active.step()
    assert statuses(active) == ["ready", "ready"]


def test_a_dead_gateway_is_power_cycled_at_once(active: Fleet) -> None:
    Gateway.objects.filter(slot=0).update(reported_at=clock.now() - timedelta(minutes=5), flows=7)
    assert maintain(active, Maintenance.POWER_CYCLE).provisioning_status == "maintenance"
    active.step()
    assert active.cloud.calls("power_cycle") == 1


def test_one_maintenance_at_a_time(active: Fleet) -> None:
    maintain(active, Maintenance.REBOOT)
    assert maintain(active, Maintenance.REBOOT).provisioning_status == "draining"
    with pytest.raises(GatewayBusy, match="is draining for a reboot: wait"):
        maintain(active, Maintenance.REBUILD)
    with pytest.raises(GatewayBusy):
        drain(active)
    assert Event.objects.filter(subject__in=("gateway.reboot", "gateway.rebuild", "gateway.hold")).count() == 1


def test_what_drains_for_a_reboot_can_be_called_off_until_it_has_begun(active: Fleet) -> None:
    maintain(active, Maintenance.REBOOT)
    active.step()
    undrain(active)
    active.step()
    assert (statuses(active), active.cloud.calls("reboot")) == (["ready", "ready"], 0)
    to_action(active, Maintenance.REBOOT)
    with pytest.raises(GatewayBusy, match="its reboot has begun, and it comes back by itself"):
        undrain(active)


@pytest.mark.parametrize("kind", SAME_SYSTEM)
def test_one_that_does_not_come_back_fails_alone(active: Fleet, kind: Maintenance) -> None:
    to_action(active, kind)
    active.lay_anew()
    active.step()
    Gateway.objects.filter(slot=0).update(status_since=clock.now() - timedelta(hours=1))
    assert active.step().status == AssignmentStatus.ACTIVE
    assert (statuses(active), active.gateways()[0].maintenance) == (["error", "ready"], "")
    assert f"{kind}: server 1 didn't come back" in Event.objects.get(subject="gateway.status", new="error").reason


def test_a_reconcile_twice_does_what_one_does(active: Fleet) -> None:
    maintain(active, Maintenance.REBOOT)
    for act in (active.step, active.nodes_follow, active.step, active.lay_anew, active.step, active.boot_gateways):
        act()
        active.step()
        before = (list(Gateway.objects.values()), Event.objects.count(), Assignment.objects.get().target_revision)
        active.step()
        assert (list(Gateway.objects.values()), Event.objects.count(), active.assignment.target_revision) == before
    assert (statuses(active), active.cloud.done("reboot")) == (["ready", "ready"], ["1"])


# --- the command line ------------------------------------------------------------------------------------------------


def command(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def test_operators_drain_take_back_and_reboot_on_the_command_line(active: Fleet) -> None:
    first, second = (str(gateway.pk) for gateway in active.gateways())
    assert "A is draining\n" in command("gateway", "drain", first)
    with pytest.raises(CommandError, match="repair that one first"):
        command("gateway", "reboot", second)
    assert "A is ready\n" in command("gateway", "undrain", first)
    with pytest.raises(CommandError, match="isn't drained"):
        command("gateway", "undrain", first)
    assert "goes on by itself until it is ready" in command("gateway", "power_cycle", first)
    assert active.gateways()[0].maintenance == Maintenance.POWER_CYCLE
