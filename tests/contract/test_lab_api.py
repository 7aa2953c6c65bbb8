"""The lab's API beyond what our provider asks of it: what operators use, and what clients get wrong."""

import contextlib
from collections.abc import Callable
from typing import Any

import pydo
import pytest

from egress.lab.cloud.state import CloudLayout
from tests.contract.cloudlab import TOKEN, CloudLab, wait_until

DROPLET = {"name": "web-1", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64"}


def create(lab: CloudLab, **other: Any) -> dict[str, Any]:
    answer = lab.request("POST", "/v2/droplets", DROPLET | other)
    assert answer.status == 202, answer.body
    droplet: dict[str, Any] = answer.body["droplet"]
    return droplet


def refusal(lab: CloudLab, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, str]:
    answer = lab.request(method, path, body, **options)
    assert set(answer.body) == {"id", "message"}
    return answer.status, answer.body["id"]


def test_a_creation_links_to_its_action(lab: CloudLab) -> None:
    answer = lab.request("POST", "/v2/droplets", DROPLET)

    (link,) = answer.body["links"]["actions"]
    assert link["href"] == f"{lab.url}/v2/actions/{link['id']}"
    lab.settle()
    action = lab.request("GET", f"/v2/actions/{link['id']}").body["action"]
    assert (action["type"], action["status"], action["resource_id"]) == (
        "create",
        "completed",
        answer.body["droplet"]["id"],
    )


def test_several_names_make_several_droplets(lab: CloudLab) -> None:
    body = {name: value for name, value in DROPLET.items() if name != "name"} | {"names": ["a", "b"]}

    answer = lab.request("POST", "/v2/droplets", body)

    assert [droplet["name"] for droplet in answer.body["droplets"]] == ["a", "b"]
    assert len(answer.body["links"]["actions"]) == 2


def test_several_names_are_all_made_or_none(serve: Callable[..., CloudLab]) -> None:
    lab = serve(layout=CloudLayout(droplet_limit=1))
    body = {name: value for name, value in DROPLET.items() if name != "name"} | {"names": ["a", "b"]}

    assert refusal(lab, "POST", "/v2/droplets", body) == (422, "unprocessable_entity")
    assert lab.state.droplets() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "under_score"},
        {"name": "a" * 256},
        {"name": 7},
        {"names": ["both"]},
        {"size": None},
        {"size": "huge"},
        {"image": 1.5},
        {"image": True},
        {"image": "unknown"},
        {"region": "atlantis"},
        {"user_data": "x" * 65_537},
        {"user_data": ["x"]},
        {"user_data": "\ud800"},
        {"tags": "web"},
        {"tags": ["no spaces"]},
        {"tags": ["x"] * 101},
        {"vpc_uuid": "unknown"},
        {"vpc_uuid": 5},
    ],
)
def test_a_wrong_creation_is_refused_and_makes_nothing(lab: CloudLab, wrong: dict[str, Any]) -> None:
    assert refusal(lab, "POST", "/v2/droplets", DROPLET | wrong) == (422, "unprocessable_entity")
    assert lab.state.droplets() == []


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(lab: CloudLab, raw: bytes) -> None:
    assert refusal(lab, "POST", "/v2/droplets", raw=raw) == (400, "bad_request")


def test_a_body_that_is_too_large_is_refused(lab: CloudLab) -> None:
    assert refusal(lab, "POST", "/v2/droplets", raw=b"x" * 600_000) == (413, "request_too_large")


def test_64_kib_of_user_data_pass_however_they_are_escaped(lab: CloudLab) -> None:
    user_data = "\x01" * 65_536

    droplet = create(lab, user_data=user_data)

    stored = lab.state.droplet(droplet["id"])
    assert stored is not None
    assert stored.user_data == user_data


def test_an_image_may_be_named_by_number(lab: CloudLab) -> None:
    assert create(lab, image=155133621)["image"]["slug"] == "ubuntu-24-04-x64"


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN.upper()])
def test_without_the_token_nothing_is_answered(lab: CloudLab, token: str | None) -> None:
    assert refusal(lab, "GET", "/v2/account", token=token) == (401, "unauthorized")


def test_answers_count_down_the_rate_limit(lab: CloudLab) -> None:
    first, second = (lab.request("GET", "/v2/account").headers for _ in range(2))

    assert (first["ratelimit-limit"], first["ratelimit-remaining"]) == ("5000", "4999")
    assert second["ratelimit-remaining"] == "4998"
    assert first["ratelimit-reset"] == second["ratelimit-reset"]


def test_the_burst_limit_says_when_to_come_back(serve: Callable[..., CloudLab]) -> None:
    lab = serve(requests_per_minute=1, clock=lambda: 1_000_000.0)
    lab.request("GET", "/v2/account")

    answer = lab.request("GET", "/v2/account")

    assert (answer.status, answer.headers["retry-after"]) == (429, "60")
    assert answer.body["id"] == "too_many_requests"


def test_an_injected_429_says_when_to_come_back(lab: CloudLab) -> None:
    lab.faults.inject("rate_limited", "list", retry_after_seconds=9)

    answer = lab.request("GET", "/v2/droplets")

    assert (answer.status, answer.headers["retry-after"]) == (429, "9")


def test_pages_link_to_their_neighbours_and_keep_the_query(lab: CloudLab) -> None:
    for number in range(5):
        create(lab, name=f"web-{number}", tags=["web"])

    middle = lab.request("GET", "/v2/droplets?tag_name=web&per_page=2&page=2").body

    assert [droplet["name"] for droplet in middle["droplets"]] == ["web-2", "web-1"]
    assert middle["meta"] == {"total": 5}
    pages = middle["links"]["pages"]
    assert {name: url.removeprefix(lab.url) for name, url in pages.items()} == {
        "first": "/v2/droplets?page=1&tag_name=web&per_page=2",
        "prev": "/v2/droplets?page=1&tag_name=web&per_page=2",
        "next": "/v2/droplets?page=3&tag_name=web&per_page=2",
        "last": "/v2/droplets?page=3&tag_name=web&per_page=2",
    }
    assert lab.request("GET", "/v2/droplets?page=9").body["droplets"] == []


@pytest.mark.parametrize(
    "query", ["per_page=0", "per_page=201", "per_page=x", "page=0", "page=-1", "page=%C2%B2", "page="]
)
def test_a_wrong_page_is_refused(lab: CloudLab, query: str) -> None:
    assert refusal(lab, "GET", f"/v2/droplets?{query}") == (422, "unprocessable_entity")


def test_droplets_are_found_by_name(lab: CloudLab) -> None:
    create(lab)
    create(lab, name="web-2")

    assert [droplet["name"] for droplet in lab.request("GET", "/v2/droplets?name=web-2").body["droplets"]] == ["web-2"]


def test_destroying_by_tag_is_refused(lab: CloudLab) -> None:
    create(lab, tags=["web"])
    lab.settle()

    assert refusal(lab, "DELETE", "/v2/droplets?tag_name=web") == (403, "forbidden")
    assert len(lab.state.droplets()) == 1


@pytest.mark.parametrize("droplet_id", ["1", "x", "0", "-1", "9" * 30, "9" * 5000, "%C2%B2"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_droplet_is_not_found(lab: CloudLab, method: str, droplet_id: str) -> None:
    assert refusal(lab, method, f"/v2/droplets/{droplet_id}") == (404, "not_found")


def test_an_unknown_path_and_a_wrong_method_get_json(lab: CloudLab) -> None:
    assert refusal(lab, "GET", "/v2/nowhere") == (404, "not_found")
    assert refusal(lab, "PUT", "/v2/nowhere") == (404, "not_found")


@pytest.mark.parametrize(
    "body", [{}, {"type": "explode"}, {"type": []}, {"type": "rebuild"}, {"type": "rebuild", "image": "x"}]
)
def test_a_wrong_action_is_refused(lab: CloudLab, body: dict[str, Any]) -> None:
    droplet = create(lab)
    lab.settle()

    path = f"/v2/droplets/{droplet['id']}/actions"
    assert refusal(lab, "POST", path, body) == (422, "unprocessable_entity")


@pytest.mark.parametrize(("action", "status"), [("shutdown", "off"), ("reboot", "active")])
def test_a_droplet_can_be_shut_down_and_rebooted(lab: CloudLab, action: str, status: str) -> None:
    droplet = create(lab)
    lab.settle()

    answer = lab.request("POST", f"/v2/droplets/{droplet['id']}/actions", {"type": action})

    assert (answer.status, answer.body["action"]["status"]) == (201, "in-progress")
    lab.settle()
    assert lab.request("GET", f"/v2/droplets/{droplet['id']}").body["droplet"]["status"] == status


def test_an_action_is_found_only_under_its_own_droplet(lab: CloudLab) -> None:
    mine, other = create(lab), create(lab, name="web-2")
    lab.settle()
    action = lab.request("POST", f"/v2/droplets/{mine['id']}/actions", {"type": "reboot"}).body["action"]

    assert lab.request("GET", f"/v2/droplets/{mine['id']}/actions/{action['id']}").status == 200
    assert refusal(lab, "GET", f"/v2/droplets/{other['id']}/actions/{action['id']}") == (404, "not_found")
    assert refusal(lab, "GET", "/v2/actions/1") == (404, "not_found")


def test_a_failed_boot_shows_as_an_errored_action(lab: CloudLab) -> None:
    lab.hypervisor.fail.add("boot")
    answer = lab.request("POST", "/v2/droplets", DROPLET)
    lab.settle()

    action = lab.request("GET", f"/v2/actions/{answer.body['links']['actions'][0]['id']}").body["action"]
    droplet = lab.request("GET", f"/v2/droplets/{answer.body['droplet']['id']}").body["droplet"]
    assert (action["status"], droplet["status"]) == ("errored", "new")
    assert lab.request("DELETE", f"/v2/droplets/{droplet['id']}").status == 204


def test_a_boot_that_hangs_is_given_up(serve: Callable[..., CloudLab]) -> None:
    lab = serve(work_timeout_seconds=0.2)
    lab.hypervisor.held.clear()

    create(lab)

    lab.settle()
    assert lab.state.droplets()[0].status == "new"


def test_a_bug_in_the_hypervisor_ends_the_action(lab: CloudLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.hypervisor, "boot", _explode)

    create(lab)

    lab.settle()
    assert lab.state.droplets()[0].status == "new"


async def _explode(*_: object) -> None:
    raise RuntimeError("a bug")


def test_addresses_stay_taken_while_a_destruction_fails(lab: CloudLab) -> None:
    lab.hypervisor.fail.add("destroy")
    droplet = create(lab)
    lab.settle()
    free = len(lab.state._public)

    assert lab.request("DELETE", f"/v2/droplets/{droplet['id']}").status == 204

    wait_until(lambda: lab.hypervisor.calls.count(("destroy", droplet["id"])) == 3)
    assert len(lab.state._public) == free


def test_an_address_is_not_given_to_the_next_droplet_at_once(lab: CloudLab) -> None:
    first = create(lab)
    lab.settle()
    address = lab.state.droplets()[0].public_address
    lab.request("DELETE", f"/v2/droplets/{first['id']}")
    wait_until(lambda: not lab.hypervisor.power)

    create(lab)

    assert lab.state.droplets()[0].public_address != address


def test_neighbours_share_a_host(serve: Callable[..., CloudLab]) -> None:
    lab = serve(layout=CloudLayout(hosts=2))
    first, second, third = (create(lab, name=f"web-{number}")["id"] for number in range(3))

    neighbours = lab.request("GET", f"/v2/droplets/{first}/neighbors").body["droplets"]

    assert [droplet["id"] for droplet in neighbours] == [third]
    assert lab.request("GET", f"/v2/droplets/{second}/neighbors").body["droplets"] == []
    assert lab.request("GET", "/v2/reports/droplet_neighbors_ids").body == {"neighbor_ids": [[third, first]]}


def test_tags_are_counted(lab: CloudLab) -> None:
    create(lab, tags=["web", "env:prod"])
    create(lab, name="web-2", tags=["web"])

    tags = lab.request("GET", "/v2/tags").body["tags"]

    assert [(tag["name"], tag["resources"]["count"]) for tag in tags] == [("env:prod", 1), ("web", 2)]


def test_pydo_reads_what_operators_ask_for(lab: CloudLab) -> None:
    droplet_id = create(lab, tags=["web"])["id"]
    with pydo.Client(TOKEN, endpoint=lab.url, connection_verify=str(lab.certificates.ca_file)) as client:
        assert client.account.get()["account"]["droplet_limit"] == 200
        assert client.tags.list()["tags"][0]["name"] == "web"
        assert client.droplets.list_neighbors(droplet_id)["droplets"] == []
        assert client.droplets.list_neighbors_ids() == {"neighbor_ids": []}
        assert client.actions.get(36_804_001)["action"]["type"] == "create"
        assert client.droplets.get(1)["id"] == "not_found"


def test_a_client_that_leaves_in_the_middle_of_its_request_harms_nobody(lab: CloudLab) -> None:
    import socket
    import ssl
    from urllib.parse import urlsplit

    address = urlsplit(lab.url)
    context = ssl.create_default_context(cafile=lab.certificates.ca_file)
    with (
        socket.create_connection((address.hostname, address.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        contextlib.suppress(OSError),
    ):
        head = f"POST /v2/droplets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b"{")

    assert lab.request("GET", "/v2/account").status == 200
    assert lab.state.droplets() == []
