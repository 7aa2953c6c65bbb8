"""What goes wrong gets a clear error that says what to do, in page and API, and leaves state as it was."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from egress.lab.ca import CONTROL_PLANE_ADDRESS
from tests.e2e.system import NODE_NAMES, SHARED, System, wait_for
from tests.e2e.visitor import Visitor

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP, OTHER = "docs-site", "mail-worker"
NOT_THERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def _no_fault_is_left(system: System) -> Iterator[None]:
    yield
    system.lab.faults_clear()
    if system.egress(APP)["state"] != "off":
        system.disable(APP)


def wait_for_no_droplets(system: System) -> None:
    wait_for("the cloud has destroyed what was deleted", lambda: not system.droplets())


@pytest.fixture(scope="module")
def customer(system: System) -> Visitor:
    return Visitor(system.url).log_in(system.seed["customer"], system.seed["password"])


def page_of(system: System, app: str) -> str:
    return f"/apps/{system.seed['apps'][app]}/"


def wait_for_error(system: System, app: str) -> dict[str, Any]:
    """Enable, and wait until that has failed; returns what the API says."""

    def failed() -> dict[str, Any] | None:
        egress = system.egress(app)
        return egress if egress["state"] == "error" else None

    status, body = system.switch(app, "DEDICATED_IP")
    assert status in {200, 202}, body
    return wait_for(f"enabling {app} fails", failed)


# --- the provider ----------------------------------------------------------------------------------------------------


def test_a_cluster_without_capacity(system: System, customer: Visitor) -> None:
    # There is room for one gateway, and none for the second.
    system.lab.fault("slow", operation="create", delay_seconds=0)
    system.lab.fault("no_capacity", operation="create", count=1_000)
    egress = wait_for_error(system, APP)
    assert egress["error"]["code"] == "provider_no_capacity"
    assert "no room for new gateways" in egress["error"]["message"]
    status, page = customer.get(page_of(system, APP))
    assert (status, egress["error"]["message"] in page, "Try again" in page) == (200, True, True)
    assert system.seen_from_all_nodes(APP, "tcp", 5) == SHARED
    system.disable(APP)
    wait_for_no_droplets(system)


def test_a_refused_token_and_a_retry_once_it_is_renewed(system: System, customer: Visitor) -> None:
    system.lab.fault("token_refused", count=1_000)
    egress = wait_for_error(system, APP)
    assert egress["error"]["code"] == "provider_access_refused"
    assert "access to the cloud provider was refused" in egress["error"]["message"]
    assert egress["error"]["message"] in customer.get(page_of(system, APP))[1]
    assert system.droplets() == []
    assert system.seen_from_all_nodes(APP, "tcp", 5) == SHARED
    system.lab.faults_clear()
    status, _ = customer.post(f"{page_of(system, APP)}egress/retry/", page=page_of(system, APP))
    assert status == 200
    wait_for("it goes on", lambda: system.egress(APP)["state"] != "error")
    addresses = system.wait_active(APP)
    assert system.egress(APP)["error"] is None
    assert len(system.droplets()) == 2
    system.check_pair(APP, "tcp", 10, addresses)
    status, text = customer.post(f"{page_of(system, APP)}egress/retry/", page=page_of(system, APP))
    assert (status, "nothing to retry" in text) == (409, True)
    system.disable(APP)
    wait_for_no_droplets(system)


# --- the customer ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strangers_app(system: System) -> Iterator[str]:
    """The id of another team's app."""
    make = """
from egress.control.models import App, Cluster
from portal.accounts.models import Team
team = Team.objects.create(name="Strangers", slug="strangers")
print(App.objects.create(team=team, cluster=Cluster.objects.get(), name="secret", namespace="secret").pk)
"""
    yield system.stack.manage("shell", "--no-imports", "-c", make).strip()
    remove = """
from egress.control.models import App
from portal.accounts.models import Team
App.objects.filter(team__slug="strangers").delete()
Team.objects.filter(slug="strangers").delete()
"""
    system.stack.manage("shell", "--no-imports", "-c", remove)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_unknown_app_and_a_strangers_look_the_same(system: System, strangers_app: str, method: str) -> None:
    body = {"type": "DEDICATED_IP"} if method == "PUT" else None
    answers = [system.api(method, f"apps/{app}/egress", body) for app in (NOT_THERE, strangers_app)]
    assert [(status, answer["code"]) for status, answer in answers] == [(404, "app_unknown")] * 2
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"DEDICATED_IP"', "application/json", 400),
        (b"null", "application/json", 400),
        (b"{}", "application/json", 400),
        (b'{"type": 1}', "application/json", 400),
        (b'{"type": null}', "application/json", 400),
        (b'{"type": "dedicated"}', "application/json", 400),
        (b'{"type": ["DEDICATED_IP"]}', "application/json", 400),
        (b"type=DEDICATED_IP", "application/x-www-form-urlencoded", 415),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_that_is_no_wish_changes_nothing(system: System, body: bytes, content_type: str, status: int) -> None:
    path = f"apps/{system.seed['apps'][APP]}/egress"
    answered, error = system.api("PUT", path, body, content_type=content_type)
    assert answered == status, error
    assert {"code", "message", "details"} <= error.keys()
    assert error["message"]
    assert system.egress(APP)["state"] == "off"


@dataclass(frozen=True)
class Hurried:
    """What a customer got who asked for the same eight times at once."""

    answers: list[tuple[int, Any]]
    addresses: set[str]


@pytest.fixture(scope="module")
def hurried(system: System) -> Iterator[Hurried]:
    """OTHER with dedicated egress."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: system.switch(OTHER, "DEDICATED_IP"), range(8)))
    yield Hurried(answers, system.wait_active(OTHER))
    system.disable(OTHER)
    wait_for_no_droplets(system)


def test_enabling_many_times_at_once_makes_one_pair(system: System, hurried: Hurried) -> None:
    assert {status for status, _ in hurried.answers} == {200}
    assert len(system.droplets()) == 2
    system.check_pair(OTHER, "tcp", 10, hurried.addresses)


# --- agents ----------------------------------------------------------------------------------------------------------

#: Posts messages over TLS and prints status and body of each, as a line of JSON; a message's content is repeated.
POST = """
import http.client, json, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
for verb, token, content, times in json.loads(sys.argv[3]):
    connection = http.client.HTTPSConnection(sys.argv[1], timeout=20, context=context)
    headers = {"Authorization": token} if token else {}
    try:
        connection.request("POST", "/agent/v1/" + verb, (content * times).encode("latin-1"), headers)
    except OSError:
        pass  # refused before all of it was sent: the answer is there
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode()]))
"""
JOIN = '{"name": "n", "private_address": "10.110.0.99", "boot_id": "b", "agent_version": "1"}'
POLL = '{"epoch": "", "applied_revision": 0, "wait_seconds": 0}'
REPORT = '{"boot_id": "b", "agent_version": "1", "dataplane": "ok"}'
ENROL = f'{{"gateway_id": "{NOT_THERE}", "boot_id": "b", "agent_version": "1"}}'
WRONG = "Bearer sgn_this-is-no-credential-of-anybody"
#: (verb, Authorization, content, how often it is repeated) and the status and code that it gets.
MESSAGES = [
    (("nodes/join", WRONG, JOIN, 1), (401, "unauthorized")),
    (("nodes/join", "", JOIN, 1), (401, "unauthorized")),
    (("nodes/join", "Basic c2VjcmV0", JOIN, 1), (401, "unauthorized")),
    (("nodes/sync", WRONG, POLL, 1), (401, "unauthorized")),
    (("nodes/report", WRONG, REPORT, 1), (401, "unauthorized")),
    (("gateways/enrol", WRONG, ENROL, 1), (401, "unauthorized")),
    (("gateways/sync", WRONG, '{"applied_revision": 0, "wait_seconds": 0}', 1), (401, "unauthorized")),
    (("nodes/sync", WRONG, "", 1), (400, "malformed_message")),
    (("nodes/sync", WRONG, "\xff\x00", 1), (400, "malformed_message")),
    (("nodes/sync", WRONG, "[]", 1), (400, "malformed_message")),
    (("nodes/sync", WRONG, "[", 100_000), (400, "malformed_message")),
    (("nodes/sync", WRONG, POLL.replace('"wait_seconds": 0', '"wait_seconds": 9999'), 1), (400, "malformed_message")),
    (("nodes/sync", WRONG, POLL.replace('"applied_revision": 0', '"applied_revision": -1'), 1),
     (400, "malformed_message")),
    (("nodes/sync", WRONG, POLL.replace("0", '"0"'), 1), (400, "malformed_message")),
    (("nodes/join", WRONG, JOIN.replace("10.110.0.99", "10.110.0.999"), 1), (400, "malformed_message")),
    (("nodes/sync", WRONG, "x" * 1_000, 300), (413, "too_large")),
    (("nodes/sync", WRONG, "x" * 1_000, 5_000), (413, "too_large")),
]  # fmt: skip


@pytest.mark.parametrize("where", ["internet", NODE_NAMES[0]])
def test_agents_that_talk_nonsense_are_refused(system: System, hurried: Hurried, where: str) -> None:
    # The right token doesn't make a message right.
    messages = [*MESSAGES, (("nodes/join", f"Bearer {system.seed['join_token']}", "{}", 1), (400, "malformed_message"))]
    messages.append(
        (("nodes/join", f"Bearer {system.seed['join_token']}", JOIN.replace("10.110.0.99", "192.0.2.9"), 1),
         (400, "outside_vpc"))
    )  # fmt: skip
    sent = json.dumps([message for message, _ in messages])
    ca_file = str(system.stack.state / "tls/ca.pem")
    done = system.lab.exec(where, ["python3", "-I", "-c", POST, CONTROL_PLANE_ADDRESS, ca_file, sent])
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [(status, json.loads(body)) for status, body in answers]
    assert [(status, error["code"]) for status, error in errors] == [wanted for _, wanted in messages], done.stderr
    assert all(error["message"] for _, error in errors)
    assert all(token not in body for _, body in answers for token in (WRONG, system.seed["join_token"]))
    system.check_pair(OTHER, "tcp", 10, hurried.addresses)


def test_after_all_that_nodes_are_in_sync_and_enabling_waits_for_disabling(system: System, hurried: Hurried) -> None:
    # A connection that is open keeps the pair from being released.
    with system.holding(OTHER, node=NODE_NAMES[0], seconds=6) as held:
        assert system.switch(OTHER, "AUTOASSIGN")[0] == 200
        status, body = system.switch(OTHER, "DEDICATED_IP")
        assert (status, body["code"]) == (409, "still_disabling")
        assert "once its addresses are released" in body["message"]
        assert system.egress(OTHER)["type"] == "AUTOASSIGN"
        wait_for("every node follows", lambda: system.seen_from_all_nodes(OTHER, "tcp", 5) == SHARED)
    assert held.address in hurried.addresses
