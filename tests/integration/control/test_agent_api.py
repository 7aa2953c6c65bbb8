"""The agents' HTTP API as a client meets it: answers, refusals, and polls that wait."""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from egress.control import distribution
from egress.control.agents import api as agent_api
from egress.control.agents import calls as agents
from egress.control.agents import hands, node_polls
from egress.control.agents.enrolment import enrolment_secret
from egress.control.agents.node_polls import Poll
from egress.control.agents.watch import Watcher
from egress.control.errors import EgressError
from egress.control.models import Cluster, Gateway, Node
from egress.control.services import egress_enable, node_remove
from egress.wire.codec import decode, encode
from egress.wire.messages import (
    MAX_REQUEST_BYTES,
    PREFIX,
    Done,
    ErrorReply,
    GatewayEnrol,
    GatewayEnrolled,
    GatewayReport,
    GatewaySync,
    GatewaySyncRequest,
    NodeJoin,
    NodeJoined,
    NodeReport,
    NodeSync,
    NodeSyncRequest,
)
from portal.config.bounds import BoundedBodies
from tests.factories import make_cluster_and_token, make_node, make_user

from .fleet import Fleet

pytestmark = pytest.mark.django_db(transaction=True)

VERBS = ["nodes/join", "nodes/sync", "nodes/report", "gateways/enrol", "gateways/sync", "gateways/report"]
NODE_TOKEN = "node-token-node-1"


class HungUp(Exception):
    """Nobody is there to be answered."""


async def asgi_request(
    method: str,
    path: str,
    headers: dict[str, str],
    content: bytes = b"",
    *,
    address: str = "127.0.0.1",
    gone: asyncio.Event | None = None,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Have the agents' application serve a request as it comes from the web server; its status, headers and body.

    Raises HungUp when it had no answer for who is `gone`.
    """
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": (address, 1),
    }
    asked = iter([{"type": "http.request", "body": content, "more_body": False}])
    said: list[Any] = []

    async def receive() -> Any:
        if message := next(asked, None):
            return message
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    await BoundedBodies(agent_api.application)(scope, receive, send)
    if not said:
        raise HungUp
    start, body = said
    return start["status"], dict(start["headers"]), body["body"]


async def post(verb: str, body: Any, *, token: str = NODE_TOKEN, address: str = "127.0.0.1") -> tuple[int, bytes]:
    content = body if isinstance(body, bytes) else encode(body)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    status, _, answer = await asgi_request("POST", f"{PREFIX}{verb}", headers, content, address=address)
    return status, answer


def call(verb: str, body: Any, **fields: Any) -> tuple[int, bytes]:
    return asyncio.run(post(verb, body, **fields))


def refusal(answer: tuple[int, bytes]) -> tuple[int, str]:
    status, body = answer
    return status, decode(ErrorReply, body).code


def sync(cluster: Cluster, applied: int, wait_seconds: int = 0) -> NodeSyncRequest:
    return NodeSyncRequest(epoch=str(cluster.epoch), applied_revision=applied, wait_seconds=wait_seconds)


@pytest.fixture
def cluster(db: None) -> Cluster:
    cluster = make_cluster_and_token()[0]
    make_node(cluster)
    return cluster


def test_a_node_joins_syncs_and_reports() -> None:
    _, token = make_cluster_and_token()
    join = NodeJoin(name="worker", private_address="10.110.0.21", boot_id="b", agent_version="1")
    status, body = call("nodes/join", join, token=token)
    assert status == 200
    credential = decode(NodeJoined, body).token
    first = NodeSyncRequest(epoch="", applied_revision=0, wait_seconds=20)
    reply = decode(NodeSync, call("nodes/sync", first, token=credential)[1])
    assert (reply.full, reply.ordinal, reply.revision) == (True, 0, 0)
    report = NodeReport(boot_id="b", agent_version="1", dataplane="ok")
    assert decode(Done, call("nodes/report", report, token=credential)[1]).ok


def test_a_gateway_enrols_from_its_address_syncs_and_reports(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    gateway = fleet.gateways()[0]
    enrol = GatewayEnrol(gateway_id=str(gateway.pk), boot_id="b", agent_version="1")
    secret = enrolment_secret(gateway.pk)
    assert refusal(call("gateways/enrol", enrol, token=secret)) == (403, "wrong_address")
    status, body = call("gateways/enrol", enrol, token=secret, address=str(gateway.public_address))
    assert status == 200
    credential = decode(GatewayEnrolled, body).token
    ask = GatewaySyncRequest(applied_revision=0, wait_seconds=20)
    reply = decode(GatewaySync, call("gateways/sync", ask, token=credential)[1])
    assert reply.clients == ("10.110.0.21", "10.110.0.22")
    assert reply.public_address == gateway.public_address
    assert reply.targets == ("1.1.1.1", "8.8.8.8", "9.9.9.9")
    report = GatewayReport(boot_id="b", agent_version="1", forwarding=True)
    assert decode(Done, call("gateways/report", report, token=credential)[1]).ok
    assert Gateway.objects.get(pk=gateway.pk).health == "healthy"


MESSAGES = {
    "nodes/join": NodeJoin(name="w", private_address="10.110.0.21", boot_id="b", agent_version="1"),
    "nodes/sync": NodeSyncRequest(epoch="", applied_revision=0, wait_seconds=0),
    "nodes/report": NodeReport(boot_id="b", agent_version="1", dataplane="ok"),
    "gateways/enrol": GatewayEnrol(gateway_id="g", boot_id="b", agent_version="1"),
    "gateways/sync": GatewaySyncRequest(applied_revision=0, wait_seconds=0),
    "gateways/report": GatewayReport(boot_id="b", agent_version="1", forwarding=True),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("token", ["", "wrong", NODE_TOKEN[:-1]])
def test_a_wrong_or_missing_token_is_refused_everywhere_with_the_same_code(
    cluster: Cluster, verb: str, token: str
) -> None:
    before = Node.objects.values().get()
    assert refusal(call(verb, MESSAGES[verb], token=token)) == (401, "unauthorized")
    assert Node.objects.values().get() == before


@pytest.mark.parametrize("verb", ["gateways/sync", "gateways/report", "nodes/join", "gateways/enrol"])
def test_a_nodes_credential_opens_nothing_but_what_is_the_nodes(cluster: Cluster, verb: str) -> None:
    assert refusal(call(verb, MESSAGES[verb])) == (401, "unauthorized")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"epoch":5}', json.dumps({"wait_seconds": 51}).encode()],
    ids=["empty", "cut", "list", "null", "no text", "deep", "wrong type", "out of bounds"],
)
def test_garbage_is_refused_with_the_place_and_changes_nothing(cluster: Cluster, verb: str, body: bytes) -> None:
    before = Node.objects.values().get()
    status, answer = call(verb, body)
    reply = decode(ErrorReply, answer)
    assert (status, reply.code) == (400, "malformed_message")
    assert type(MESSAGES[verb]).__name__ in reply.message
    assert Node.objects.values().get() == before


def test_a_poll_may_not_ask_to_wait_for_ever(cluster: Cluster) -> None:
    body = encode(sync(cluster, 0)).replace(b'"wait_seconds":0', b'"wait_seconds":3600')
    assert refusal(call("nodes/sync", body)) == (400, "malformed_message")


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_too_large_is_refused(cluster: Cluster, verb: str) -> None:
    assert refusal(call(verb, b" " * (MAX_REQUEST_BYTES + 1))) == (413, "too_large")


def test_a_length_that_lies_does_not_get_more_read(cluster: Cluster) -> None:
    headers = {"Authorization": f"Bearer {NODE_TOKEN}", "Content-Length": "nonsense"}
    content = b" " * (MAX_REQUEST_BYTES + 1)
    status, _, body = asyncio.run(asgi_request("POST", f"{PREFIX}nodes/report", headers, content))
    assert refusal((status, body)) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "nodes/sync", (400, "malformed_message")),
        ("POST", "nodes/", (404, "no_such_verb")),
        ("POST", "nodes/sync/", (404, "no_such_verb")),
        ("POST", "", (404, "no_such_verb")),
    ],
)
def test_other_methods_and_paths_are_refused_in_the_same_shape(method: str, path: str, said: tuple[int, str]) -> None:
    status, _, body = asyncio.run(asgi_request(method, f"{PREFIX}{path}", {"Authorization": f"Bearer {NODE_TOKEN}"}))
    assert refusal((status, body)) == said


def test_a_database_that_is_away_is_said_and_not_a_crash(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**_fields: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(agents, "node_report", away)
    assert refusal(call("nodes/report", MESSAGES["nodes/report"])) == (503, "unavailable")


def test_a_poll_with_nothing_new_waits_as_long_as_it_was_asked_to(cluster: Cluster) -> None:
    begun = monotonic()
    reply = decode(NodeSync, call("nodes/sync", sync(cluster, 0, wait_seconds=1))[1])
    assert monotonic() - begun >= 0.9
    assert (reply.full, reply.routes, reply.revision) == (True, (), 0)


def _publish(cluster: Cluster) -> None:
    distribution.publish(cluster.pk, "shop", None)
    connection.close()


def _run_beside(waiting: Coroutine[Any, Any, Any], action: Any, *args: Any) -> Any:
    """Start `waiting`, run `action` in a thread once it waits, and return what it came to, far before its limit."""

    async def both() -> Any:
        task = asyncio.create_task(waiting)
        await asyncio.sleep(0.5)
        assert not task.done()
        await sync_to_async(action, thread_sensitive=False)(*args)
        return await asyncio.wait_for(task, 20)

    return asyncio.run(both())


def test_a_change_wakes_every_poll_that_waits(cluster: Cluster) -> None:
    for _ in range(4):
        make_node(cluster)

    async def polls() -> list[tuple[int, bytes]]:
        names = [f"node-token-node-{number}" for number in range(1, 6)]
        return await asyncio.gather(
            *(post("nodes/sync", sync(cluster, 0, wait_seconds=50), token=name) for name in names)
        )

    answers = _run_beside(polls(), _publish, cluster)
    assert [decode(NodeSync, body).revision for _, body in answers] == [1] * 5


def test_a_change_elsewhere_wakes_nobody_here(cluster: Cluster) -> None:
    other = make_cluster_and_token()[0]
    waiting = post("nodes/sync", sync(cluster, 0, wait_seconds=2))
    begun = monotonic()
    status, body = _run_beside(waiting, _publish, other)
    assert (status, decode(NodeSync, body).revision) == (200, 0)
    assert monotonic() - begun >= 1.9


def test_a_node_that_is_removed_while_it_waits_is_told(cluster: Cluster) -> None:
    user = make_user()

    def remove() -> None:
        node_remove(node=Node.objects.get(), actor=user)
        distribution.publish(cluster.pk, "shop", None)
        connection.close()

    waiting = post("nodes/sync", sync(cluster, 0, wait_seconds=50))
    assert refusal(_run_beside(waiting, remove)) == (401, "unauthorized")


def test_a_gateway_hears_of_a_new_node_while_it_waits(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    token = fleet.enrol(fleet.gateways()[0])
    known = Cluster.objects.get(pk=fleet.cluster.pk).clients_revision

    def remove() -> None:
        node_remove(node=fleet.nodes[1], actor=fleet.user)
        connection.close()

    ask = GatewaySyncRequest(applied_revision=known, wait_seconds=50)
    _, body = _run_beside(post("gateways/sync", ask, token=token), remove)
    reply = decode(GatewaySync, body)
    assert (reply.revision, reply.clients) == (known + 1, ("10.110.0.21",))


async def until_waiting(count: int) -> None:
    async with asyncio.timeout(60):
        while len(Watcher.here()._waiters) < count:  # noqa: ASYNC110  # the watcher says nothing when one comes
            await asyncio.sleep(0.05)


def test_polls_that_wait_hold_no_connection_of_their_own(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[BaseDatabaseWrapper] = set()
    original = node_polls.acknowledge

    def acknowledge(polls: Sequence[Poll]) -> list[Node | EgressError]:
        used.add(connections["default"])
        return original(polls)

    monkeypatch.setattr(node_polls, "acknowledge", acknowledge)
    count = 3 * hands.THREADS
    tokens = [NODE_TOKEN, *(f"node-token-{make_node(cluster).name}" for _ in range(count - 1))]

    async def polls() -> list[tuple[int, bytes]]:
        ask = sync(cluster, 0, wait_seconds=50)
        told = asyncio.gather(*(post("nodes/sync", ask, token=token) for token in tokens))
        await until_waiting(count)
        assert 1 <= len([wrapper for wrapper in used if wrapper.connection]) <= hands.THREADS
        await sync_to_async(_publish, thread_sensitive=False)(cluster)
        return await asyncio.wait_for(told, 60)

    assert {status for status, _ in asyncio.run(polls())} == {200}
    # With the loop.
    assert [wrapper.connection for wrapper in used] == [None] * len(used)


def test_who_hangs_up_waits_no_more(cluster: Cluster) -> None:
    headers = {"Authorization": f"Bearer {NODE_TOKEN}"}
    content = encode(sync(cluster, 0, wait_seconds=50))

    async def hang_up() -> None:
        gone = asyncio.Event()
        poll = asyncio.create_task(asgi_request("POST", f"{PREFIX}nodes/sync", headers, content, gone=gone))
        await until_waiting(1)
        gone.set()
        with pytest.raises(HungUp):
            await asyncio.wait_for(poll, 20)
        assert Watcher.here()._waiters == set()

    asyncio.run(hang_up())
