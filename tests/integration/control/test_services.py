"""What people ask for: each request does its one thing, or gives a clear error and changes nothing."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError
from pytest_django import Settings

from egress.control import pairs, services
from egress.control.errors import (
    AdmissionRefused,
    AppUnknown,
    ClusterFull,
    ClusterInUse,
    ClusterInvalid,
    NodeGone,
    NotAllowed,
    NothingToRetry,
    StillDisabling,
    TransitionConflict,
)
from egress.control.models import Assignment, AssignmentStatus, Cluster, Event, Gateway, NodeStatus, Wish
from egress.control.selectors import app_for, apps_of
from egress.control.services import (
    cluster_change,
    cluster_create,
    egress_disable,
    egress_enable,
    egress_retry,
    join_token_rotate,
    node_remove,
)
from portal.accounts.models import ApiToken, Membership, Role, token_hash
from tests.factories import make_app, make_cluster, make_team, make_user

from .fleet import Fleet


def test_enable_writes_the_wish_the_pair_and_the_event_and_enqueues_after_the_commit(
    fleet: Fleet, django_capture_on_commit_callbacks: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple] = []
    monkeypatch.setattr("celery.current_app.send_task", lambda *args, **_: sent.append(args))
    with django_capture_on_commit_callbacks(execute=True):
        assignment = egress_enable(app=fleet.app, actor=fleet.user)
        assert sent == []
    assert sent == [("egress.control.tasks.reconcile_assignment", [str(assignment.pk)])]
    assert (assignment.wish, assignment.status, assignment.pair) == (Wish.ENABLED, AssignmentStatus.PROVISIONING, 1)
    assert [gateway.slot for gateway in assignment.gateways.all()] == [0, 1]
    request = Event.objects.get(kind="request")
    assert (request.subject, request.actor, request.app) == ("egress.enable", fleet.user, fleet.app)


def test_a_broker_that_is_away_fails_no_request(
    fleet: Fleet, django_capture_on_commit_callbacks: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object, **_fields: object) -> None:
        raise ConnectionError("no broker")

    monkeypatch.setattr("celery.current_app.send_task", away)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        assert egress_enable(app=fleet.app, actor=fleet.user).due_at is not None
    assert len(callbacks) == 1
    assert Assignment.objects.get().wish == Wish.ENABLED


def test_second_enable_is_a_noop(fleet: Fleet) -> None:
    first = egress_enable(app=fleet.app, actor=fleet.user)
    before = Event.objects.count()
    assert egress_enable(app=fleet.app, actor=fleet.user) == first
    assert (Assignment.objects.count(), Gateway.objects.count(), Event.objects.count()) == (1, 2, before)


def test_enable_while_disabling_is_refused_until_the_release(fleet: Fleet) -> None:
    fleet.bring_up()
    egress_disable(app=fleet.app, actor=fleet.user)
    fleet.step()
    before = Assignment.objects.values().get()
    with pytest.raises(StillDisabling):
        egress_enable(app=fleet.app, actor=fleet.user)
    assert Assignment.objects.values().get() == before


def test_second_disable_is_a_noop(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    first = egress_disable(app=fleet.app, actor=fleet.user)
    before = Event.objects.count()
    assert egress_disable(app=fleet.app, actor=fleet.user) == first
    assert Event.objects.count() == before


def test_disabling_what_was_never_enabled_does_nothing(fleet: Fleet) -> None:
    assert egress_disable(app=fleet.app, actor=fleet.user) is None


@pytest.mark.parametrize("service", [egress_enable, egress_disable, egress_retry])
@pytest.mark.parametrize(
    "who", ["viewer", "outsider", "inactive", "staff", "reading token", "revoked token", "foreign"]
)
def test_who_may_not_switch_is_refused_and_nothing_changes(fleet: Fleet, service: Callable, who: str) -> None:
    team = fleet.app.team
    reader, _ = ApiToken.issue(team=team, name="r", created_by=fleet.user, can_write=False)
    revoked, _ = ApiToken.issue(team=team, name="x", created_by=fleet.user)
    revoked.revoked_at = revoked.created_at
    foreign, _ = ApiToken.issue(team=make_team(), name="f", created_by=fleet.user)
    inactive = make_user(is_active=False)
    Membership.objects.create(user=inactive, team=team, role=Role.OWNER)
    viewer = make_user()
    Membership.objects.create(user=viewer, team=team, role=Role.VIEWER)
    actor = {
        "viewer": viewer,
        "outsider": make_user(),
        "inactive": inactive,
        "staff": make_user(is_staff=True),
        "reading token": reader,
        "revoked token": revoked,
        "foreign": foreign,
    }[who]
    before = Event.objects.count()
    with pytest.raises(NotAllowed):
        service(app=fleet.app, actor=actor)
    assert not Assignment.objects.exists()
    assert Event.objects.count() == before


@pytest.mark.parametrize("who", ["owner", "operator", "token"])
def test_who_may_switch(fleet: Fleet, who: str) -> None:
    owner = make_user()
    Membership.objects.create(user=owner, team=fleet.app.team, role=Role.OWNER)
    token, _ = ApiToken.issue(team=fleet.app.team, name="deploy", created_by=owner)
    operator = make_user(is_staff=True, is_superuser=True)
    egress_enable(app=fleet.app, actor={"owner": owner, "operator": operator, "token": token}[who])
    event = Event.objects.get(subject="egress.enable")
    assert event.actor == (operator if who == "operator" else owner)
    assert ("deploy" in event.reason) == (who == "token")


def test_apps_of_another_team_look_like_no_apps(fleet: Fleet) -> None:
    outsider = make_user()
    make_team(outsider)
    token, _ = ApiToken.issue(team=fleet.app.team, name="t", created_by=None)
    assert list(apps_of(outsider)) == []
    assert list(apps_of(fleet.user)) == list(apps_of(token)) == [fleet.app]
    assert app_for(fleet.user, str(fleet.app.pk)) == fleet.app
    for actor, app_id in [(outsider, fleet.app.pk), (fleet.user, uuid4()), (fleet.user, "nonsense")]:
        with pytest.raises(AppUnknown):
            app_for(actor, app_id)


def refuse(**_fields: object) -> None:
    raise AdmissionRefused("Add a payment method first.")


def test_a_policy_can_refuse_but_is_not_asked_about_what_is_enabled(fleet: Fleet, settings: Settings) -> None:
    settings.EGRESS_ADMISSION = [f"{__name__}.refuse"]
    with pytest.raises(AdmissionRefused, match="payment method"):
        egress_enable(app=fleet.app, actor=fleet.user)
    assert not Assignment.objects.exists()
    settings.EGRESS_ADMISSION = []
    first = egress_enable(app=fleet.app, actor=fleet.user)
    settings.EGRESS_ADMISSION = [f"{__name__}.refuse"]
    assert egress_enable(app=fleet.app, actor=fleet.user) == first


def test_pair_numbers_differ_and_rest_after_use(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def enable() -> int:
        return egress_enable(app=make_app(fleet.app.team, fleet.cluster), actor=fleet.user).pair

    assert [enable(), enable()] == [1, 2]
    Assignment.objects.filter(pair=1).update(status=AssignmentStatus.RELEASED)
    assert enable() == 3
    monkeypatch.setattr(pairs, "MAX_PAIR", 3)
    assert enable() == 1


def test_a_cluster_whose_route_table_is_full_says_so(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    egress_enable(app=make_app(fleet.app.team, fleet.cluster), actor=fleet.user)
    monkeypatch.setattr(pairs, "MAX_ROUTES", 1)
    with pytest.raises(ClusterFull):
        egress_enable(app=fleet.app, actor=fleet.user)
    assert Assignment.objects.count() == 1


def test_a_lost_race_for_a_pair_number_is_tried_again_a_few_times(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = egress_enable(app=make_app(fleet.app.team, fleet.cluster), actor=fleet.user)
    numbers = iter([other.pair, other.pair, 7])
    monkeypatch.setattr(services, "free_pair", lambda _cluster_id: next(numbers))
    assert egress_enable(app=fleet.app, actor=fleet.user).pair == 7
    third = make_app(fleet.app.team, fleet.cluster)
    monkeypatch.setattr(services, "free_pair", lambda _cluster_id: 7)
    with pytest.raises(TransitionConflict):
        egress_enable(app=third, actor=fleet.user)


def test_the_database_itself_keeps_pairs_and_assignments_apart(fleet: Fleet) -> None:
    first = egress_enable(app=fleet.app, actor=fleet.user)
    with pytest.raises(IntegrityError):
        Assignment.objects.create(app=fleet.app, cluster=fleet.cluster, pair=first.pair)


def test_retry_needs_something_that_failed(fleet: Fleet) -> None:
    for _ in range(2):
        with pytest.raises(NothingToRetry):
            egress_retry(app=fleet.app, actor=fleet.user)
        egress_enable(app=fleet.app, actor=fleet.user)


def test_a_cluster_is_made_with_a_join_token_that_is_stored_hashed(db: None) -> None:
    cluster, token = cluster_create(
        name="c", region="fra1", vpc_id="v", vpc="10.1.0.0/20", local_networks=[], gateway_size="s-2vcpu-2gb"
    )
    assert cluster.join_token_hash == token_hash(token)
    assert cluster.gateway_size == "s-2vcpu-2gb"
    assert cluster.probe_key
    assert join_token_rotate(cluster=cluster) != token
    assert Cluster.objects.get().join_token_hash != token_hash(token)


def test_a_cluster_with_nonsense_for_a_network_is_refused(db: None) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        cluster_create(name="c", region="r", vpc_id="v", vpc="10.1.0.0/20", local_networks=["nonsense"])
    assert not Cluster.objects.exists()


def test_a_change_of_what_nodes_get_is_numbered_and_recorded_and_writes_nothing_else(fleet: Fleet) -> None:
    stale = Cluster.objects.get(pk=fleet.cluster.pk)
    fleet.bring_up()
    changed = cluster_change(
        cluster=stale, actor=fleet.user, local_networks=["10.1.0.0/16"], snat_port_first=40_000, region="lab1"
    )
    assert changed.revision == 2
    assert Cluster.objects.get(pk=stale.pk).local_networks == ["10.1.0.0/16"]
    settings_told = fleet.sync_node(fleet.nodes[0]).settings
    assert (settings_told.local_networks, settings_told.snat_ports) == (("10.1.0.0/16",), (40_000, 65_535))
    event = Event.objects.get(subject="cluster.change")
    assert (event.actor, event.cluster) == (fleet.user, fleet.cluster)
    assert "snat_port_first: 32768 → 40000" in event.reason
    assert "region" not in event.reason


@pytest.mark.parametrize("fields", [{"gateway_size": "s-2vcpu-2gb"}, {"name": "renamed"}, {}, {"region": "lab1"}])
def test_a_change_that_is_none_of_the_nodes_business_wakes_no_node(fleet: Fleet, fields: dict[str, Any]) -> None:
    fleet.bring_up()
    changed = cluster_change(cluster=fleet.cluster, actor=fleet.user, **fields)
    assert changed.revision == 1
    assert Event.objects.filter(subject="cluster.change").count() == (fields not in ({}, {"region": "lab1"}))


@pytest.mark.parametrize("targets", [["9.9.9.9"], []])
def test_a_change_of_targets_is_told_to_gateways_at_once_and_to_no_node(fleet: Fleet, targets: list[str]) -> None:
    fleet.bring_up()
    told = fleet.cluster.clients_revision
    changed = cluster_change(cluster=fleet.cluster, actor=fleet.user, internet_targets=targets)
    assert (changed.revision, changed.clients_revision) == (1, told + 1)
    assert changed.internet_targets == targets
    again = cluster_change(cluster=fleet.cluster, actor=fleet.user, internet_targets=targets)
    assert again.clients_revision == told + 1


FIXED = {
    "region": "fra1",
    "vpc_id": "another",
    "vpc": "10.111.0.0/20",
    "mark_mask": 0xFF00000,
    "rule_priority": 6_000,
    "table_base": 60_000,
}


@pytest.mark.parametrize("name", FIXED)
def test_what_gateways_and_nodes_are_built_on_changes_only_while_nothing_is_enabled(fleet: Fleet, name: str) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    before = Cluster.objects.values().get()
    with pytest.raises(ClusterInUse, match=f"{name} of {fleet.cluster}.*disable it"):
        cluster_change(cluster=fleet.cluster, actor=fleet.user, **{name: FIXED[name]})
    assert Cluster.objects.values().get() == before
    Assignment.objects.update(status=AssignmentStatus.RELEASED)
    assert getattr(cluster_change(cluster=fleet.cluster, actor=fleet.user, **{name: FIXED[name]}), name) == FIXED[name]


@pytest.mark.parametrize(
    "fields",
    [
        {"mark_mask": 0x0F0F0000},
        {"mark_mask": 0x3},
        {"mark_mask": 0},
        {"mark_mask": 2**32},
        {"rule_priority": 28_001},
        {"table_base": 999},
        {"snat_port_first": 1_023},
        {"snat_port_last": 32_768},
        {"snat_port_first": 32_000},
        {"flow_deadline_seconds": 7 * 86_400 + 1},
        {"local_networks": ["nonsense"]},
        {"local_networks": ["10.99.0.1"]},
        {"local_networks": ["10.0.0.0/255.0.0.0"]},
        {"local_networks": ["0.0.0.0/0"]},
        {"local_networks": ["128.0.0.0/1"]},
        {"internet_targets": ["10.0.0.1"]},
        {"internet_targets": ["224.0.0.1"]},
        {"internet_targets": ["dns.example"]},
        {"internet_targets": ["1.1.1.1", "1.1.1.1"]},
        {"internet_targets": [f"1.1.1.{n}" for n in range(9)]},
        {"internet_targets": "1.1.1.1"},
        {"internet_targets": [["1.1.1.1"]]},
        {"vpc": "0.0.0.0/0"},
        {"vpc": "10.0.0.1/8"},
        {"probe_interval_ms": 0},
        {"probe_interval_ms": 49},
        {"probe_interval_ms": 1_001},
        {"probe_misses_to_suspect": 1},
        {"probe_dead_after_ms": 999},
        {"probe_dead_after_ms": 30_001},
        {"probe_interval_ms": 500, "probe_misses_to_suspect": 10},
        {"probe_hold_down_seconds": 3_601},
        {"revision": 99},
        {"nonsense": 1},
    ],
)
def test_what_agents_would_choke_on_or_leak_by_is_refused_and_nothing_is_written(
    fleet: Fleet, fields: dict[str, Any]
) -> None:
    before = (Cluster.objects.values().get(), Event.objects.count())
    with pytest.raises(ClusterInvalid):
        cluster_change(cluster=fleet.cluster, actor=fleet.user, **fields)
    assert (Cluster.objects.values().get(), Event.objects.count()) == before


def test_a_removed_node_is_waited_for_no_longer(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    fleet.step()
    fleet.sync_node(fleet.nodes[0])
    assert fleet.step().status == AssignmentStatus.DISTRIBUTING
    revision = Cluster.objects.get(pk=fleet.cluster.pk).clients_revision

    node = node_remove(node=fleet.nodes[1], actor=fleet.user)
    assert (node.status, node.token_hash) == (NodeStatus.REMOVED, None)
    assert Cluster.objects.get(pk=fleet.cluster.pk).clients_revision == revision + 1
    assert fleet.step().status == AssignmentStatus.ACTIVE
    with pytest.raises(NodeGone):
        node_remove(node=fleet.nodes[1], actor=fleet.user)


def test_removal_of_a_node_wakes_who_waits_for_it(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    fleet.boot_gateways()
    waiting = fleet.step()
    node_remove(node=fleet.nodes[1], actor=fleet.user)
    woken = fleet.assignment
    assert waiting.due_at is not None
    assert woken.due_at is not None
    assert woken.due_at < waiting.due_at


def test_clusters_do_not_share_pair_numbers(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    elsewhere = make_app(fleet.app.team, make_cluster())
    assert egress_enable(app=elsewhere, actor=fleet.user).pair == 1
