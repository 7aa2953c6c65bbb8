"""The operators' part of the API: its doors, and what it does."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from egress.control.models import App, Gateway, GatewayStatus
from egress.control.models_rollouts import Rollout
from portal.accounts.models import ApiToken
from tests.integration.portal import rows
from tests.integration.portal.test_api_egress import DESCRIPTION

pytestmark = pytest.mark.costly
Api = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def openapi() -> OpenAPI:
    return OpenAPI.from_file_path(str(DESCRIPTION))


def caller(crew: rows.Crew, openapi: OpenAPI, **may: bool) -> Api:
    """Return what calls the API with a new token; every answer is held against the description."""
    _, token = ApiToken.issue(team=crew.team, name="fleet", created_by=crew.owner, **may)
    client = Client(headers={"Authorization": f"Token {token}"})

    def call(method: str, path: str, body: object = None) -> tuple[int, Any]:
        response = client.generic(method, f"/api/v1/operator/{path}", _json(body), content_type="application/json")
        if response.status_code != 405:
            asked = MockRequest("http://testserver", method.lower(), f"/api/v1/operator/{path}")
            openapi.validate_response(asked, MockResponse(response.content, status_code=response.status_code))
        return response.status_code, response.json()

    return call


def _json(body: object) -> str:
    import json

    return "" if body is None else json.dumps(body)


@pytest.fixture
def api(crew: rows.Crew, openapi: OpenAPI) -> Api:
    return caller(crew, openapi, can_operate=True)


@pytest.fixture
def pair(app: App, crew: rows.Crew) -> list[Gateway]:
    rows.bring(app, "active", by=crew.owner)
    return list(Gateway.objects.order_by("slot"))


def test_every_door_is_shut_to_customers_tokens(crew: rows.Crew, openapi: OpenAPI, pair: list[Gateway]) -> None:
    customer = caller(crew, openapi)
    looker = caller(crew, openapi, can_operate=True, can_write=False)
    gateway = f"gateways/{pair[0].pk}/"
    doors = [("GET", gateway), ("POST", f"{gateway}drain/"), ("GET", "rollouts/"), ("POST", "rollouts/")]
    doors += [("GET", "rollouts/1/"), ("POST", "rollouts/1/abort/")]
    for method, path in doors:
        status, error = customer(method, path, {} if method == "POST" else None)
        assert (status, error["code"]) == (403, "permission_denied")
        assert "isn't an operator's" in error["message"]
        if method == "POST":
            status, error = looker(method, path, {})
            assert (status, "only read" in error["message"]) == (403, True)
    assert Client().get("/api/v1/operator/rollouts/").status_code == 401
    assert looker("GET", gateway)[0] == 200
    assert not Rollout.objects.exists()
    assert set(Gateway.objects.values_list("provisioning_status", flat=True)) == {GatewayStatus.READY}


def test_a_gateway_is_drained_taken_back_and_rebooted(api: Api, pair: list[Gateway]) -> None:
    own = f"gateways/{pair[0].pk}"
    status, shown = api("POST", f"{own}/drain/")
    assert (status, shown["status"], shown["maintenance"]) == (200, "draining", "hold")
    status, error = api("POST", f"gateways/{pair[1].pk}/reboot/")
    assert (status, error["code"]) == (409, "peer_not_ready")
    assert api("POST", f"{own}/undrain/")[1]["status"] == "ready"
    assert api("POST", f"{own}/undrain/")[1]["code"] == "gateway_not_drained"
    assert api("POST", f"{own}/reboot/")[1]["maintenance"] == "reboot"
    assert api("GET", f"{own}/")[1]["status"] == "draining"
    assert api("POST", f"{own}/rebuild/")[1]["code"] == "gateway_busy"


@pytest.mark.parametrize("path", ["gateways/none/", f"gateways/{'0' * 8}-0000-4000-8000-{'0' * 12}/", "rollouts/99/"])
def test_what_does_not_exist_is_not_found(api: Api, db: None, path: str) -> None:
    assert api("GET", path)[1]["code"] == "not_found"


def test_a_rollout_is_started_watched_and_aborted_once(api: Api, crew: rows.Crew, pair: list[Gateway]) -> None:
    status, begun = api("POST", "rollouts/", {"cluster": crew.cluster.name, "kind": "reboot", "batch": 2})
    assert (status, begun["status"], begun["batch"]) == (201, "checking", 2)
    assert Rollout.objects.get().created_by == crew.owner
    assert api("POST", "rollouts/", {"cluster": crew.cluster.name})[1]["code"] == "rollout_under_way"
    assert [row["id"] for row in api("GET", "rollouts/")[1]["results"]] == [begun["id"]]
    own = f"rollouts/{begun['id']}/"
    assert api("POST", f"{own}pause/")[1]["code"] == "rollout_not_so"
    status, shown = api("GET", own)
    assert (status, shown["counts"]["waiting"], len(shown["gateways"])) == (200, 2, 2)
    assert api("POST", f"{own}abort/")[1]["status"] == "aborted"
    status, error = api("POST", f"{own}abort/")
    assert (status, "It is over" in error["message"]) == (409, True)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"cluster": "nowhere"}, "nowhere"),
        ({"batch": 0}, "greater"),
        ({"batch": 51}, "less"),
        ({"kind": "hold"}, "hold"),
        ({"kind": "rebuild", "image": "../etc"}, "can't be an image"),
        ({"imagge": "x"}, "imagge"),
        ({"image": "x" * 101}, "100"),
    ],
)
def test_a_rollout_that_can_not_be_is_refused(api: Api, crew: rows.Crew, wrong: dict[str, Any], word: str) -> None:
    status, error = api("POST", "rollouts/", {"cluster": crew.cluster.name, **wrong})
    assert (status, word in error["message"]) == (400, True), error
    assert not Rollout.objects.exists()
