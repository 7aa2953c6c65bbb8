"""Apps and their egress through the API; every answer is held against the committed description."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse
from pytest_django import Settings

from egress.control import installation
from egress.control.errors import EgressError, NothingToRetry, TransitionConflict
from egress.control.models import App, Assignment, Event, Gateway, Wish
from tests.integration.portal import rows

pytestmark = pytest.mark.costly

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
        {
            "type": "AUTOASSIGN",
            "dedicated_ips": [],
            "state": "off",
            "error": None,
            "conditions": [],
            "on_outage": "reject",
            "simulated": False,
        },
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
        assert (status, egress["type"], egress["state"]) == (200, "AUTOASSIGN", "draining")
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


def test_repeating_the_wish_tries_again_what_failed(api: Api, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "error", by=crew.owner)

    for _ in range(2):
        status, egress = api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP"})
        assert (status, egress["state"], egress["error"]) == (200, "provisioning", None)

    assert Assignment.objects.count() == 1
    assert Event.objects.filter(subject="egress.retry").count() == 1


@pytest.mark.parametrize("error", [NothingToRetry, TransitionConflict])
def test_retry_that_another_request_forestalled_is_no_error(
    api: Api, crew: rows.Crew, app: App, monkeypatch: pytest.MonkeyPatch, error: type[EgressError]
) -> None:
    rows.bring(app, "error", by=crew.owner)

    def forestalled(**_: object) -> None:
        raise error

    monkeypatch.setattr("portal.api.views.egress_retry", forestalled)

    assert api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP"})[0] == 200


def test_giving_up_what_failed_retries_nothing(api: Api, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "error", by=crew.owner)

    status, egress = api("PUT", f"apps/{app.pk}/egress", {"type": "AUTOASSIGN"})

    assert (status, egress["type"]) == (200, "AUTOASSIGN")
    assert not Event.objects.filter(subject="egress.retry").exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "`type` is missing."),
        ({}, "`type` is missing."),
        ([], "The body isn't an object."),
        ('"DEDICATED_IP"', "The body isn't an object."),
        ("null", "The body isn't an object."),
        ({"type": "BOTH"}, "`type` isn't one that there is."),
        ({"type": None}, "`type` is null."),
        ({"type": {"a": 1}}, "`type` isn't one that there is."),
        ({"on_outage": "shared"}, "`type` is missing."),
        ({"type": "DEDICATED_IP", "on_outage": "open"}, "`on_outage` isn't one that there is."),
        ({"type": "DEDICATED_IP", "on_outage": None}, "`on_outage` is null."),
        ({"type": "DEDICATED_IP", "typ": 1, "é": 2}, 'The body holds what isn\'t known here: "typ", "\\u00e9".'),
        ('{"type": "DEDICATED_IP", "\\ud800": 1}', 'The body holds what isn\'t known here: "\\ud800".'),
    ],
)
def test_body_that_is_no_wish_is_refused_with_what_is_wanted(api: Api, app: App, body: object, words: str) -> None:
    status, error = api("PUT", f"apps/{app.pk}/egress", body)

    assert (status, error["code"]) == (400, "invalid")
    choices = '"reject" or "shared"'
    wanted = f'Send one object with `type`, "AUTOASSIGN" or "DEDICATED_IP", and, if you like, `on_outage`, {choices}.'
    assert error["message"] == f"{words} {wanted} Nothing was changed."
    assert error["details"]
    assert not Assignment.objects.exists()


def test_choice_for_an_outage_is_kept_until_another_is_sent(api: Api, app: App) -> None:
    status, egress = api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP", "on_outage": "shared"})
    assert (status, egress["on_outage"], egress["state"]) == (200, "shared", "provisioning")

    for kind in ("DEDICATED_IP", "AUTOASSIGN"):
        _, egress = api("PUT", f"apps/{app.pk}/egress", {"type": kind})
        assert egress["on_outage"] == "shared", "a program that doesn't know the choice must not wipe it"

    _, egress = api("PUT", f"apps/{app.pk}/egress", {"type": "AUTOASSIGN", "on_outage": "reject"})
    assert egress["on_outage"] == "reject"


def test_refused_wish_changes_no_part_of_it(api: Api, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "draining", by=crew.owner)

    status, _ = api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP", "on_outage": "shared"})

    assert status == 409
    assert App.objects.get().on_outage == "reject"


def test_many_unknown_keys_make_no_long_message(api: Api, app: App) -> None:
    _, error = api("PUT", f"apps/{app.pk}/egress", {f"{number:03}" + "x" * 100: 1 for number in range(100)})

    assert len(str(error["message"])) < 500


@pytest.mark.parametrize("body", ["{", "type=DEDICATED_IP", "[" * 10_000, '{"type": NaN}'])
def test_body_that_cannot_be_read_is_refused_with_an_example(api: Api, app: App, body: str) -> None:
    status, error = api("PUT", f"apps/{app.pk}/egress", body)

    assert (status, error["code"]) == (400, "parse_error")
    assert error["message"] == 'The body isn\'t JSON. Send an object such as {"type": "DEDICATED_IP"}.'
    assert not Assignment.objects.exists()


def test_body_far_larger_than_a_wish_is_refused(api: Api, app: App) -> None:
    status, error = api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP", "more": "x" * 20_000})

    assert (status, error["code"]) == (413, "too_large")
    assert "larger than 16384 bytes" in str(error["message"])
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


def test_a_wish_during_a_hold_is_noted_and_says_what_it_waits_for(api: Api, crew: rows.Crew, app: App) -> None:
    calm = rows.app(crew, "calm")
    rows.bring(calm, "active", by=crew.owner)
    installation.hold(reason="a backup was restored")

    status, egress = api("PUT", f"apps/{app.pk}/egress", {"type": "DEDICATED_IP"})

    waits = {"code": "stands_still", "message": installation.CHANGES_WAIT}
    assert (status, egress["state"], egress["error"]) == (200, "provisioning", waits)
    _, listed = api("GET", "apps/")
    assert {each["name"]: each["egress"]["error"] for each in listed["results"]} == {"calm": None, "shop-api": waits}
    installation.resume()
    assert api("GET", f"apps/{app.pk}/egress")[1]["error"] is None


def test_a_simulated_egress_is_marked(api: Api, app: App, settings: Settings) -> None:
    settings.SIMULATED = "no namespaces here"
    assert api("GET", f"apps/{app.pk}/egress")[1]["simulated"] is True


def conditions(egress: dict[str, object]) -> list[tuple[str, str, str]]:
    found = egress["conditions"]
    assert isinstance(found, list)
    return [(each["type"], each["status"], each["reason"]) for each in found]


@pytest.mark.parametrize(
    ("state", "shown", "expected"),
    [
        ("active", "active", [("Available", "True", "GatewayUp"), ("Redundant", "True", "BothGatewaysUp")]),
        ("degraded", "degraded", [("Available", "True", "GatewayUp"), ("Redundant", "False", "GatewayDown")]),
        ("lost", "degraded", [("Available", "True", "GatewayUp"), ("Redundant", "False", "GatewayLost")]),
        ("dark", "degraded", [("Available", "False", "GatewaysDown"), ("Redundant", "False", "GatewaysDown")]),
        ("provisioning", "provisioning", []),
        ("draining", "draining", []),
    ],
)
def test_conditions_say_what_is_so_and_why(
    api: Api, crew: rows.Crew, app: App, state: str, shown: str, expected: list[tuple[str, str, str]]
) -> None:
    rows.bring(app, state, by=crew.owner)

    _, egress = api("GET", f"apps/{app.pk}/egress")
    _, listed = api("GET", "apps/")

    assert (egress["state"], conditions(egress)) == (shown, expected)
    assert listed["results"][0]["egress"] == egress  # type: ignore[index]  # a list of objects


def test_maintenance_as_planned_is_no_degradation(api: Api, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    Gateway.objects.filter(slot=0).update(provisioning_status="draining")

    _, egress = api("GET", f"apps/{app.pk}/egress")

    assert egress["state"] == "active"
    assert conditions(egress)[1] == ("Redundant", "False", "Maintenance")
