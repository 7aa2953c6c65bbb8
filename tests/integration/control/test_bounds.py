"""How much, how often and how long anybody may ask: the real server on a socket, and counts that last."""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection

from egress.control.agents import api as agent_api
from egress.control.agents.enrolment import enrolment_secret
from egress.control.agents.guard import FAILURES, REQUESTS
from egress.control.agents.watch import Watcher
from egress.control.models import Cluster, Event, Gateway
from egress.control.services import egress_enable
from egress.wire.codec import decode, encode
from egress.wire.messages import (
    Done,
    ErrorReply,
    GatewayEnrol,
    NodeReport,
    NodeSync,
    NodeSyncRequest,
)
from portal.accounts import limits
from portal.config import bounds
from tests.factories import make_cluster_and_token, make_node

from .fleet import Fleet
from .processes import running, wait_for, web_command
from .test_agent_api import asgi_request, call, post, refusal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.costly, pytest.mark.timeout(240)]

TOKEN = "node-token-node-1"
REPORT = NodeReport(boot_id="b", agent_version="1", dataplane="ok")
#: Enough for a machine that is five times slower than the limits expect.
PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    cache.clear()
    monkeypatch.setattr(REQUESTS, "_counts", {})
    monkeypatch.setattr(agent_api, "GUARD", agent_api.Guard())
    yield
    cache.clear()


@pytest.fixture
def cluster(db: None) -> Cluster:
    cluster = make_cluster_and_token()[0]
    make_node(cluster)
    return cluster


# --- how often -------------------------------------------------------------------------------------------------------


def limited(monkeypatch: pytest.MonkeyPatch, limit: Any, times: int) -> None:
    """Make `limit` small, and its window one that doesn't end meanwhile."""
    monkeypatch.setattr(limit, "_times", times)
    monkeypatch.setattr(limit, "_seconds", 10**9)


def test_who_guesses_tokens_is_told_to_wait_before_anything_is_looked_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    limited(monkeypatch, FAILURES, 3)
    for number in range(3):
        assert refusal(call("nodes/report", REPORT, token=f"sgn_guess-{number}")) == (401, "unauthorized")
    with django_assert_num_queries(0):
        assert refusal(call("nodes/report", REPORT, token="sgn_guess-4")) == (429, "too_many_requests")
    assert refusal(call("nodes/join", REPORT, token="sgj_guess")) == (429, "too_many_requests")
    alarm = Event.objects.get(kind="security")
    assert (alarm.subject, alarm.new) == ("agents.guessing", "held up")
    assert "127.0.0.1" in alarm.reason
    # Elsewhere, nobody has guessed.
    assert call("nodes/report", REPORT, token=TOKEN, address="192.0.2.9")[0] == 200


def test_a_neighbour_behind_the_same_address_goes_on(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, FAILURES, 3)
    assert call("nodes/report", REPORT, token=TOKEN)[0] == 200
    for number in range(5):
        call("nodes/report", REPORT, token=f"sgn_guess-{number}")
    assert call("nodes/report", REPORT, token=TOKEN)[0] == 200


def test_ipv6_guessers_are_counted_by_their_whole_network(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, FAILURES, 3)
    for number in range(1, 4):
        call("nodes/report", REPORT, token="sgn_guess", address=f"2001:db8:1:2:{number}::1")
    assert refusal(call("nodes/report", REPORT, token="sgn_guess", address="2001:db8:1:2:ffff::9"))[0] == 429
    assert refusal(call("nodes/report", REPORT, token="sgn_guess", address="2001:db8:1:3::1"))[0] == 401


def test_one_credential_may_ask_so_often_and_others_are_not_held_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node(cluster)
    limited(monkeypatch, REQUESTS, 3)
    assert [call("nodes/report", REPORT, token=TOKEN)[0] for _ in range(4)] == [200, 200, 200, 429]
    assert call("nodes/report", REPORT, token="node-token-node-2")[0] == 200


def test_in_the_next_window_it_may_ask_again(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REQUESTS, "_times", 1)
    now = 60_000_000
    monkeypatch.setattr(limits, "time", lambda: now)
    assert [call("nodes/report", REPORT, token=TOKEN)[0] for _ in range(2)] == [200, 429]
    now += 60
    assert [call("nodes/report", REPORT, token=TOKEN)[0] for _ in range(2)] == [200, 429]


def test_a_refusal_says_how_long_to_wait(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REQUESTS, "_times", 0)
    assert call("nodes/report", REPORT, token=TOKEN)[0] == 200

    asked = asgi_request("POST", "/agent/v1/nodes/report", {"Authorization": f"Bearer {TOKEN}"}, encode(REPORT))
    status, headers, _ = asyncio.run(asked)
    assert status == 429
    assert 1 <= int(headers[b"retry-after"]) <= 60


def test_of_many_polls_with_one_credential_one_is_held(cluster: Cluster) -> None:
    """A stolen token opens as many as it likes; all but the latest are answered at once."""
    ask = NodeSyncRequest(epoch=str(cluster.epoch), applied_revision=0, wait_seconds=50)

    async def many() -> tuple[int, int]:
        polls = [asyncio.create_task(post("nodes/sync", ask, token=TOKEN)) for _ in range(20)]
        held, answered = set(polls), set(polls)
        while len(held) > 1 and answered:
            answered, held = await asyncio.wait(held, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting = len(Watcher.here()._waiters)
        for poll in held:
            poll.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        answers = [poll.result() for poll in polls if poll not in held]
        assert {decode(NodeSync, body).revision for status, body in answers if status == 200} == {0}
        return len(held), waiting

    assert asyncio.run(many()) == (1, 1)


# --- how much and how long: the server as it runs -------------------------------------------------------------------


@contextlib.contextmanager
def served(folder: Path, **environment: str) -> Iterator[int]:
    port = free_port()
    with running(web_command(port, workers=1), folder / "web.log", **environment):
        wait_for(lambda: speaks(port), "the web server")
        yield port
    log = (folder / "web.log").read_text()
    assert "Traceback" not in log, log[-4000:]
    assert not any(secret in log for secret in (TOKEN, "sge_"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def speaks(port: int, trust: ssl.SSLContext | None = None) -> bool:
    """Say whether the server answers requests, over TLS where there is something to trust."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as bare, _secured(bare, trust) as client:
            client.sendall(b"GET /login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b"HTTP/1.1" in client.recv(100)
    except OSError:
        return False


def _secured(bare: socket.socket, trust: ssl.SSLContext | None) -> socket.socket:
    return trust.wrap_socket(bare, server_hostname="127.0.0.1") if trust else bare


def exchange(port: int, *parts: bytes, source: str = "127.0.0.1", pause: float = 0) -> bytes:
    """Send `parts`, and return all that comes until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS, source_address=(source, 0)) as client:
        for part in parts:
            with contextlib.suppress(OSError):
                client.sendall(part)
            time.sleep(pause)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(65536):
                answer += chunk
        return answer


def head(verb: str, *more: str, token: str = TOKEN) -> bytes:
    lines = [f"POST /agent/v1/{verb} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *more, "", ""]
    return "\r\n".join(lines).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


CHUNKED = "Transfer-Encoding: chunked"
BODY = encode(REPORT)
GARBAGE = {
    "nothing": (b"",),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),),
    "no line": (b"A" * 200_000,),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 50_000 + b"\r\n",),
    "a bad chunk": (head("nodes/report", CHUNKED), b"zz\r\n"),
    "a chunk that is too long": (head("nodes/report", CHUNKED), b"FFFFFFFFFFFFFFFFFFFFF\r\n"),
    "both lengths": (head("nodes/report", CHUNKED, "Content-Length: 5"), b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    "two lengths": (head("nodes/report", "Content-Length: 5", "Content-Length: 6"), b"123456"),
    "a negative length": (head("nodes/report", "Content-Length: -1"), b"{}"),
    "an endless length": (head("nodes/report", "Content-Length: " + "9" * 30), b"{}"),
    "a length beyond the limit": (head("nodes/report", f"Content-Length: {bounds.MAX_BODY_BYTES + 1}"),),
    "a NUL in the path": (b"POST /agent/v1/nodes\0/sync HTTP/1.1\r\nHost: localhost\r\n\r\n",),
}


def test_garbage_on_the_socket_is_refused_and_the_next_request_is_served(cluster: Cluster, tmp_path: Path) -> None:
    good = head("nodes/report", f"Content-Length: {len(BODY)}", "Connection: close") + BODY
    pipelined = head("nodes/report", f"Content-Length: {len(BODY)}") + BODY + good
    with served(tmp_path) as port:
        with ThreadPoolExecutor(len(GARBAGE)) as threads:
            answers = threads.map(lambda parts: exchange(port, *parts), GARBAGE.values())
            found = dict(zip(GARBAGE, map(status_of, answers), strict=True))
        assert status_of(exchange(port, good)) == 200
        assert exchange(port, pipelined).count(b"HTTP/1.1 200") == 2
    assert {name: status for name, status in found.items() if status and not 400 <= status < 500} == {}
    assert found["a length beyond the limit"] == 413


def test_a_body_without_end_is_cut_off_at_the_limit(cluster: Cluster, tmp_path: Path) -> None:
    chunk = b"%x\r\n%s\r\n" % (65536, b" " * 65536)
    with served(tmp_path) as port:
        for path in (b"/agent/v1/nodes/report", b"/login/", b"/api/v1/apps"):
            opening = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            answer = exchange(port, opening, *[chunk] * 40)
            # A sender that doesn't listen while it sends may see its connection reset instead.
            assert status_of(answer) in {0, 413}, (path, answer[:200])
        assert exchange(port, head("nodes/report", CHUNKED), chunk * 16 + b"1\r\n ").startswith(b"HTTP/1.1 413")


def test_slow_heads_and_slow_bodies_are_hung_up_on(cluster: Cluster, tmp_path: Path) -> None:
    """Dripped, so that each byte comes well within every other limit there is."""
    slow_head = b"POST /agent/v1/nodes/report HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 200

    def drip(port: int, opening: bytes, rest: bytes) -> tuple[float, bytes]:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
            client.sendall(opening)
            client.settimeout(0.5)
            answer = b""
            for byte in rest:
                try:
                    client.send(bytes([byte]))
                    received = client.recv(65536)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
                answer += received
                if not received:
                    break
            return time.monotonic() - begun, answer

    body = head("nodes/report", "Content-Length: 1000")
    kept = head("nodes/report", f"Content-Length: {len(BODY)}") + BODY
    limits = {"REQUEST_HEAD_SECONDS": "2", "REQUEST_BODY_SECONDS": "3"}
    with served(tmp_path, **limits) as port, ThreadPoolExecutor(3) as threads:
        heads = threads.submit(drip, port, b"", slow_head)
        seconds = threads.submit(drip, port, kept, slow_head)
        bodies = threads.submit(drip, port, body, b" " * 200)
        took_head, said = heads.result()
        assert said == b""
        assert 1.5 <= took_head < PATIENCE_SECONDS
        took_second, said = seconds.result()
        assert said.count(b"HTTP/1.1") == 1
        assert took_second < PATIENCE_SECONDS
        took_body, said = bodies.result()
        assert 2.5 <= took_body < PATIENCE_SECONDS
        assert said.startswith(b"HTTP/1.1 408")


# --- whose address --------------------------------------------------------------------------------------------------


def enrol(port: int, gateway: Gateway, *, forwarded: str = "", source: str = "127.0.0.1") -> tuple[int, str]:
    body = encode(GatewayEnrol(gateway_id=str(gateway.pk), boot_id="b", agent_version="1"))
    lies = [f"X-Forwarded-For: {forwarded}", f"X-Real-IP: {forwarded}", f"Forwarded: for={forwarded}"]
    more = [f"Content-Length: {len(body)}", "Connection: close", *(lies if forwarded else [])]
    answer = exchange(port, head("gateways/enrol", *more, token=enrolment_secret(gateway.pk)) + body, source=source)
    content = answer.split(b"\r\n\r\n", 1)[1]
    return status_of(answer), "" if status_of(answer) == 200 else decode(ErrorReply, content).code


def test_a_forwarded_address_counts_only_from_the_proxy_that_is_named(fleet: Fleet, tmp_path: Path) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    fleet.step()
    gateway, other = fleet.gateways()
    own = str(gateway.public_address)
    connection.close()
    with served(tmp_path, FORWARDED_ALLOW_IPS="127.0.0.3") as port:
        # From a stranger, whatever it says.
        assert enrol(port, gateway, source="127.0.0.2") == (403, "wrong_address")
        assert enrol(port, gateway, source="127.0.0.2", forwarded=own) == (403, "wrong_address")
        # Through the proxy: what the proxy itself saw is last, what the client made up stands before it.
        assert enrol(port, gateway, source="127.0.0.3", forwarded="192.0.2.1") == (403, "wrong_address")
        assert enrol(port, gateway, source="127.0.0.3", forwarded=f"{own}, 192.0.2.1") == (403, "wrong_address")
        assert enrol(port, other, source="127.0.0.3", forwarded=own) == (403, "wrong_address")
        assert not Gateway.objects.filter(token_hash__isnull=False).exists()
        assert enrol(port, gateway, source="127.0.0.3", forwarded=own) == (200, "")
        Gateway.objects.filter(pk=gateway.pk).update(enrolment_until=None)
        assert enrol(port, gateway, source="127.0.0.3", forwarded=own) == (403, "window_closed")


def test_the_answer_to_a_report_is_done(cluster: Cluster) -> None:
    status, body = call("nodes/report", REPORT, token=TOKEN)
    assert (status, decode(Done, body), json.loads(body)) == (200, Done(), {"ok": True})
