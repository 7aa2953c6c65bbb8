"""API tokens in the admin: made, shown once, revoked."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from portal.accounts.models import ApiToken, token_hash
from tests.factories import make_team, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.costly]

ADD = "/admin/accounts/apitoken/add/"


def _add(client: Client, **changes: Any) -> Any:
    return client.post(ADD, {"team": make_team().pk, "name": "ci", "can_write": "on", **changes})


def test_a_token_is_made_and_shown_once(admin_client: Client, admin_user: Any) -> None:
    answer = _add(admin_client)
    row = ApiToken.objects.get()
    token = answer.context["token"].shown_once
    assert row.hash == token_hash(token)
    assert (row.name, row.can_write, row.created_by) == ("ci", True, admin_user)
    assert token in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert token not in str(answer.cookies)
    later = [
        admin_client.get(reverse("admin:accounts_apitoken_changelist")),
        admin_client.get(reverse("admin:accounts_apitoken_change", args=[row.pk])),
        admin_client.get("/admin/"),
    ]
    for page in later:
        assert page.status_code == 200
        assert token not in page.content.decode()


def test_a_token_may_be_made_to_read_only(admin_client: Client) -> None:
    answer = admin_client.post(ADD, {"team": make_team().pk, "name": "ci"})
    assert not ApiToken.objects.get().can_write
    assert b"reads only" in answer.content


@pytest.mark.parametrize("missing", ["team", "name"])
def test_a_token_needs_a_team_and_a_name(admin_client: Client, missing: str) -> None:
    assert missing in _add(admin_client, **{missing: ""}).context["adminform"].form.errors
    assert not ApiToken.objects.exists()


def test_nothing_of_a_token_can_be_changed(admin_client: Client, admin_user: Any) -> None:
    token, _ = ApiToken.issue(team=make_team(), name="ci", created_by=admin_user, can_write=False)
    url = reverse("admin:accounts_apitoken_change", args=[token.pk])
    assert b"_save" not in admin_client.get(url).content
    assert admin_client.post(url, {"can_write": "on"}).status_code == 403
    token.refresh_from_db()
    assert not token.can_write


def test_who_may_only_look_can_neither_make_nor_revoke() -> None:
    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apitoken"))
    client = Client()
    client.force_login(viewer)
    assert _add(client).status_code == 403
    token, _ = ApiToken.issue(team=make_team(), name="ci", created_by=viewer)
    _revoke(client, token)
    token.refresh_from_db()
    assert token.revoked_at is None


def test_a_revoked_token_keeps_its_time(admin_client: Client, admin_user: Any) -> None:
    token, _ = ApiToken.issue(team=make_team(admin_user), name="ci", created_by=admin_user)
    times = []
    for _ in range(2):
        _revoke(admin_client, token)
        token.refresh_from_db()
        times.append(token.revoked_at)
    assert times[0] is not None
    assert times[0] == times[1]


def _revoke(client: Client, token: ApiToken) -> None:
    url = reverse("admin:accounts_apitoken_changelist")
    client.post(url, {"action": "revoke", "_selected_action": [str(token.pk)]})


def test_only_who_operates_gateways_makes_a_token_that_does(admin_client: Client) -> None:
    _add(admin_client, can_operate="on")
    assert ApiToken.objects.get().can_operate
    maker = make_user(is_staff=True)
    maker.user_permissions.add(Permission.objects.get(codename="add_apitoken"))
    client = Client()
    client.force_login(maker)
    _add(client, can_operate="on")
    assert not ApiToken.objects.get(created_by=maker).can_operate
