"""Who may use the API, and how errors look there."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client

from egress.control import clock
from egress.control.models import App, Assignment
from portal.accounts.models import ApiToken, Team
from portal.api.throttling import TokenThrottle
from tests.integration.portal import rows

pytestmark = pytest.mark.costly

DEDICATED = {"type": "DEDICATED_IP"}


def caller(token: str) -> Client:
    return Client(headers={"Authorization": f"Token {token}"})


def put(client: Client, app: App, body: object) -> tuple[int, dict[str, object]]:
    response = client.put(f"/api/v1/apps/{app.pk}/egress", body, content_type="application/json")
    return response.status_code, response.json()


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Token"}, {"Authorization": "Token sgt_wrong"}, {"Authorization": "Bearer x"}],
)
@pytest.mark.parametrize("method", ["get", "put"])
def test_stranger_is_told_to_bring_a_token(app: App, headers: dict[str, str], method: str) -> None:
    for path in ("/api/v1/apps/", f"/api/v1/apps/{app.pk}/", f"/api/v1/apps/{app.pk}/egress"):
        response = getattr(Client(headers=headers), method)(path)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Token"
        assert set(response.json()) == {"code", "message", "details"}
        told = "make a new one" if "sgt_" in str(headers) else "Authorization: Token YOUR_TOKEN"
        assert told in response.json()["message"]


def test_session_of_a_browser_is_no_key(app: App, crew: rows.Crew) -> None:
    client = Client()
    client.force_login(crew.owner)

    assert client.get("/api/v1/apps/").status_code == 401


def test_revoked_token_is_refused(app: App, crew: rows.Crew) -> None:
    row, token = rows.token(crew)
    assert caller(token).get("/api/v1/apps/").status_code == 200
    row.revoked_at = clock.now()
    row.save()

    response = caller(token).get("/api/v1/apps/")

    assert response.status_code == 401
    assert response.json()["code"] == "authentication_failed"


def test_reading_token_reads_and_may_not_write(app: App, crew: rows.Crew) -> None:
    client = caller(rows.token(crew, can_write=False)[1])

    assert client.get(f"/api/v1/apps/{app.pk}/egress").status_code == 200
    status, error = put(client, app, DEDICATED)
    assert (status, error["code"]) == (403, "permission_denied")
    assert "only read" in str(error["message"])
    assert not Assignment.objects.exists()


def test_other_teams_app_is_not_found(app: App, crew: rows.Crew) -> None:
    other = rows.app(crew, "secret", team=Team.objects.get(slug="elsewhere"))
    client = caller(rows.token(crew)[1])

    for response in (
        client.get(f"/api/v1/apps/{other.pk}/"),
        client.get(f"/api/v1/apps/{other.pk}/egress"),
        client.put(f"/api/v1/apps/{other.pk}/egress", DEDICATED, content_type="application/json"),
    ):
        assert response.status_code == 404
        assert response.json()["code"] == "app_unknown"
    assert not Assignment.objects.exists()
    assert b"secret" not in client.get("/api/v1/apps/").content


@pytest.mark.parametrize("path", ["apps/not-an-id/", "apps/00000000-0000-4000-8000-000000000000/egress", "nowhere", ""])
def test_unknown_addresses_answer_in_the_same_shape(app: App, crew: rows.Crew, path: str) -> None:
    response = caller(rows.token(crew)[1]).get(f"/api/v1/{path}")

    assert response.status_code == 404
    assert set(response.json()) == {"code", "message", "details"}


def test_wrong_method_answers_in_the_same_shape(app: App, crew: rows.Crew) -> None:
    response = caller(rows.token(crew)[1]).delete(f"/api/v1/apps/{app.pk}/egress")

    assert response.status_code == 405
    error = response.json()
    assert error["code"] == "method_not_allowed"
    assert error["message"] == "DELETE doesn't work at this address. It takes GET, PUT."


def test_body_that_is_no_json_is_refused_with_the_header_to_send(app: App, crew: rows.Crew) -> None:
    client = caller(rows.token(crew)[1])

    response = client.put(f"/api/v1/apps/{app.pk}/egress", "<xml/>", content_type="text/xml")

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert "Content-Type: application/json" in response.json()["message"]
    assert not Assignment.objects.exists()


def test_who_wants_no_json_is_told_that_there_is_nothing_else(app: App, crew: rows.Crew) -> None:
    response = caller(rows.token(crew)[1]).get("/api/v1/apps/", headers={"Accept": "text/xml"})

    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")
    assert "Accept: application/json" in response.json()["message"]


def test_page_beyond_the_last_is_told_where_to_begin(app: App, crew: rows.Crew) -> None:
    response = caller(rows.token(crew)[1]).get("/api/v1/apps/?page=99")

    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert "?page=1" in response.json()["message"]


def test_use_is_noted_at_most_once_a_minute(app: App, crew: rows.Crew) -> None:
    row, token = rows.token(crew)
    caller(token).get("/api/v1/apps/")
    first = ApiToken.objects.get(pk=row.pk).last_used_at
    caller(token).get("/api/v1/apps/")
    assert ApiToken.objects.get(pk=row.pk).last_used_at == first

    ApiToken.objects.filter(pk=row.pk).update(last_used_at=clock.now() - timedelta(minutes=2))
    caller(token).get("/api/v1/apps/")
    noted = ApiToken.objects.get(pk=row.pk).last_used_at
    assert noted is not None
    assert first is not None
    assert noted > first


def test_one_tokens_hurry_stays_its_own(app: App, crew: rows.Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear()
    monkeypatch.setattr(TokenThrottle, "THROTTLE_RATES", {"token": "2/min"})
    hasty, calm = caller(rows.token(crew)[1]), caller(rows.token(crew)[1])

    answers = [hasty.get("/api/v1/apps/") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert answers[-1].json()["code"] == "throttled"
    assert f"Try again in {answers[-1].headers['Retry-After']} s." in answers[-1].json()["message"]
    assert calm.get("/api/v1/apps/").status_code == 200


def test_unforeseen_failure_is_told_without_its_inside(
    app: App, crew: rows.Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr("portal.api.views.egress_view", fail)

    response = caller(rows.token(crew)[1]).get(f"/api/v1/apps/{app.pk}/")

    assert response.status_code == 500
    assert response.json()["code"] == "internal"
    assert b"secret inside" not in response.content
