"""The operators' pages."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from egress.control.models import Assignment, AssignmentStatus, Cluster, Node, NodeStatus, Wish
from egress.control.services import egress_enable
from portal.accounts.models import ApiToken, User, token_hash
from tests.factories import make_app, make_cluster, make_team, make_user

from .fleet import Fleet


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator@example.com", "a-long-password")


@pytest.fixture
def page(operator: User) -> Client:
    client = Client()
    client.force_login(operator)
    return client


MODELS = ["cluster", "app", "assignment", "gateway", "node", "routechange", "event"]


@pytest.mark.parametrize("model", MODELS)
def test_every_list_opens_and_searches(page: Client, fleet: Fleet, model: str) -> None:
    fleet.bring_up()
    assert page.get(reverse(f"admin:control_{model}_changelist")).status_code == 200
    assert page.get(reverse(f"admin:control_{model}_changelist"), {"q": "203.0.113.1"}).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_every_row_opens(page: Client, fleet: Fleet, model: str) -> None:
    from django.apps import apps

    fleet.bring_up()
    row = apps.get_model("control", model).objects.first()
    assert page.get(reverse(f"admin:control_{model}_change", args=[row.pk])).status_code == 200


@pytest.mark.parametrize("model", ["user", "team", "apitoken"])
def test_every_accounts_page_opens(page: Client, operator: User, model: str) -> None:
    team = make_team(operator)
    token, _ = ApiToken.issue(team=team, name="ci", created_by=operator)
    pk = {"user": operator.pk, "team": team.pk, "apitoken": token.pk}[model]
    assert page.get(reverse(f"admin:accounts_{model}_changelist"), {"q": "e"}).status_code == 200
    assert page.get(reverse(f"admin:accounts_{model}_change", args=[pk])).status_code == 200


@pytest.mark.parametrize("model", ["assignment", "gateway", "node", "routechange", "event"])
def test_rows_of_the_control_plane_can_not_be_added_or_deleted_by_hand(page: Client, fleet: Fleet, model: str) -> None:
    from django.apps import apps

    fleet.bring_up()
    row = apps.get_model("control", model).objects.first()
    assert page.get(reverse(f"admin:control_{model}_add")).status_code == 403
    assert page.post(reverse(f"admin:control_{model}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403


def test_a_status_can_not_be_posted(page: Client, fleet: Fleet) -> None:
    assignment = fleet.bring_up()
    page.post(reverse("admin:control_assignment_change", args=[assignment.pk]), {"status": "released"})
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


def test_a_cluster_and_an_app_are_added_by_form(page: Client) -> None:
    added = page.post(
        reverse("admin:control_cluster_add"),
        {
            "name": "fra1-a",
            "region": "fra1",
            "vpc_id": "vpc-9",
            "vpc": "10.1.0.0/20",
            "local_networks": '["10.244.0.0/16"]',
            "gateway_size": "s-1vcpu-1gb",
            "gateway_image": "ubuntu-24-04-x64",
            "flow_deadline_seconds": "3600",
        },
    )
    assert added.status_code == 302, added.context["errors"]
    cluster = Cluster.objects.get()
    assert cluster.probe_key
    form = {"team": make_team().pk, "cluster": cluster.pk, "name": "shop", "namespace": "shop"}
    inline = {"events-TOTAL_FORMS": "0", "events-INITIAL_FORMS": "0"}
    assert page.post(reverse("admin:control_app_add"), {**form, **inline}).status_code == 302
    assert cluster.apps.get().namespace == "shop"


def test_a_network_or_namespace_that_agents_would_refuse_is_refused(page: Client) -> None:
    cluster = make_cluster()
    url = reverse("admin:control_cluster_change", args=[cluster.pk])
    answer = page.post(url, {"name": "x", "vpc": "10.1.0.1/20", "local_networks": '["everywhere"]'})
    assert {"vpc", "local_networks"} <= set(answer.context["adminform"].form.errors)
    inline = {"events-TOTAL_FORMS": "0", "events-INITIAL_FORMS": "0"}
    form = {"team": make_team().pk, "cluster": cluster.pk, "name": "shop", "namespace": "Shop_1", **inline}
    answer = page.post(reverse("admin:control_app_add"), form)
    assert "namespace" in answer.context["adminform"].form.errors


def test_editing_a_cluster_does_not_turn_its_revision_back(page: Client, fleet: Fleet) -> None:
    url = reverse("admin:control_cluster_change", args=[fleet.cluster.pk])
    form = page.get(url).context["adminform"].form.initial
    fleet.bring_up()
    form["local_networks"] = '["10.244.0.0/16"]'
    assert page.post(url, form | {"flow_deadline_seconds": 60}).status_code == 302
    fleet.cluster.refresh_from_db()
    assert (fleet.cluster.flow_deadline_seconds, fleet.cluster.revision) == (60, 1)


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


def test_a_revoked_token_keeps_its_time(page: Client, operator: User) -> None:
    token, _ = ApiToken.issue(team=make_team(operator), name="ci", created_by=operator)
    url = reverse("admin:accounts_apitoken_changelist")
    times = []
    for _ in range(2):
        page.post(url, {"action": "revoke", "_selected_action": [str(token.pk)]})
        token.refresh_from_db()
        times.append(token.revoked_at)
    assert times[0] is not None
    assert times[0] == times[1]
