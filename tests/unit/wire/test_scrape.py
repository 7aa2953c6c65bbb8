"""The agents' small server: only who shows the token, only /metrics, nobody for long."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.wire import scrape
from egress.wire.scrape import _Refused, permit, serve_one, token_digest

TOKEN = "0123456789abcdef"
DIGEST = token_digest(TOKEN)


@contextlib.contextmanager
def serving(page: Callable[[], str] = lambda: "it 1\n", digest: str = DIGEST) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                serve_one(listener, page, digest)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join(30)


def get(port: int, path: str = "/metrics", *, method: str = "GET", token: str | None = TOKEN) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_who_shows_the_token_gets_the_page() -> None:
    with serving() as port:
        assert get(port) == (200, "it 1\n")
        assert get(port, "/metrics?x=y") == (200, "it 1\n")


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "\xff" * 16])
def test_nobody_else_does(token: str | None) -> None:
    with serving() as port:
        assert get(port, token=token) == (401, "Unauthorized\n")
        assert get(port, "/other", token=token)[0] == 401


def test_without_a_token_to_ask_for_everybody_who_reaches_it_does() -> None:
    with serving(digest="") as port:
        assert get(port, token=None) == (200, "it 1\n")


def test_there_is_nothing_else_and_no_other_way() -> None:
    with serving() as port:
        assert get(port, "/")[0] == 404
        assert get(port, "/metrics/")[0] == 404
        assert get(port, method="POST")[0] == 405


def test_a_page_that_fails_says_so_and_the_next_is_served() -> None:
    pages = iter([KeyError("what"), "it 2\n"])

    def page() -> str:
        found = next(pages)
        if isinstance(found, Exception):
            raise found
        return found

    with serving(page) as port:
        assert get(port) == (500, "see the agent's log\n")
        assert get(port) == (200, "it 2\n")


def test_a_head_without_end_is_cut_off() -> None:
    with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=30) as sender:
        sender.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 2000)
        with contextlib.suppress(ConnectionResetError):
            assert sender.recv(100).startswith(b"HTTP/1.1 431 ")
        assert get(port)[0] == 200


def test_who_sends_nothing_or_little_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "REQUEST_SECONDS", 0.5)
    with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=30) as sender:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 25:
                sender.sendall(b"G")
                sender.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if not sender.recv(1):
                        break
        assert time.monotonic() - began < 25
        assert get(port)[0] == 200


def test_who_hangs_up_at_once_harms_nobody() -> None:
    with serving() as port:
        for _ in range(5):
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
        assert get(port)[0] == 200


@given(st.binary(max_size=300))
def test_no_garbage_is_permitted_or_more_than_refused(head: bytes) -> None:
    with pytest.raises(_Refused):
        permit(head, DIGEST)
    with pytest.raises(_Refused):
        permit(b"GET /metrics HTTP/1.1\r\n" + head, DIGEST)
