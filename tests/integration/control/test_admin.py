"""The operators' pages."""

import html
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from egress.control.errors import PeerNotReady
from egress.control.models import (
    App,
    Assignment,
    AssignmentStatus,
    Cluster,
    GatewayStatus,
    Node,
    NodeStatus,
    RouteChange,
    Wish,
)
from egress.control.models_installation import StrayServer
from egress.control.services import egress_enable
from portal.accounts.models import ApiToken, User, token_hash
from tests.factories import make_app, make_cluster, make_node, make_team, make_user

from .fleet import Fleet

pytestmark = pytest.mark.costly


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator@example.com", "a-long-password")


@pytest.fixture
def page(operator: User) -> Client:
    client = Client()
    client.force_login(operator)
    return client


MODELS = ["cluster", "app", "assignment", "gateway", "node", "routechange", "event", "strayserver", "installation"]


@pytest.mark.parametrize("model", MODELS)
def test_every_list_opens_and_searches(page: Client, fleet: Fleet, model: str) -> None:
    fleet.bring_up()
    assert page.get(reverse(f"admin:control_{model}_changelist")).status_code == 200
    assert page.get(reverse(f"admin:control_{model}_changelist"), {"q": "203.0.113.1"}).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_every_row_opens(page: Client, fleet: Fleet, model: str) -> None:
    from django.apps import apps

    fleet.bring_up()
    StrayServer.objects.create(server_id="9", name="stray")
    row = apps.get_model("control", model).objects.first()
    assert page.get(reverse(f"admin:control_{model}_change", args=[row.pk])).status_code == 200


@pytest.mark.parametrize("model", ["user", "team", "apitoken"])
def test_every_accounts_page_opens(page: Client, operator: User, model: str) -> None:
    team = make_team(operator)
    token, _ = ApiToken.issue(team=team, name="ci", created_by=operator)
    pk = {"user": operator.pk, "team": team.pk, "apitoken": token.pk}[model]
    assert page.get(reverse(f"admin:accounts_{model}_changelist"), {"q": "e"}).status_code == 200
    assert page.get(reverse(f"admin:accounts_{model}_change", args=[pk])).status_code == 200


@pytest.mark.parametrize(
    "model", ["assignment", "gateway", "node", "routechange", "event", "strayserver", "installation"]
)
def test_rows_of_the_control_plane_can_not_be_added_or_deleted_by_hand(page: Client, fleet: Fleet, model: str) -> None:
    from django.apps import apps

    fleet.bring_up()
    StrayServer.objects.create(server_id="9", name="stray")
    row = apps.get_model("control", model).objects.first()
    assert page.get(reverse(f"admin:control_{model}_add")).status_code == 403
    assert page.post(reverse(f"admin:control_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    "model", ["assignment", "gateway", "node", "routechange", "event", "strayserver", "installation"]
)
def test_a_page_without_fields_to_change_offers_no_save(page: Client, fleet: Fleet, model: str) -> None:
    from django.apps import apps

    fleet.bring_up()
    StrayServer.objects.create(server_id="9", name="stray")
    row = apps.get_model("control", model).objects.first()
    shown = page.get(reverse(f"admin:control_{model}_change", args=[row.pk])).content
    assert b"Close" in shown
    assert b"_save" not in shown
    assert b"_continue" not in shown


def test_times_have_seconds_and_a_zone(page: Client, fleet: Fleet) -> None:
    at = fleet.bring_up().status_since
    shown = page.get(reverse("admin:control_assignment_change", args=[fleet.assignment.pk])).content.decode()
    assert f"{at:%Y-%m-%d %H:%M:%S} UTC" in shown


def test_a_status_can_not_be_posted(page: Client, fleet: Fleet) -> None:
    assignment = fleet.bring_up()
    url = reverse("admin:control_assignment_change", args=[assignment.pk])
    assert page.post(url, {"status": "released"}).status_code == 403
    assignment.refresh_from_db()
    assert assignment.status == AssignmentStatus.ACTIVE


def test_no_page_shows_a_credential(page: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    node, gateway = fleet.nodes[0], fleet.gateways()[0]
    assert node.token_hash
    assert gateway.token_hash
    shown = page.get(reverse("admin:control_node_change", args=[node.pk])).content.decode()
    shown += page.get(reverse("admin:control_gateway_change", args=[gateway.pk])).content.decode()
    shown += page.get(reverse("admin:control_cluster_change", args=[fleet.cluster.pk])).content.decode()
    for secret in (node.token_hash, gateway.token_hash, gateway.enrolment_hash, fleet.cluster.probe_key):
        assert secret not in shown


def test_an_app_is_added_by_form(page: Client) -> None:
    cluster = make_cluster()
    form = {"team": make_team().pk, "cluster": cluster.pk, "name": "shop", "namespace": "shop"}
    inline = {"events-TOTAL_FORMS": "0", "events-INITIAL_FORMS": "0"}
    assert page.post(reverse("admin:control_app_add"), {**form, **inline}).status_code == 302
    assert cluster.apps.get().namespace == "shop"


def test_a_namespace_that_agents_would_refuse_is_refused(page: Client) -> None:
    inline = {"events-TOTAL_FORMS": "0", "events-INITIAL_FORMS": "0"}
    form = {"team": make_team().pk, "cluster": make_cluster().pk, "name": "shop", "namespace": "Shop_1", **inline}
    answer = page.post(reverse("admin:control_app_add"), form)
    assert "namespace" in answer.context["adminform"].form.errors


def _act(page: Client, model: str, action: str, *rows: Any, confirmed: bool = False) -> Any:
    url = reverse(f"admin:control_{model}_changelist")
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return page.post(url, data | ({"confirmed": "yes"} if confirmed else {}), follow=True)


def test_join_tokens_are_rotated_after_a_question_and_shown_once(page: Client, fleet: Fleet) -> None:
    before = Cluster.objects.get().join_token_hash
    assert b"new join token?" in _act(page, "cluster", "rotate_join_token", fleet.cluster).content
    assert Cluster.objects.get().join_token_hash == before
    answer = _act(page, "cluster", "rotate_join_token", fleet.cluster, confirmed=True)
    (_, token) = answer.context["tokens"][0]
    assert token in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert Cluster.objects.get().join_token_hash == token_hash(token)


def test_disabling_asks_first(page: Client, fleet: Fleet) -> None:
    assignment = fleet.bring_up()
    _act(page, "assignment", "disable", assignment)
    assert Assignment.objects.get().wish == Wish.ENABLED
    _act(page, "assignment", "disable", assignment, confirmed=True)
    assert Assignment.objects.get().wish == Wish.DISABLED


def test_retry_of_what_has_not_failed_says_so(page: Client, fleet: Fleet) -> None:
    assignment = fleet.bring_up()
    assert b"nothing to retry" in _act(page, "assignment", "retry", assignment).content


def test_a_node_is_removed_after_a_question(page: Client, fleet: Fleet) -> None:
    _act(page, "node", "remove", fleet.nodes[0])
    assert Node.objects.filter(status=NodeStatus.REMOVED).count() == 0
    _act(page, "node", "remove", fleet.nodes[0], confirmed=True)
    assert Node.objects.get(status=NodeStatus.REMOVED).name == "node-1"


def test_staff_without_rights_sees_nothing(fleet: Fleet) -> None:
    client = Client()
    client.force_login(make_user(is_staff=True))
    assert client.get(reverse("admin:control_assignment_changelist")).status_code == 403


def test_staff_who_may_only_look_can_not_act(fleet: Fleet) -> None:
    from django.contrib.auth.models import Permission

    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_assignment"))
    client = Client()
    client.force_login(viewer)
    assignment = fleet.bring_up()
    _act(client, "assignment", "disable", assignment, confirmed=True)
    assert Assignment.objects.get().wish == Wish.ENABLED


def test_an_assignment_shows_its_gateways_and_which_one_an_event_is_about(page: Client, fleet: Fleet) -> None:
    assignment = fleet.bring_up()
    shown = page.get(reverse("admin:control_assignment_change", args=[assignment.pk])).content.decode()
    assert assignment.app.team.name in shown
    timeline = shown[shown.index("Timeline") :]
    for gateway in fleet.gateways():
        link = f'href="{reverse("admin:control_gateway_change", args=[gateway.pk])}"'
        assert gateway.public_address in shown
        assert link in shown[: shown.index("Timeline")]
        assert link in timeline
    # Each row's own title would say it all again.
    assert "gateway.status: pending → creating" not in timeline


def _act_on_row(page: Client, row: Any, action: str, *, confirmed: bool = False) -> Any:
    url = reverse(f"admin:control_{type(row).__name__.lower()}_{action}_this", args=[row.pk])
    return page.post(url, {"confirmed": "yes"}, follow=True) if confirmed else page.get(url)


def test_disabling_from_its_page_asks_first(page: Client, fleet: Fleet) -> None:
    assignment = fleet.bring_up()
    assert b"addresses are lost" in _act_on_row(page, assignment, "disable").content
    assert Assignment.objects.get().wish == Wish.ENABLED
    answer = _act_on_row(page, assignment, "disable", confirmed=True)
    assert answer.redirect_chain[0][0] == reverse("admin:control_assignment_change", args=[assignment.pk])
    assert Assignment.objects.get().wish == Wish.DISABLED


def test_what_failed_is_retried_from_its_page(page: Client, fleet: Fleet) -> None:
    fleet.cloud.fail("create_or_adopt", "provider_no_capacity")
    egress_enable(app=fleet.app, actor=fleet.user)
    assert fleet.step().status == AssignmentStatus.ERROR
    assert b"is tried again" in _act_on_row(page, fleet.assignment, "retry", confirmed=True).content
    assert fleet.assignment.status == AssignmentStatus.PROVISIONING
    assert b"nothing to retry" in _act_on_row(page, fleet.assignment, "retry", confirmed=True).content


@pytest.mark.parametrize("kind", ["app", "cluster"])
def test_what_has_a_history_can_not_be_deleted_and_the_reason_is_no_lack_of_rights(
    page: Client, fleet: Fleet, kind: str
) -> None:
    row = {"app": fleet.app, "cluster": fleet.cluster}[kind]
    url = reverse(f"admin:control_{kind}_delete", args=[row.pk])
    egress_enable(app=fleet.app, actor=fleet.user)
    for answer in (page.get(url), page.post(url, {"post": "yes"}, follow=True)):
        assert "they are history, and are kept" in answer.content.decode()
        assert "permission" not in answer.content.decode()
    assert type(row).objects.filter(pk=row.pk).exists()


def test_an_app_that_nothing_happened_to_is_deleted(page: Client, fleet: Fleet) -> None:
    page.post(reverse("admin:control_app_delete", args=[fleet.app.pk]), {"post": "yes"})
    assert not App.objects.exists()


def test_a_gateway_is_rebuilt_after_a_question(page: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    first, second = fleet.gateways()
    assert b"Rebuild from a fresh image?" in _act_on_row(page, first, "rebuild").content
    assert fleet.gateways()[0].provisioning_status == GatewayStatus.READY
    _act_on_row(page, first, "rebuild", confirmed=True)
    assert fleet.gateways()[0].provisioning_status == GatewayStatus.DRAINING
    refused = _act(page, "gateway", "rebuild", second, confirmed=True)
    assert str(PeerNotReady()) in html.unescape(refused.content.decode())
    assert fleet.gateways()[1].provisioning_status == GatewayStatus.READY


def test_a_node_is_removed_from_its_page(page: Client, fleet: Fleet) -> None:
    _act_on_row(page, fleet.nodes[1], "remove", confirmed=True)
    assert Node.objects.get(status=NodeStatus.REMOVED).name == "node-2"


def test_an_action_on_a_row_that_is_gone_is_not_found(page: Client, fleet: Fleet) -> None:
    url = reverse("admin:control_gateway_rebuild_this", args=[uuid.uuid4()])
    assert page.get(url).status_code == 404


def test_who_may_only_look_is_offered_no_action_and_gets_none(fleet: Fleet) -> None:
    from django.contrib.auth.models import Permission

    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_gateway"))
    client = Client()
    client.force_login(viewer)
    fleet.bring_up()
    gateway = fleet.gateways()[0]
    url = reverse("admin:control_gateway_rebuild_this", args=[gateway.pk])
    shown = client.get(reverse("admin:control_gateway_change", args=[gateway.pk]))
    assert shown.status_code == 200
    assert url not in shown.content.decode()
    assert client.post(url, {"confirmed": "yes"}).status_code == 403


def test_a_node_names_the_gateways_that_it_uses(page: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    first = fleet.gateways()[0]
    fleet.report_node(fleet.nodes[0], flows={str(first.pk): 7, "no-longer-known": 1})
    shown = page.get(reverse("admin:control_node_change", args=[fleet.nodes[0].pk])).content.decode()
    assert f"{first}: not probed, 7 connections" in shown
    assert "gone (no-longe…): not probed, 1 connections" in shown
    assert str(first.pk) not in shown


def test_a_route_shows_addresses_instead_of_ids(page: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    change = RouteChange.objects.get()
    shown = page.get(reverse("admin:control_routechange_change", args=[change.pk])).content.decode()
    for gateway in fleet.gateways():
        assert f"{gateway.private_address} → {gateway.public_address}" in shown
        assert str(gateway.pk) not in shown


def test_a_row_is_titled_by_its_name_as_it_is(page: Client, fleet: Fleet) -> None:
    shown = page.get(reverse("admin:control_node_change", args=[fleet.nodes[0].pk])).content.decode()
    assert "Node-1" not in shown
    assert "Nodes" in shown


@pytest.mark.parametrize("model", ["cluster", "app", "assignment", "gateway", "node", "event"])
def test_a_list_asks_as_often_for_twenty_rows_as_for_two(page: Client, db: None, model: str) -> None:
    url = reverse(f"admin:control_{model}_changelist")
    _populate(2)
    few = _queries(page, url)
    _populate(18)
    assert _queries(page, url) == few


def test_the_list_of_teams_asks_as_often_for_twenty_rows_as_for_two(page: Client, db: None) -> None:
    url = reverse("admin:accounts_team_changelist")
    for number in (2, 18):
        for _ in range(number):
            make_team(make_user(), make_user())
        if number == 2:
            few = _queries(page, url)
    assert _queries(page, url) == few
    assert page.get(url).context["cl"].result_list[0].people_now == 2


def _populate(number: int) -> None:
    for _ in range(number):
        cluster = make_cluster()
        for ordinal in range(2):
            make_node(cluster, token=f"{cluster.name}-{ordinal}")
        user = make_user()
        assignment = egress_enable(app=make_app(make_team(user), cluster), actor=user)
        Assignment.objects.filter(pk=assignment.pk).update(status=AssignmentStatus.ACTIVE, target_revision=1)


def _queries(page: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as asked:
        assert page.get(url).status_code == 200
    return len(asked)


@pytest.mark.parametrize(("choice", "found"), [("failed", 1), ("failing", 0), ("slow", 0), ("any", 1)])
def test_the_attention_filter_finds_what_failed_and_says_why(
    page: Client, fleet: Fleet, choice: str, found: int
) -> None:
    fleet.cloud.fail("create_or_adopt", "provider_no_capacity")
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    egress_enable(app=make_app(make_team(fleet.user), fleet.cluster), actor=fleet.user)
    answer = page.get(reverse("admin:control_assignment_changelist"), {"attention": choice})
    assert answer.context["cl"].result_count == found
    assert (b"provider_no_capacity" in answer.content) == bool(found)


def test_the_attention_filter_finds_an_active_pair_with_an_unhealthy_gateway(page: Client, fleet: Fleet) -> None:
    fleet.bring_up()
    url = reverse("admin:control_assignment_changelist")
    assert page.get(url, {"attention": "any"}).context["cl"].result_count == 0
    fleet.report_gateway(fleet.gateways()[1], forwarding=False)
    for choice in ("degraded", "any"):
        answer = page.get(url, {"attention": choice})
        assert answer.context["cl"].result_count == 1
        assert b"gateway B unhealthy" in answer.content
