"""Apps and their egress through the API; every answer is held against the committed description."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from egress.control.models import App, Assignment, Gateway, Wish
from tests.integration.portal import rows

DESCRIPTION = Path(__file__).parents[3] / "docs" / "openapi.yaml"


@pytest.fixture(scope="session")
def openapi() -> OpenAPI:
    return OpenAPI.from_file_path(str(DESCRIPTION))


@pytest.fixture
def api(crew: rows.Crew, openapi: OpenAPI) -> Callable[..., tuple[int, dict[str, object]]]:
    client = Client(headers={"Authorization": f"Token {rows.token(crew)[1]}"})

    def call(method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        text = body if isinstance(body, str) else json.dumps(body)
        response = client.generic(method, f"/api/v1/{path}", text, content_type="application/json")
        asked = MockRequest("http://testserver", method.lower(), f"/api/v1/{path.partition('?')[0]}")
        openapi.validate_response(asked, MockResponse(response.content, status_code=response.status_code))
        return response.status_code, response.json()

    return call


Api = Callable[..., tuple[int, dict[str, object]]]


def test_description_is_current(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml"))

    current = (tmp_path / "openapi.yaml").read_text()

    assert current == DESCRIPTION.read_text(), "run: python manage.py spectacular --file docs/openapi.yaml"


def test_app_without_dedicated_egress(api: Api, app: App) -> None:
    assert api("GET", f"apps/{app.pk}/egress") == (
        200,
        {"type": "AUTOASSIGN", "dedicated_ips": [], "state": "off", "error": None},
    )


def test_enabling_answers_with_two_addresses_on_their_way(api: Api, app: App) -> None:
    status, egress = api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP"})

    assert status == 200
    assert egress["type"] == "DEDICATED_IP"
    assert egress["state"] == "provisioning"
    gateways = [str(pk) for pk in Gateway.objects.order_by("slot").values_list("pk", flat=True)]
    assert egress["dedicated_ips"] == [{"id": pk, "ip": None, "status": "ASSIGNING"} for pk in gateways]


def test_repeating_a_wish_changes_nothing(api: Api, app: App) -> None:
    first = api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP"})

    assert api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP"}) == first
    assert Assignment.objects.count() == 1


def test_active_pair_is_assigned(api: Api, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)

    _, egress = api("GET", f"apps/{app.pk}/egress")

    assert egress["state"] == "active"
    ips = egress["dedicated_ips"]
    assert isinstance(ips, list)
    assert [(ip["ip"], ip["status"]) for ip in ips] == [(address, "ASSIGNED") for address in rows.ADDRESSES]


def test_disabling_and_disabling_again(api: Api, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)

    for _ in range(2):
        status, egress = api("PUT", f"apps/{app.pk}/egress", {"type": "AUTOASSIGN"})
        assert (status, egress["type"]) == (200, "AUTOASSIGN")
    assert Assignment.objects.get().wish == Wish.DISABLED


def test_disabling_what_is_off_is_no_error(api: Api, app: App) -> None:
    status, egress = api("PUT", f"apps/{app.pk}/egress", {"type": "AUTOASSIGN"})

    assert (status, egress["state"]) == (200, "off")


def test_enabling_while_disabling_is_a_conflict(api: Api, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "draining", by=crew.owner)

    status, error = api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP"})

    assert (status, error["code"]) == (409, "still_disabling")
    assert Assignment.objects.get().wish == Wish.DISABLED


def test_failure_is_told_with_a_code(api: Api, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "error", by=crew.owner)

    _, egress = api("GET", f"apps/{app.pk}/egress")

    assert egress["state"] == "error"
    assert egress["error"] == {"code": "provider_no_capacity", "message": rows.NO_ROOM}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "parse_error"),
        ("", "invalid"),
        ({}, "invalid"),
        ([], "invalid"),
        ("null", "invalid"),
        ({"type": "BOTH"}, "invalid"),
        ({"type": None}, "invalid"),
        ({"type": {"a": 1}}, "invalid"),
    ],
)
def test_bad_bodies_are_refused_in_one_shape(api: Api, app: App, body: object, code: str) -> None:
    status, error = api("PUT", f"apps/{app.pk}/egress", body)

    assert (status, error["code"]) == (400, code)
    assert error["message"]
    assert not Assignment.objects.exists()


def test_list_shows_the_teams_apps_with_their_egress(api: Api, crew: rows.Crew, app: App) -> None:
    rows.app(crew, "blog")
    rows.bring(app, "active", by=crew.owner)

    status, page = api("GET", "apps/")

    assert (status, page["count"]) == (200, 2)
    results = page["results"]
    assert isinstance(results, list)
    assert [(row["name"], row["egress"]["state"]) for row in results] == [("blog", "off"), ("shop-api", "active")]
    assert api("GET", f"apps/{app.pk}/") == (200, results[1])


def test_pages_are_bounded(api: Api, crew: rows.Crew) -> None:
    for number in range(201):
        rows.app(crew, f"app-{number:03}")

    _, page = api("GET", "apps/?page_size=100000")

    assert isinstance(page["results"], list)
    assert len(page["results"]) == 200
    assert page["next"]
    assert api("GET", "apps/?page=99")[0] == 404


@pytest.mark.parametrize("path", ["apps", "apps/", "apps/{id}", "apps/{id}/", "apps/{id}/egress", "apps/{id}/egress/"])
def test_slash_at_the_end_is_ones_own_choice(crew: rows.Crew, app: App, path: str) -> None:
    client = Client(headers={"Authorization": f"Token {rows.token(crew)[1]}"})

    assert client.get(f"/api/v1/{path.format(id=app.pk)}").status_code == 200
