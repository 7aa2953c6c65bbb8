"""The check itself: what deviates from DigitalOcean's description is noticed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openapi_core.exceptions import OpenAPIError

from egress.lab.cloud.requests import parse_create, parse_json
from egress.lab.cloud.state import CloudLayout, CloudState
from egress.lab.cloud.views import droplet_view
from tests.contract.cloudlab import Exchange

HEADERS = {"authorization": "Bearer x", "content-type": "application/json", "user-agent": "azsdk-python-pydo/0.44"}
DROPLET = b'{"name": "a", "size": "s-1vcpu-1gb", "image": "debian-12-x64"}'


def answer(**changes: Any) -> Exchange:
    ((droplet, _),) = CloudState(CloudLayout()).create(parse_create(parse_json(DROPLET)), 0)
    body = json.dumps({"droplet": droplet_view(droplet) | changes}).encode()
    headers = {"content-type": "application/json"}
    return Exchange("get", "/v2/droplets/1", "", HEADERS, status=200, answer_headers=headers, answer=body)


def test_a_right_answer_passes(check: Callable[[Exchange], None]) -> None:
    check(answer())


@pytest.mark.parametrize(
    "changes",
    [{"id": "1"}, {"status": "melted"}, {"networks": []}, {"size": {}}, {"memory": 1001}, {"created_at": "now"}],
)
def test_a_wrong_answer_is_noticed(check: Callable[[Exchange], None], changes: dict[str, Any]) -> None:
    with pytest.raises(OpenAPIError):
        check(answer(**changes))


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("get", "/v2/droplets", "per_page=500", b""),
        ("get", "/v2/droplets/0", "", b""),
        ("post", "/v2/droplets", "", b'{"name": "a"}'),
        ("post", "/v2/droplets", "", DROPLET.replace(b"}", b', "user_data": 5}')),
        ("post", "/v2/droplets/1/actions", "", b'{"type": "explode"}'),
        ("get", "/v2/dropletz", "", b""),
    ],
)
def test_a_wrong_request_of_pydo_is_noticed(
    check: Callable[[Exchange], None], method: str, path: str, query: str, body: bytes
) -> None:
    with pytest.raises(OpenAPIError):
        check(Exchange(method, path, query, HEADERS, body))
