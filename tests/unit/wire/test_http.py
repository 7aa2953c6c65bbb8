"""The agents' HTTP client against a real TLS server."""

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from egress.wire.http import ControlPlane, ControlPlaneError, Refused
from egress.wire.messages import Done, NodeSyncRequest

MESSAGE = NodeSyncRequest(epoch="", applied_revision=0, wait_seconds=0)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        server.seen.append((self.path, self.headers["Authorization"], self.client_address[1]))
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = server.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        # Without a word about it in the answer, as servers close idle connections.
        self.close_connection = server.hangs_up

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    served: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    served.socket = context.wrap_socket(served.socket, server_side=True, do_handshake_on_connect=False)
    served.handle_error = lambda *_: None  # a client that doesn't trust us is one of the tests
    served.seen, served.answers, served.hangs_up = [], [], False
    served.ca_file = str(tmp_path / "ca.pem")
    served.url = f"https://127.0.0.1:{served.server_address[1]}"
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    thread.join(10)
    served.server_close()


def test_a_call_carries_token_and_path_on_one_connection(server: Any) -> None:
    server.answers += [(200, b'{"ok": true}')] * 2
    client = ControlPlane(server.url, token="secret", ca_file=server.ca_file)
    assert client.call("nodes/sync", MESSAGE, Done) == Done()
    assert client.call("nodes/sync", MESSAGE, Done) == Done()
    client.close()
    paths, tokens, ports = zip(*server.seen, strict=True)
    assert set(paths) == {"/agent/v1/nodes/sync"}
    assert set(tokens) == {"Bearer secret"}
    assert len(set(ports)) == 1


def test_a_clear_no_has_its_code(server: Any) -> None:
    server.answers.append((401, b'{"code": "unauthorized", "message": "Unknown token."}'))
    client = ControlPlane(server.url, token="secret", ca_file=server.ca_file)
    with pytest.raises(Refused) as caught:
        client.call("nodes/sync", MESSAGE, Done)
    client.close()
    assert (caught.value.status, caught.value.code) == (401, "unauthorized")
    assert "secret" not in str(caught.value)


def test_a_connection_that_the_server_closed_is_replaced_unnoticed(server: Any) -> None:
    server.answers += [(200, b'{"ok": true}')] * 2
    server.hangs_up = True
    client = ControlPlane(server.url, token="secret", ca_file=server.ca_file)
    assert client.call("nodes/report", MESSAGE, Done) == Done()
    assert client.call("nodes/report", MESSAGE, Done) == Done()
    client.close()
    assert len({port for _, _, port in server.seen}) == 2


def test_a_call_on_a_new_connection_is_made_once(server: Any) -> None:
    """No answer is ready: the handler fails, and the connection ends without one."""
    client = ControlPlane(server.url, token="secret", ca_file=server.ca_file)
    with pytest.raises(ControlPlaneError, match="nodes/report"):
        client.call("nodes/report", MESSAGE, Done)
    assert len(server.seen) == 1


def test_a_call_on_a_kept_connection_is_made_twice_at_most(server: Any) -> None:
    server.answers.append((200, b'{"ok": true}'))
    client = ControlPlane(server.url, token="secret", ca_file=server.ca_file)
    assert client.call("nodes/report", MESSAGE, Done) == Done()
    with pytest.raises(ControlPlaneError, match="nodes/report"):
        client.call("nodes/report", MESSAGE, Done)
    assert len(server.seen) == 3


@pytest.mark.parametrize("answer", [(200, b"<html>"), (502, b"Bad gateway"), (200, b"[]")])
def test_an_unreadable_answer_is_no_answer(server: Any, answer: tuple[int, bytes]) -> None:
    server.answers.append(answer)
    client = ControlPlane(server.url, token="secret", ca_file=server.ca_file)
    with pytest.raises(ControlPlaneError) as caught:
        client.call("nodes/sync", MESSAGE, Done)
    client.close()
    assert not isinstance(caught.value, Refused)


def test_an_untrusted_server_is_refused(server: Any) -> None:
    client = ControlPlane(server.url, token="secret")
    with pytest.raises(ControlPlaneError, match=r"(?i)certificate"):
        client.call("nodes/sync", MESSAGE, Done)
    client.close()
    assert server.seen == []


def test_nobody_there_is_an_error_that_names_the_call(server: Any) -> None:
    url = server.url
    client = ControlPlane(url.replace(str(server.server_address[1]), "1"), token="secret", ca_file=server.ca_file)
    with pytest.raises(ControlPlaneError, match="nodes/sync"):
        client.call("nodes/sync", MESSAGE, Done)


@pytest.mark.parametrize("url", ["http://portal", "portal", "https://"])
def test_only_https_is_spoken(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        ControlPlane(url, token="secret")


@pytest.mark.parametrize("token", ["ends in a line\n", "a\r\nX-Other: header", "tökén", "a\0b"])
def test_a_token_that_no_header_carries_is_neither_sent_nor_shown(server: Any, token: str) -> None:
    client = ControlPlane(server.url, token=token, ca_file=server.ca_file)
    with pytest.raises(ControlPlaneError, match="its file is damaged") as caught:
        client.call("nodes/sync", MESSAGE, Done)
    assert token not in str(caught.value)
    assert server.seen == []


OK = b"HTTP/1.1 200 OK\r\n"
HEADS = st.sampled_from(
    [
        b"",
        OK,
        b"HTTP/1.1 999 \r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        OK + b"Content-Length: -5\r\n\r\n{}",
        OK + b"Content-Length: 99999999999\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        OK + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 " + b"A" * 20_000,
        b"HTTP/1.1 301 Go\r\nLocation: /x\r\n\r\n",
        b"HTTP/1.1 204 None\r\n\r\n",
        OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b",
        OK + b"\r\n" + b"[" * 20_000,
    ]
)


@pytest.fixture(scope="module")
def scribbler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A TLS server that answers a request with the bytes it was given, and hangs up."""
    folder = tmp_path_factory.mktemp("scribbler")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    answers: list[bytes] = []
    listening = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                client.sendall(answers[-1])

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{listening.getsockname()[1]}", str(folder / "ca.pem"), answers
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(10)


# The answers so far are an argument: shown with a failure, however many they are.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(max_examples=40, deadline=None)
@given(HEADS | st.binary(max_size=200) | st.builds(bytes.__add__, HEADS, st.binary(max_size=50)))
def test_whatever_answers_the_agent_sees_one_kind_of_error(scribbler: Any, answer: bytes) -> None:
    url, ca_file, answers = scribbler
    answers.append(answer)
    client = ControlPlane(url, token="secret", ca_file=ca_file)
    try:
        with pytest.raises(ControlPlaneError):
            client.call("nodes/sync", MESSAGE, Done, timeout_seconds=20)
    finally:
        client.close()
