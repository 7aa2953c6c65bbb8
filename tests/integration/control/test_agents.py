"""What agents may do, and what wakes whom."""

from datetime import timedelta

import pytest
from pytest_django import Settings

from egress.control import clock
from egress.control.agents import calls as agents
from egress.control.agents.enrolment import enrolment_secret
from egress.control.errors import NotYet, OutsideVpc, Unauthorized, WindowClosed, WrongAddress
from egress.control.maintenance import gateway_maintain
from egress.control.models import Assignment, Cluster, Event, Gateway, Node
from egress.control.models_rollouts import Maintenance
from egress.control.services import egress_disable, egress_enable, node_remove
from egress.wire.messages import GatewayEnrol, GatewaySyncRequest, NodeJoin, NodeJoined, NodeReport, NodeSyncRequest
from tests.factories import make_cluster_and_token, make_user

from .fleet import Fleet, node_acknowledge


def join(token: str, name: str = "worker-1", address: str = "10.110.0.21") -> NodeJoined:
    message = NodeJoin(name=name, private_address=address, boot_id="b", agent_version="1")
    return agents.node_join(token=token, message=message)


@pytest.fixture
def joining(db: None) -> tuple[Cluster, str]:
    return make_cluster_and_token()


def test_nodes_get_ordinals_in_a_row_and_gateways_learn_of_them(joining: tuple[Cluster, str]) -> None:
    cluster, token = joining
    join(token)
    join(token, "worker-2", "10.110.0.22")
    assert list(Node.objects.values_list("name", "ordinal")) == [("worker-1", 0), ("worker-2", 1)]
    cluster.refresh_from_db()
    assert cluster.clients_revision == 3


def test_joining_again_rotates_the_credential_and_tells_nobody(joining: tuple[Cluster, str]) -> None:
    cluster, token = joining
    first, second = join(token), join(token)
    assert first.node_id == second.node_id
    report = NodeReport(boot_id="b", agent_version="1", dataplane="ok")
    with pytest.raises(Unauthorized):
        agents.node_report(token=first.token, message=report)
    agents.node_report(token=second.token, message=report)
    cluster.refresh_from_db()
    assert cluster.clients_revision == 2


def test_a_new_address_is_told_to_gateways(joining: tuple[Cluster, str]) -> None:
    cluster, token = joining
    join(token)
    join(token, address="10.110.0.99")
    cluster.refresh_from_db()
    assert cluster.clients_revision == 3


def test_a_removed_node_that_comes_back_keeps_its_ordinal(joining: tuple[Cluster, str]) -> None:
    _, token = joining
    join(token)
    node_remove(node=Node.objects.get(), actor=make_user())
    join(token)
    node = Node.objects.get()
    assert (node.status, node.ordinal) == ("live", 0)


@pytest.mark.parametrize("token", ["", "sgj_wrong"])
def test_a_wrong_join_token_joins_nothing(joining: tuple[Cluster, str], token: str) -> None:
    with pytest.raises(Unauthorized):
        join(token)
    assert not Node.objects.exists()


def test_a_node_outside_the_vpc_is_refused_with_the_reason(joining: tuple[Cluster, str]) -> None:
    with pytest.raises(OutsideVpc, match=r"192\.168\.0\.1 isn't in the cluster's VPC 10\.110\.0\.0/20"):
        join(joining[1], address="192.168.0.1")
    assert not Node.objects.exists()


def enrol(gateway: Gateway, *, secret: str = "", address: str = "", gateway_id: str = "") -> str:
    message = GatewayEnrol(gateway_id=gateway_id or str(gateway.pk), boot_id="b", agent_version="1")
    return agents.gateway_enrol(
        token=secret or enrolment_secret(gateway.pk),
        message=message,
        remote_address=address or gateway.public_address or "203.0.113.9",
    ).token


@pytest.fixture
def booting(fleet: Fleet) -> Fleet:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    return fleet


def test_a_secret_opens_only_its_own_gateway_and_wrong_looks_like_unknown(booting: Fleet) -> None:
    first, second = booting.gateways()
    refusals = []
    for fields in (
        {"secret": enrolment_secret(second.pk)},
        {"secret": "sge_wrong"},
        {"gateway_id": "00000000-0000-0000-0000-000000000000"},
        {"gateway_id": "nonsense"},
    ):
        with pytest.raises(Unauthorized) as caught:
            enrol(first, **fields)
        refusals.append(caught.value.code)
    assert set(refusals) == {"unauthorized"}
    assert not Gateway.objects.filter(token_hash__isnull=False).exists()


def test_enrolment_works_only_from_the_gateways_own_address(booting: Fleet) -> None:
    first, second = booting.gateways()
    with pytest.raises(WrongAddress):
        enrol(first, address=second.public_address or "")
    assert enrol(first)


def test_enrolment_again_inside_the_window_replaces_the_credential(booting: Fleet) -> None:
    gateway = booting.gateways()[0]
    old, new = enrol(gateway), enrol(gateway)
    asked = GatewaySyncRequest(applied_revision=0, wait_seconds=0)
    with pytest.raises(Unauthorized):
        agents.gateway_clients(token=old, message=asked)
    assert agents.gateway_clients(token=new, message=asked).clients == ("10.110.0.21", "10.110.0.22")


def alarms() -> list[tuple[str, str]]:
    return list(Event.objects.filter(kind="security").order_by("id").values_list("subject", "new"))


def test_a_second_enrolment_is_told_and_so_is_who_goes_on_with_the_first_credential(booting: Fleet) -> None:
    gateway = booting.gateways()[0]
    old = enrol(gateway)
    assert alarms() == []
    enrol(gateway)
    assert alarms() == [("gateway.credential", "replaced")]
    Gateway.objects.filter(pk=gateway.pk).update(token_at=clock.unmoved() - timedelta(hours=1))
    for _ in range(2):
        with pytest.raises(Unauthorized):
            agents.gateway_clients(token=old, message=GatewaySyncRequest(applied_revision=0, wait_seconds=0))
    assert alarms() == [("gateway.credential", "replaced"), ("gateway.credential", "retired, yet used")]


def test_an_enrolment_after_a_rebuild_is_no_alarm_nor_one_before_the_provider_says_that_it_is_done(
    fleet: Fleet,
) -> None:
    fleet.bring_up()
    gateway_maintain(kind=Maintenance.REBUILD, gateway=fleet.gateways()[0], actor=fleet.user)
    seen = []
    for _ in range(4):
        fleet.step()
        fleet.nodes_follow()
        seen.append(fleet.gateways()[0].provisioning_status)
        if seen[-1] == "maintenance":
            with pytest.raises(WindowClosed):
                enrol(fleet.gateways()[0])
        fleet.lay_anew()
    assert "maintenance" in seen
    assert fleet.gateways()[0].provisioning_status == "booting"
    enrol(fleet.gateways()[0])
    assert alarms() == []


def test_a_secret_that_is_used_from_elsewhere_or_too_late_is_told_once_an_hour(
    booting: Fleet, settings: Settings
) -> None:
    gateway = booting.gateways()[0]
    for _ in range(3):
        with pytest.raises(WrongAddress):
            enrol(gateway, address="192.0.2.66")
    assert alarms() == [("gateway.enrolment", "from elsewhere")]
    assert "192.0.2.66" in Event.objects.get(kind="security").reason
    settings.CLOCK_OFFSET_SECONDS += 3_601
    for _ in range(3):
        with pytest.raises(WindowClosed):
            enrol(gateway)
    assert alarms()[1:] == [("gateway.enrolment", "outside its window")]
    # A wrong secret says nothing about this gateway.
    with pytest.raises(Unauthorized):
        enrol(gateway, secret="sge_wrong", address="192.0.2.66")
    assert len(alarms()) == 2


def test_the_window_closes_with_time_and_with_readiness(booting: Fleet) -> None:
    first, second = booting.gateways()
    Gateway.objects.filter(pk=second.pk).update(enrolment_until=clock.now() - timedelta(seconds=1))
    with pytest.raises(WindowClosed):
        enrol(second)
    Gateway.objects.filter(pk=second.pk).update(enrolment_until=clock.now() + timedelta(minutes=1))
    booting.boot_gateways()
    booting.step()
    with pytest.raises(WindowClosed):
        enrol(first)


def test_a_gateway_that_is_up_before_its_address_is_known_is_looked_up_at_once(fleet: Fleet) -> None:
    fleet.cloud.delay_addresses(3)
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    Assignment.objects.update(due_at=clock.now() + timedelta(hours=1))
    with pytest.raises(NotYet):
        enrol(fleet.gateways()[0])
    due_at = fleet.assignment.due_at
    assert due_at is not None
    assert due_at <= clock.now()


def test_a_gateway_that_is_being_deleted_is_nobody(booting: Fleet) -> None:
    gateway = booting.gateways()[0]
    token = enrol(gateway)
    egress_disable(app=booting.app, actor=booting.user)
    booting.step()
    with pytest.raises(Unauthorized):
        agents.gateway_clients(token=token, message=GatewaySyncRequest(applied_revision=0, wait_seconds=0))
    with pytest.raises(Unauthorized):
        enrol(gateway)


def test_user_data_carries_the_secret_of_its_own_gateway_only(booting: Fleet) -> None:
    first, second = booting.gateways()
    data = booting.cloud.user_data()[0]
    assert enrolment_secret(first.pk) in data
    assert enrolment_secret(second.pk) not in data
    assert str(first.pk) in data


def woken(fleet: Fleet) -> bool:
    due_at = fleet.assignment.due_at
    return due_at is not None and due_at <= clock.now()


def settle(fleet: Fleet) -> None:
    Assignment.objects.update(due_at=clock.now() + timedelta(hours=1))


def test_the_report_that_a_gateway_forwards_wakes_its_assignment_and_the_next_one_does_not(booting: Fleet) -> None:
    settle(booting)
    booting.boot_gateways()
    assert woken(booting)
    settle(booting)
    booting.report_gateway(booting.gateways()[0])
    assert not woken(booting)


def test_an_acknowledgement_wakes_who_waits_for_that_revision(booting: Fleet) -> None:
    booting.boot_gateways()
    booting.step()
    settle(booting)
    booting.sync_node(booting.nodes[0])
    assert woken(booting)
    settle(booting)
    booting.sync_node(booting.nodes[0])
    assert not woken(booting)


def test_a_report_wakes_a_drain_when_connections_ended_and_not_otherwise(fleet: Fleet) -> None:
    fleet.bring_up()
    carrying = str(fleet.gateways()[0].pk)
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.sync_node(fleet.nodes[0])
    outcomes = []
    for flows in ({carrying: 5}, {carrying: 4}, {carrying: 0}, {}):
        settle(fleet)
        fleet.report_node(fleet.nodes[0], flows=flows)
        outcomes.append(woken(fleet))
    assert outcomes == [True, False, True, False]


@pytest.mark.parametrize(("epoch", "revision"), [("another", 1), ("", 1), (None, 999)])
def test_an_acknowledgement_of_another_history_counts_for_nothing(
    fleet: Fleet, epoch: str | None, revision: int
) -> None:
    fleet.bring_up()
    message = NodeSyncRequest(
        epoch=str(fleet.cluster.epoch) if epoch is None else epoch, applied_revision=revision, wait_seconds=0
    )
    node = node_acknowledge("node-token-node-1", message)
    assert (node.applied_epoch, node.applied_revision) == ("", 0)


def test_a_gateway_that_a_restored_database_does_not_know_as_current_is_asked_again(booting: Fleet) -> None:
    gateway = booting.gateways()[0]
    token = enrol(gateway)
    agents.gateway_acknowledge(token=token, message=GatewaySyncRequest(applied_revision=9, wait_seconds=0))
    agents.gateway_acknowledge(token=token, message=GatewaySyncRequest(applied_revision=1, wait_seconds=0))
    assert Gateway.objects.get(pk=gateway.pk).applied_clients_revision == 1


def test_joining_and_leaving_is_history(joining: tuple[Cluster, str]) -> None:
    join(joining[1])
    node_remove(node=Node.objects.get(), actor=make_user())
    moves = list(Event.objects.filter(subject="node.status").order_by("id").values_list("old", "new"))
    assert moves == [("", "live"), ("live", "removed")]
