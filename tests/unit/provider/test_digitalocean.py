"""DigitalOcean's adapter against answers that no well-behaved API gives."""

import contextlib
import gzip
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from egress.provider import digitalocean
from egress.provider.base import (
    AccessRefused,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    Provider,
    ProviderError,
    RateLimited,
    Rejected,
    Server,
    ServerSpec,
    Unavailable,
)
from egress.provider.digitalocean import DigitalOcean

SECRET = "enrolment-secret-0123456789abcdef"
TAG = "gateway:1"
DROPLET: dict[str, Any] = {
    "id": 42,
    "name": "gw",
    "status": "active",
    "created_at": "2026-11-23T03:00:00Z",
    "networks": {
        "v4": [{"ip_address": "203.0.113.9", "type": "public"}, {"ip_address": "10.0.0.9", "type": "private"}]
    },
    "tags": [TAG],
}


def spec(**other: Any) -> ServerSpec:
    wanted: dict[str, Any] = {
        "name": "gw",
        "region": "nyc3",
        "size": "s-1vcpu-1gb",
        "image": "ubuntu-24-04-x64",
        "user_data": f"#cloud-config\nsecret: {SECRET}\n",
        "vpc_id": "5a4981aa-9653-4bd1-bef5-d6bff52042e4",
        "tags": (TAG,),
    }
    return ServerSpec(**wanted | other)


def listing(*droplets: Any, total: int | None = None, following: str = "") -> dict[str, Any]:
    pages = {"next": following, "last": following} if following else {}
    return {"droplets": list(droplets), "links": {"pages": pages}, "meta": {"total": total or len(droplets)}}


def create(provider: DigitalOcean, impostor: Any, then: Callable[[], object] = bool) -> Callable[[], Server]:
    """Return a creation whose list before it is answered rightly, so that what is queued next meets the POST.

    `then` is called between the two.
    """

    def list_nothing(handler: BaseHTTPRequestHandler) -> None:
        then()
        impostor.answer(200, listing())
        impostor.replies.pop()(handler)

    impostor.replies.appendleft(list_nothing)
    return lambda: provider.create_or_adopt(spec(), tag=TAG)


def posts(impostor: Any) -> int:
    return sum(method == "POST" for method, *_ in impostor.requests)


def test_the_request_holds_the_spec_and_nothing_that_would_let_anybody_in(
    impostor: Any, provider: DigitalOcean
) -> None:
    impostor.answer(200, listing())
    impostor.answer(202, {"droplet": DROPLET | {"status": "new", "networks": {"v4": []}}, "links": {}})

    server = provider.create_or_adopt(spec(), tag=TAG)

    assert (server.id, server.status, server.public_address) == ("42", "new", None)
    assert json.loads(impostor.requests[1][3]) == {
        "name": "gw",
        "region": "nyc3",
        "size": "s-1vcpu-1gb",
        "image": "ubuntu-24-04-x64",
        "user_data": spec().user_data,
        "vpc_uuid": spec().vpc_id,
        "tags": [TAG],
        "ssh_keys": [],
        "backups": False,
        "ipv6": False,
        "monitoring": False,
        "with_droplet_agent": False,
    }


def test_the_oldest_is_told_by_time_then_by_number(impostor: Any, provider: DigitalOcean) -> None:
    old = DROPLET | {"id": 9, "created_at": "2026-11-23T02:59:59Z"}
    impostor.answer(200, listing(DROPLET | {"id": 100}, DROPLET | {"id": 20}, old))

    assert [server.id for server in provider.list_by_tag(TAG)] == ["9", "20", "100"]


def test_what_does_not_bear_the_tag_is_not_adopted(impostor: Any, provider: DigitalOcean) -> None:
    impostor.answer(200, listing(DROPLET | {"tags": ["somebody-else"]}))

    assert provider.list_by_tag(TAG) == []


def test_a_list_that_changes_while_it_is_read_is_read_again(impostor: Any, provider: DigitalOcean) -> None:
    more = f"{impostor.url}/v2/droplets?page=2"
    impostor.answer(200, listing(DROPLET, total=3, following=more))
    impostor.answer(200, listing(DROPLET | {"id": 43}, total=2))
    impostor.answer(200, listing(DROPLET, total=2, following=more))
    impostor.answer(200, listing(DROPLET | {"id": 44}, total=2))

    assert [server.id for server in provider.list_by_tag(TAG)] == ["42", "44"]


def test_a_list_that_never_settles_is_given_up(impostor: Any, provider: DigitalOcean) -> None:
    for _ in range(20):
        impostor.answer(200, listing(DROPLET, total=2, following=f"{impostor.url}/x"))

    with pytest.raises(Unavailable, match="kept changing"):
        provider.list_by_tag(TAG)
    assert len(impostor.requests) == 2 * digitalocean.LIST_ATTEMPTS


def test_a_list_without_end_is_given_up(impostor: Any, provider: DigitalOcean, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digitalocean, "MAX_PAGES", 3)
    for number in range(1, 5):
        impostor.answer(200, listing(DROPLET | {"id": number}, total=9, following=f"{impostor.url}/x"))

    with pytest.raises(Rejected, match="narrower tag"):
        provider.list_by_tag(TAG)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[" * 200_000,
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        json.dumps({"droplet": None}).encode(),
        json.dumps({"droplet": DROPLET | {"id": None}}).encode(),
        json.dumps({"droplet": DROPLET | {"id": "x"}}).encode(),
        json.dumps({"droplet": DROPLET | {"status": "melted"}}).encode(),
        json.dumps({"droplet": DROPLET | {"status": []}}).encode(),
        json.dumps({"droplet": DROPLET | {"created_at": "yesterday"}}).encode(),
        json.dumps({"droplet": DROPLET | {"created_at": "2026-11-23T03:00:00"}}).encode(),
        json.dumps({"droplet": DROPLET | {"id": float("inf")}}).encode(),
        json.dumps(
            {"droplet": DROPLET | {"networks": {"v4": [{"ip_address": "$(reboot)", "type": "public"}]}}}
        ).encode(),
        json.dumps({"droplet": DROPLET | {"networks": {"v4": 7}}}).encode(),
        json.dumps({"droplet": DROPLET | {"networks": None}}).encode(),
        json.dumps({"droplet": DROPLET | {"tags": None}}).encode(),
    ],
)
def test_a_garbled_answer_is_unavailable_or_of_unknown_outcome(
    impostor: Any, provider: DigitalOcean, body: bytes
) -> None:
    impostor.answer(200, body)
    with pytest.raises(Unavailable):
        provider.get("42")
    impostor.answer(202, body)
    with pytest.raises(OutcomeUnknown):
        create(provider, impostor)()
    assert posts(impostor) == 1


def test_a_garbled_rate_header_is_no_crash(impostor: Any, provider: DigitalOcean) -> None:
    impostor.answer(200, {"droplet": DROPLET}, ratelimit_remaining="many")

    with pytest.raises(Unavailable):
        provider.get("42")


def test_an_answer_too_large_is_not_read_to_its_end(
    impostor: Any, provider: DigitalOcean, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digitalocean, "MAX_ANSWER_BYTES", 100_000)
    impostor.answer(200, gzip.compress(b" " * 50_000_000), content_encoding="gzip")

    with pytest.raises(Unavailable):
        provider.get("42")


def _trickle(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(202)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(b" ")
            time.sleep(0.02)
    handler.close_connection = True


def _stall(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(202)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    _silence(handler)


def _silence(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read(1)  # until the client has had enough
    handler.close_connection = True


def _truncate(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(202)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True


def _close(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def _reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    handler.connection.close()
    handler.close_connection = True


def _break_tls(handler: BaseHTTPRequestHandler) -> None:
    # Bytes that are no TLS record, below the TLS layer: to the client that is an SSL error after its request.
    raw = socket.socket(fileno=socket.dup(handler.connection.fileno()))
    with raw:
        raw.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    handler.close_connection = True


def _garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
    handler.close_connection = True


@pytest.mark.parametrize("failure", [_trickle, _stall, _silence, _truncate, _close, _reset, _break_tls, _garbage])
def test_what_breaks_after_the_request_is_of_unknown_outcome_for_a_create_and_never_sent_twice(
    impostor: Any, provider: DigitalOcean, monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    monkeypatch.setattr(digitalocean, "MAX_ANSWER_SECONDS", 0.4)

    def lose_patience() -> None:
        monkeypatch.setattr(digitalocean, "READ_TIMEOUT_SECONDS", 0.4)

    impostor.do(failure)
    with pytest.raises(OutcomeUnknown):
        create(provider, impostor, lose_patience)()
    assert posts(impostor) == 1
    impostor.do(failure)
    with pytest.raises(OutcomeUnknown):
        provider.rebuild("42", image="debian-12-x64")
    impostor.do(failure)
    with pytest.raises(Unavailable):
        provider.get("42")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_server_errors_are_sent_once(impostor: Any, provider: DigitalOcean, status: int) -> None:
    impostor.answer(status, b"<html>Bad gateway</html>", content_type="text/html", retry_after="1")
    with pytest.raises(OutcomeUnknown):
        create(provider, impostor)()
    assert posts(impostor) == 1
    impostor.answer(status, {"id": "server_error", "message": "Unexpected server-side error"})
    with pytest.raises(Unavailable):
        provider.get("42")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(impostor: Any, provider: DigitalOcean, status: int) -> None:
    impostor.answer(status, b"", location=f"{impostor.url}/v2/elsewhere")
    with pytest.raises(OutcomeUnknown):
        create(provider, impostor)()
    impostor.answer(status, b"", location=f"{impostor.url}/v2/elsewhere")
    with pytest.raises(Unavailable):
        provider.get("42")

    assert [path for _, path, *_ in impostor.requests if "elsewhere" in path] == []


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (401, "Unable to authenticate you.", AccessRefused),
        (403, "You do not have access for the attempted action.", AccessRefused),
        (422, "creating this/these droplet(s) will exceed your droplet limit", NoCapacity),
        (422, "Size is not available in this region.", NoCapacity),
        (422, "Region is not available", NoCapacity),
        (422, "This size is unavailable", NoCapacity),
        (422, "You specified an invalid image for Droplet creation.", Rejected),
        (422, "Image is not available in the selected region", Rejected),
        (422, "Failed to resolve VPC", Rejected),
        (422, "Droplet already has a pending event.", Unavailable),
        (404, "The image you requested could not be found.", Rejected),
        (409, "conflict", Rejected),
        (400, "bad", Rejected),
        (413, "too large", Rejected),
    ],
)
def test_refusals_of_a_create_are_typed_by_status_and_words(
    impostor: Any, provider: DigitalOcean, status: int, message: str, error: type[ProviderError]
) -> None:
    impostor.answer(status, {"id": "not_found" if status == 404 else "some_id", "message": message})

    with pytest.raises(ProviderError) as raised:
        create(provider, impostor)()

    assert type(raised.value) is error
    assert message in str(raised.value)


@pytest.mark.parametrize("body", [b"<html>404</html>", b"", b'{"error": "no route"}', b"[]", b'"gone"'])
def test_a_404_that_is_not_digitaloceans_deletes_nothing(impostor: Any, provider: DigitalOcean, body: bytes) -> None:
    impostor.answer(404, body)
    with pytest.raises(Unavailable):
        provider.delete("42")
    impostor.answer(404, body)
    with pytest.raises(Unavailable):
        provider.get("42")


def test_digitaloceans_own_404_is_gone_or_not_found(impostor: Any, provider: DigitalOcean) -> None:
    gone = {"id": "not_found", "message": "The resource you were accessing could not be found."}
    for _ in range(3):
        impostor.answer(404, gone)

    provider.delete("42")
    with pytest.raises(NotFound):
        provider.get("42")
    with pytest.raises(NotFound):
        provider.power_off("42")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0"}, 1),
        ({"retry_after": "999999"}, 3600),
        ({"retry_after": "soon"}, 60),
        ({"retry_after": "nan"}, 60),
        ({"retry_after": "inf"}, 60),
        ({}, 60),
        ({"ratelimit_reset": "x"}, 60),
    ],
)
def test_how_long_to_wait_is_read_from_the_headers(
    impostor: Any, provider: DigitalOcean, headers: dict[str, str], seconds: int
) -> None:
    impostor.answer(429, {"id": "too_many_requests", "message": "API rate limit exceeded."}, **headers)

    with pytest.raises(RateLimited) as raised:
        provider.get("42")

    assert raised.value.retry_after_seconds == seconds


def test_a_wrong_clock_on_this_side_changes_no_wait() -> None:
    from egress.provider.digitalocean_http import retry_after_seconds

    long_ago = 1_000_000_000
    headers = {"ratelimit-reset": str(long_ago + 30), "date": formatdate(long_ago, usegmt=True)}

    assert retry_after_seconds(headers) == 30


def test_after_a_429_nothing_is_sent_until_the_wait_is_over(impostor: Any, provider: DigitalOcean) -> None:
    impostor.answer(429, {"id": "too_many_requests", "message": "x"}, retry_after="600")
    with pytest.raises(RateLimited):
        provider.get("42")
    with pytest.raises(RateLimited, match="not sent"):
        provider.list_by_tag(TAG)
    assert len(impostor.requests) == 1

    provider._held_until -= 600

    assert provider.list_by_tag(TAG) == []


@pytest.mark.parametrize("server_id", ["", "0", "-1", "x", "1/../2", "42 ", "²", "9" * 30, "1\n"])
def test_a_malformed_id_reaches_nobody(impostor: Any, provider: DigitalOcean, server_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: provider.get(server_id),
        lambda: provider.delete(server_id),
        lambda: provider.power_on(server_id),
        lambda: provider.action_status("42", server_id),
    ]
    for call in calls:
        with pytest.raises(Rejected):
            call()
    assert impostor.requests == []


@pytest.mark.parametrize("tag", ["", " ", "a b", "a,b", "ü", "x" * 256, "a&name=b", "a\n"])
def test_a_malformed_tag_reaches_nobody(impostor: Any, provider: DigitalOcean, tag: str) -> None:
    with pytest.raises(Rejected):
        provider.list_by_tag(tag)
    with pytest.raises(Rejected):
        provider.create_or_adopt(spec(tags=(tag,)), tag=tag)
    assert impostor.requests == []


@pytest.mark.parametrize("wrong", [{"tags": ("other",)}, {"tags": ()}, {"user_data": "ü" * 32_769}])
def test_a_spec_that_could_not_be_found_again_or_is_too_large_reaches_nobody(
    impostor: Any, provider: DigitalOcean, wrong: dict[str, Any]
) -> None:
    with pytest.raises(Rejected):
        provider.create_or_adopt(spec(**wrong), tag=TAG)
    assert impostor.requests == []


def test_no_secret_is_in_any_error_or_log(
    impostor: Any, provider: DigitalOcean, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = provider._token
    messages = [
        f"user_data is wrong: {spec().user_data}",
        f"{SECRET}",
        f"token {token} is not allowed",
        f"x {SECRET[5:25]} y",
    ]
    for message in messages:
        impostor.answer(422, {"id": "unprocessable_entity", "message": message})
        with pytest.raises(Rejected) as raised:
            create(provider, impostor)()
        said = repr(raised.value) + str(raised.value)
        assert raised.value.__cause__ is None
        assert SECRET[5:25] not in said
        assert token not in said
    for record in caplog.records:
        assert SECRET not in record.getMessage()
        assert token not in record.getMessage()


def test_what_the_provider_says_is_short_and_printable(impostor: Any, provider: DigitalOcean) -> None:
    impostor.answer(422, {"id": "x", "message": "\x1b[31mred\n\n" + "é" * 5000})

    with pytest.raises(Rejected) as raised:
        create(provider, impostor)()

    assert len(str(raised.value)) < 500
    assert "?[31mred é" in str(raised.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tökén"])
def test_a_malformed_token_is_refused_without_being_shown(impostor: Any, token: str) -> None:
    with pytest.raises(AccessRefused, match="DIGITALOCEAN_TOKEN") as raised:
        DigitalOcean(token, api_url=impostor.url).get("42")
    assert not token or token not in str(raised.value)


@pytest.mark.parametrize("url", ["http://api.example", "api.example", "https://", "file:///etc/passwd"])
def test_only_https_is_spoken(url: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        DigitalOcean("x", api_url=url)


def test_an_untrusted_certificate_is_unavailable_and_nothing_is_sent(impostor: Any, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    with (
        contextlib.closing(DigitalOcean("x", api_url=impostor.url, ca_file=str(stranger))) as provider,
        pytest.raises(Unavailable, match="SSL"),
    ):
        provider.create_or_adopt(spec(), tag=TAG)
    assert impostor.requests == []


def test_a_missing_ca_file_is_named(impostor: Any) -> None:
    with pytest.raises(Unavailable, match=r"/nowhere/ca\.pem"):
        DigitalOcean("x", api_url=impostor.url, ca_file="/nowhere/ca.pem").get("42")


def test_a_ca_file_without_a_certificate_is_unavailable(impostor: Any, tmp_path: Path) -> None:
    garbage = tmp_path / "ca.pem"
    garbage.write_text("no certificate")
    with (
        contextlib.closing(DigitalOcean("x", api_url=impostor.url, ca_file=str(garbage))) as provider,
        pytest.raises(Unavailable),
    ):
        provider.get("42")


def test_a_closed_port_is_unavailable_even_for_a_create(
    impostor: Any, provider: DigitalOcean, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = DigitalOcean("x", api_url=f"https://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.setattr(closed, "list_by_tag", lambda _: [])
        with contextlib.closing(closed), pytest.raises(Unavailable, match="can't connect"):
            closed.create_or_adopt(spec(), tag=TAG)


def test_credentials_in_netrc_do_not_replace_the_token(
    impostor: Any, provider: DigitalOcean, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    provider.list_by_tag(TAG)

    assert impostor.requests[0][2]["Authorization"] == f"Bearer {provider._token}"


def test_it_can_be_closed_twice_and_used_again(impostor: Any, provider: DigitalOcean) -> None:
    provider.list_by_tag(TAG)
    provider.close()
    provider.close()
    assert provider.list_by_tag(TAG) == []


def test_a_forked_process_opens_a_connection_of_its_own(
    impostor: Any, provider: DigitalOcean, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.list_by_tag(TAG)
    with contextlib.closing(provider._client):
        monkeypatch.setattr("os.getpid", lambda: 1)
        provider.list_by_tag(TAG)

    assert len(set(impostor.clients)) == 2


def test_importing_it_imports_neither_pydo_nor_what_lies_under_it() -> None:
    code = (
        "import sys, egress.provider.digitalocean; print(*{'pydo', 'azure', 'requests', 'urllib3'} & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[3]

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == ""


def test_calls_share_one_connection(impostor: Any, provider: DigitalOcean) -> None:
    for _ in range(5):
        provider.list_by_tag(TAG)
    impostor.answer(404, {"id": "not_found", "message": "x"})
    provider.delete("42")

    assert len(set(impostor.clients)) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from([DROPLET, TAG]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*DROPLET, "v4", "type"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*DROPLET]), VALUES, max_size=3))
def test_any_droplet_is_a_server_or_a_typed_failure(changes: dict[str, Any]) -> None:
    droplet = DROPLET | changes

    with contextlib.suppress(Unavailable):
        assert isinstance(digitalocean._read("read", lambda: digitalocean._server(droplet)), Server)


def test_the_adapter_is_a_provider() -> None:
    offered = {name for name in vars(DigitalOcean) if not name.startswith("_")}

    assert {name for name in vars(Provider) if not name.startswith("_")} <= offered
