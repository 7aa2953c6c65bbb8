"""Gateways that die or fall ill are brought back, step by step; what looks bad from one side only is left alone."""

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from egress.control import installation
from egress.control.condition import State
from egress.control.models import Event, Gateway, Node, RouteChange
from egress.control.models_repair import ClusterRepair
from egress.control.repair import circuit, sweep
from egress.control.repair.replacement import gateway_replace
from egress.control.selectors import condition_now, egress_view, latest_per_slot, live_nodes, words_of
from egress.control.services import egress_disable
from tests.factories import make_node, make_user

from .fleet import Fleet
from .ward import Ward

pytestmark = pytest.mark.costly


@pytest.fixture
def ward(fleet: Fleet, settings: Settings) -> Ward:
    settings.EGRESS_REPAIR_GRACE_SECONDS = 30
    settings.EGRESS_REPAIR_SICK_SECONDS = 100
    fleet.bring_up()
    ward = Ward(fleet, settings)
    ward.pass_time(40)
    assert ward.statuses() == ["ready", "ready"]
    assert {gateway.finding for gateway in fleet.gateways()} == {"well"}
    return ward


def fares(ward: Ward) -> State:
    """Return how the pair fares, as its owner is told."""
    words = words_of(live_nodes(ward.fleet.cluster.pk), ward.fleet.app.namespace)
    condition, _ = condition_now(ward.fleet.assignment, latest_per_slot(ward.fleet.assignment), words)
    assert condition is not None
    return condition.state


def test_a_dead_gateway_that_a_power_cycle_brings_back_keeps_its_address(ward: Ward) -> None:
    before = ward.addresses()
    ward.broken = {"1": "power_cycle"}
    ward.pass_time(60)
    assert fares(ward) == "degraded"
    assert "2 of 2 nodes can't use it" in ward.fleet.gateways()[0].finding_reason
    ward.pass_time(120)
    assert (ward.statuses(), ward.steps()) == (["ready", "ready"], ["power_cycle"])
    assert (ward.addresses(), fares(ward)) == (before, "whole")
    died = Event.objects.get(subject="gateway.health", new="unhealthy")
    assert (died.gateway, "2 of 2 nodes can't use it (2 reset its connections)" in died.reason) == (
        ward.fleet.gateways()[0],
        True,
    )


def test_what_a_power_cycle_does_not_help_is_rebuilt_and_again(ward: Ward, settings: Settings) -> None:
    settings.EGRESS_BOOT_LIMIT_SECONDS = 60
    before = ward.addresses()
    ward.broken = {"1": "rebuild"}
    ward.pass_time(400)
    assert (ward.statuses(), ward.steps()) == (["ready", "ready"], ["power_cycle", "rebuild"])
    # It is hardly well again when it dies once more: the ladder goes on where it was.
    ward.broken = {"1": "rebuild"}
    ward.pass_time(600)
    assert (ward.statuses(), ward.steps()) == (["ready", "ready"], ["power_cycle", "rebuild", "rebuild"])
    assert (ward.addresses(), ward.fleet.cloud.rebuilt()) == (before, ["1", "1"])


def test_at_last_it_is_replaced_and_the_customer_told_of_the_new_address(ward: Ward, settings: Settings) -> None:
    settings.EGRESS_BOOT_LIMIT_SECONDS = 60
    before = ward.addresses()
    ward.broken = {"1": "nothing"}
    ward.pass_time(1_500)
    assert ward.steps() == ["power_cycle", "rebuild", "rebuild", "replace"]
    assert ward.statuses() == ["ready", "ready"]
    assert ward.servers() == ["2", "3"]
    told = Event.objects.get(subject="gateway.replaced")
    assert (told.old, told.new) == (before[0], ward.addresses()[0])
    assert ward.addresses()[0] != before[0]
    assert [ip.ip for ip in egress_view(ward.fleet.app).ips] == ward.addresses()
    route = RouteChange.objects.get().route
    assert [one["public_address"] for one in route["gateways"]] == ward.addresses()
    assert ward.fleet.assignment.due_at is None


def test_a_lost_server_is_replaced_at_once(ward: Ward) -> None:
    ward.fleet.cloud.delete("1")
    ward.pass_time(120)
    assert (ward.steps(), ward.statuses(), ward.servers()) == (["replace"], ["ready", "ready"], ["2", "3"])


def test_the_new_gateway_is_nobodys_business_before_it_forwards_for_all(ward: Ward) -> None:
    old = ward.addresses()
    ward.fleet.cloud.delete("1")
    ward.broken = {"3": "nothing"}
    ward.pass_time(120)
    assert ward.servers() == ["2", "3"]
    ips = egress_view(ward.fleet.app).ips
    assert [(ip.ip, ip.lost) for ip in ips] == [(old[0], True), (old[1], False)]
    assert [one["public_address"] for one in RouteChange.objects.get().route["gateways"]] == old
    assert RouteChange.objects.get().route["gateways"][0]["down"]


def test_the_old_server_goes_only_once_every_node_knows_the_new_one(ward: Ward) -> None:
    ward.broken = {"1": "nothing"}
    gateway = ward.fleet.gateways()[0]
    Gateway.objects.filter(pk=gateway.pk).update(forwarding=False, provisioning_status="error")
    gateway_replace(gateway=gateway, actor=ward.fleet.user)
    lagging = ward.fleet.nodes.pop()
    ward.pass_time(60)
    assert "3" in {gateway.server_id for gateway in ward.fleet.gateways() if gateway.provisioning_status == "ready"}
    assert ward.servers() == ["1", "2", "3"]
    ward.fleet.nodes.append(lagging)
    ward.pass_time(30)
    assert ward.servers() == ["2", "3"]


def test_a_replacement_that_the_provider_refuses_is_tried_again_later(ward: Ward) -> None:
    ward.fleet.cloud.delete("1")
    ward.fleet.cloud.fail("create_or_adopt", "provider_no_capacity")
    ward.pass_time(60)
    assert (ward.statuses(), ward.fleet.assignment.status) == (["error", "ready"], "active")
    ward.pass_time(180)
    assert (ward.steps(), ward.statuses()) == (["replace", "replace"], ["ready", "ready"])


def test_when_every_step_was_in_vain_a_person_is_called_once(ward: Ward) -> None:
    ward.fleet.cloud.delete("1")
    ward.fleet.cloud.fail("create_or_adopt", "provider_no_capacity", times=9)
    ward.pass_time(600)
    assert ward.steps() == ["replace", "replace", "exhausted"]
    assert ward.statuses() == ["error", "ready"]


def test_a_new_server_on_the_peers_host_is_made_anew(ward: Ward) -> None:
    ward.fleet.cloud.place_together(1)
    ward.fleet.cloud.delete("1")
    ward.pass_time(180)
    assert (ward.statuses(), ward.servers()) == (["ready", "ready"], ["2", "4"])
    assert Event.objects.filter(subject="gateway.replaced").count() == 1


def test_disabling_in_the_middle_of_a_replacement_leaves_nothing(ward: Ward) -> None:
    ward.fleet.cloud.delete("1")
    ward.broken = {"3": "nothing"}
    ward.pass_time(60)
    assert ward.servers() == ["2", "3"]
    egress_disable(app=ward.fleet.app, actor=ward.fleet.user)
    ward.pass_time(60)
    assert (ward.fleet.assignment.status, ward.servers()) == ("released", [])


# --- sick ------------------------------------------------------------------------------------------------------------


def test_a_sick_gateway_is_drained_before_anything_is_done_to_it(ward: Ward) -> None:
    key = str(ward.fleet.gateways()[0].pk)
    ward.said = {"1": {"internet": False}}
    ward.flows = {key: 3}
    ward.pass_time(80)
    assert [gateway.health for gateway in ward.fleet.gateways()] == ["unhealthy", "healthy"]
    assert ward.steps() == []
    ward.pass_time(60)
    assert (ward.steps(), ward.statuses()) == (["power_cycle"], ["draining", "ready"])
    assert ward.fleet.cloud.calls("power_cycle") == 0
    ward.flows, ward.said = {}, {}
    ward.pass_time(30)
    assert ward.statuses() == ["ready", "ready"]
    assert ward.fleet.cloud.calls("power_cycle") == 1


def test_a_sick_one_is_left_alone_while_its_peer_does_not_serve(ward: Ward) -> None:
    ward.said = {"1": {"link": False}, "2": {"link": False}}
    ward.pass_time(200)
    assert ward.steps() == []
    assert [gateway.health for gateway in ward.fleet.gateways()] == ["unhealthy", "unhealthy"]


def test_of_two_dead_ones_one_is_repaired_at_a_time(ward: Ward) -> None:
    ward.broken = {"1": "power_cycle", "2": "power_cycle"}
    for _ in range(15):
        ward.pass_time(20)
        assert sum(status in {"maintenance", "booting"} for status in ward.statuses()) <= 1
    assert (ward.steps(), ward.statuses()) == (["power_cycle", "power_cycle"], ["ready", "ready"])


def test_targets_that_answer_neither_gateway_are_not_the_gateways_fault(ward: Ward) -> None:
    ward.said = {"1": {"internet": False}, "2": {"internet": False}}
    ward.pass_time(200)
    assert {gateway.finding for gateway in ward.fleet.gateways()} == {"targets"}
    assert (fares(ward), ward.steps()) == ("whole", [])


# --- who can be believed ---------------------------------------------------------------------------------------------


@pytest.fixture
def wide(ward: Ward) -> Ward:
    """Five nodes."""
    ward.fleet.nodes += [make_node(ward.fleet.cluster) for _ in range(3)]
    ward.pass_time(30)
    return ward


def test_a_node_that_lies_about_a_gateway_changes_nothing_for_others(wide: Ward) -> None:
    revision = RouteChange.objects.get().revision
    wide.lies = {wide.fleet.nodes[0].name: {"1": "dead", "2": "dead"}}
    wide.pass_time(200)
    assert (wide.steps(), wide.statuses()) == ([], ["ready", "ready"])
    assert RouteChange.objects.get().revision == revision
    gateway = wide.fleet.gateways()[0]
    assert (gateway.health, gateway.finding) == ("healthy", "network")
    assert gateway.finding_reason.startswith("1 of 5 nodes can't use it (1 reset its connections)")
    assert Event.objects.filter(subject="gateway.finding", new="network").count() == 2


def test_a_node_that_lies_for_a_dead_gateway_does_not_keep_it_from_repair(wide: Ward) -> None:
    wide.lies = {wide.fleet.nodes[0].name: {"1": "healthy"}}
    wide.broken = {"1": "power_cycle"}
    wide.pass_time(180)
    assert (wide.steps(), wide.statuses()) == (["power_cycle"], ["ready", "ready"])


def test_a_gateway_that_only_we_do_not_hear_is_not_dead(ward: Ward) -> None:
    ward.unheard = {"1", "2"}
    ward.pass_time(200)
    assert ward.steps() == []
    assert [gateway.finding for gateway in ward.fleet.gateways()] == ["unheard", "unheard"]
    assert fares(ward) == "whole"


def test_a_gateway_that_says_it_is_well_and_most_nodes_cannot_use_is_repaired_at_last(wide: Ward) -> None:
    for node in wide.fleet.nodes[:4]:
        wide.lies[node.name] = {"1": "silent"}
    wide.pass_time(60)
    assert [gateway.health for gateway in wide.fleet.gateways()] == ["unhealthy", "healthy"]
    assert wide.steps() == []
    wide.pass_time(100)
    assert wide.steps() == ["power_cycle"]


def test_without_fresh_heartbeats_of_nodes_nobody_is_judged_dead(wide: Ward) -> None:
    wide.broken = {"1": "power_cycle"}
    wide.nodes_silent = {node.name for node in wide.fleet.nodes[:3]}
    wide.pass_time(200)
    assert wide.steps() == []
    wide.nodes_silent = set()
    wide.pass_time(60)
    assert wide.steps() == ["power_cycle"]


def test_off_by_the_providers_word_and_silent_is_certain_and_nodes_are_told(ward: Ward, settings: Settings) -> None:
    settings.EGRESS_REPAIR = False
    ward.fleet.cloud.cut_power("1")
    ward.pass_time(30)
    assert not RouteChange.objects.get().route["gateways"][0]["down"]
    ward.broken = {"1": "power_on"}
    ward.pass_time(60)
    assert RouteChange.objects.get().route["gateways"][0]["down"]
    settings.EGRESS_REPAIR = True
    ward.pass_time(60)
    assert (ward.steps(), ward.statuses()) == (["power_cycle"], ["ready", "ready"])
    assert ward.fleet.cloud.done("power_on") == ["1"]
    assert not RouteChange.objects.get().route["gateways"][0]["down"]


# --- when to stand still ---------------------------------------------------------------------------------------------


def test_after_the_control_plane_was_away_nobody_is_judged_before_all_could_report(ward: Ward) -> None:
    # An hour without a control plane: agents have nobody to report to.
    ward.settings.EGRESS_REPAIR_GRACE_SECONDS = 80
    ward.settings.CLOCK_OFFSET_SECONDS += 3_600
    before = Event.objects.filter(subject="gateway.health").count()
    sweep.watch()
    sweep.watch()
    assert Event.objects.filter(subject="control.away").count() == 1
    assert Event.objects.filter(subject="gateway.health").count() == before
    ward.broken = {"1": "power_cycle"}
    ward.pass_time(50)
    assert (ward.steps(), [gateway.health for gateway in ward.fleet.gateways()]) == ([], ["healthy", "healthy"])
    ward.pass_time(60)
    assert ward.steps() == ["power_cycle"]


def test_a_clock_that_is_set_back_counts_as_having_been_away(ward: Ward) -> None:
    ward.settings.CLOCK_OFFSET_SECONDS -= 1_000
    sweep.watch()
    assert installation.here().judges_from is not None
    assert Event.objects.filter(subject="control.away").count() == 1


def test_while_all_stands_still_after_a_restore_nothing_is_repaired(ward: Ward) -> None:
    installation.hold(reason="a backup was restored")
    Gateway.objects.filter(slot=0).update(provisioning_status="error")
    for _ in range(12):
        ward.settings.CLOCK_OFFSET_SECONDS += 10
        sweep.watch()
    assert ward.steps() == []


def test_too_many_bad_gateways_stop_repair_until_fewer_are(ward: Ward, settings: Settings) -> None:
    settings.EGRESS_REPAIR_BAD_MINIMUM = 1
    ward.broken = {"1": "power_cycle", "2": "power_cycle"}
    ward.pass_time(160)
    assert ward.steps() == []
    stopped = ClusterRepair.objects.get()
    assert stopped.stopped_at is not None
    assert Event.objects.filter(subject="repair.breaker", new="stopped").count() == 1
    del ward.broken["2"]
    ward.pass_time(60)
    assert ClusterRepair.objects.get().stopped_at is None
    assert ward.steps() == ["power_cycle"]


def test_an_operator_lets_repair_go_on_for_a_while(ward: Ward, settings: Settings) -> None:
    settings.EGRESS_REPAIR_BAD_MINIMUM = 1
    ward.broken = {"1": "power_cycle", "2": "power_cycle"}
    ward.pass_time(100)
    assert ward.steps() == []
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    page = client.get(reverse("admin:index")).content.decode()
    assert "2 of 2 gateways in use look bad at once" in page
    address = reverse("admin:control_clusterrepair_go_on", args=[ClusterRepair.objects.get().pk])
    assert client.get(address).status_code == 200
    assert ward.steps() == []
    assert client.post(address, {"confirmed": "yes"}).status_code == 302
    ward.pass_time(100)
    assert (ward.steps(), ward.statuses()) == (["power_cycle", "power_cycle"], ["ready", "ready"])


@pytest.mark.parametrize(
    ("bad", "total", "stops"),
    [(0, 0, False), (2, 2, False), (3, 4, True), (3, 15, False), (4, 15, True), (20, 100, False), (21, 100, True)],
)
def test_the_breaker_takes_a_share_and_a_number(bad: int, total: int, stops: bool) -> None:  # noqa: FBT001
    assert circuit.too_many(bad=bad, total=total) == stops


def test_one_cluster_does_not_stop_another(ward: Ward) -> None:
    from tests.factories import make_cluster

    other = make_cluster()
    ClusterRepair.objects.create(cluster=other)
    circuit.permit(other, bad=9, total=9)
    ward.broken = {"1": "power_cycle"}
    ward.pass_time(180)
    assert ward.steps() == ["power_cycle"]


def test_two_sweeps_at_once_begin_a_step_once(ward: Ward) -> None:
    ward.broken = {"1": "power_cycle"}
    ward.pass_time(60, watched=True)
    ward.settings.CLOCK_OFFSET_SECONDS += 10
    for _ in range(2):
        sweep.watch()
    assert ward.steps() == ["power_cycle"]
    assert Event.objects.filter(subject="gateway.power_cycle").count() == 1


def test_nodes_reasons_are_kept(ward: Ward) -> None:
    key = str(ward.fleet.gateways()[0].pk)
    ward.broken = {"1": "power_cycle"}
    ward.pass_time(10)
    assert Node.objects.first().reasons == {key: "dead"}  # type: ignore[union-attr]
