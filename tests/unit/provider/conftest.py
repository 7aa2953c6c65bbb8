import contextlib
import json
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from egress.provider.digitalocean import DigitalOcean

Reply = Callable[[BaseHTTPRequestHandler], None]
TOKEN = "dop_v1_secret-token-of-this-test"


class Impostor(ThreadingHTTPServer):
    """A TLS server that answers with whatever the test told it to, and lists nothing otherwise."""

    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.replies: deque[Reply] = deque()
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.clients: list[tuple[str, int]] = []
        self.url = f"https://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Stay silent about clients that leave."""

    def answer(self, status: int, body: Any, **headers: str) -> None:
        """Queue an answer; `body` is JSON unless it is bytes. Underscores in names of headers are dashes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()

        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            wanted = {"Content-Type": "application/json", "Content-Length": str(len(content))}
            for name, value in (
                wanted | {name.replace("_", "-").title(): value for name, value in headers.items()}
            ).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content)

        self.replies.append(reply)

    def do(self, reply: Reply) -> None:
        self.replies.append(reply)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _reply(self) -> None:
        server = cast(Impostor, self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.requests.append((self.command, self.path, dict(self.headers), body))
        server.clients.append(self.client_address)
        if not server.replies:
            server.answer(200, {"droplets": [], "links": {}, "meta": {"total": 0}})
        with contextlib.suppress(OSError):
            server.replies.popleft()(self)

    do_GET = do_POST = do_DELETE = _reply  # noqa: N815 - as http.server wants it


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def impostor(authority: trustme.CA, tmp_path: Path) -> Iterator[Impostor]:
    certificate = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    with Impostor(certificate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def provider(impostor: Impostor, authority: trustme.CA, tmp_path: Path) -> Iterator[DigitalOcean]:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    with contextlib.closing(DigitalOcean(TOKEN, api_url=impostor.url, ca_file=str(ca_file))) as provider:
        yield provider
