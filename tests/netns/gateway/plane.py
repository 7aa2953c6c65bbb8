"""A control plane for one gateway: real TLS, the real messages, and a test's hands on it."""

import http.server
import socket
import ssl
import threading
import time
from dataclasses import replace
from typing import Any

import trustme

from egress.wire.codec import decode, encode
from egress.wire.messages import (
    Done,
    ErrorReply,
    GatewayEnrol,
    GatewayEnrolled,
    GatewayReport,
    GatewaySync,
    GatewaySyncRequest,
)

from .world import NODE, PUBLIC, ROUTER, VPC, inside

PORT = 8443
SECRET = "enrolment-secret-of-this-test"
PROBE_KEY = "5e" * 32


class ControlPlane:
    """Serves the gateway verbs in `namespace` from `start` to `stop`; what it was told stays over both."""

    def __init__(self, namespace: str, *, clients: tuple[str, ...] = (NODE,)) -> None:
        self._namespace = namespace
        authority = trustme.CA()
        self.ca_pem = authority.cert_pem.bytes().decode()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(ROUTER).configure_cert(self._tls)
        self.changed = threading.Condition()
        self.window_open = True
        self.token = ""
        #: Another credential, for the gateway to go on with.
        self.offer = ""
        self.enrolments = 0
        self.refused_enrolments = 0
        self.acknowledged = 0
        self.reports: list[GatewayReport] = []
        self.sync = GatewaySync(revision=1, public_address=PUBLIC, vpc=VPC, clients=clients, probe_key=PROBE_KEY)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"https://{ROUTER}:{PORT}"

    def set_clients(self, *clients: str) -> int:
        with self.changed:
            self.sync = replace(self.sync, revision=self.sync.revision + 1, clients=clients)
            self.changed.notify_all()
            return self.sync.revision

    def set_targets(self, *targets: str) -> None:
        with self.changed:
            self.sync = replace(self.sync, revision=self.sync.revision + 1, targets=targets)
            self.changed.notify_all()

    def start(self) -> None:
        listening = inside(self._namespace, lambda: socket.create_server((ROUTER, PORT), backlog=32))
        self._server = _Server(self, self._tls.wrap_socket(listening, server_side=True, do_handshake_on_connect=False))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._server and self._thread:
            server, self._server = self._server, None
            with self.changed:
                self.changed.notify_all()
            server.shutdown()
            self._thread.join(10)
            server.end_connections()
            server.server_close()

    # --- what the gateway calls --------------------------------------------------------------------------------------

    def answer(self, verb: str, token: str, body: bytes) -> tuple[int, Any]:
        if verb == "gateways/enrol":
            return self._enrol(token, decode(GatewayEnrol, body))
        if not self.token or token != self.token:
            return 401, ErrorReply(code="unauthorized", message="unknown token")
        if verb == "gateways/sync":
            return 200, self._sync(decode(GatewaySyncRequest, body))
        with self.changed:
            self.reports.append(decode(GatewayReport, body))
        return 200, Done()

    def _enrol(self, token: str, request: GatewayEnrol) -> tuple[int, Any]:
        with self.changed:
            if token != SECRET or not self.window_open:
                self.refused_enrolments += 1
                return 403, ErrorReply(code="window_closed", message="no enrolment window is open")
            self.enrolments += 1
            self.token = f"credential-of-{request.gateway_id}-{self.enrolments}"
            return 200, GatewayEnrolled(token=self.token)

    def _sync(self, request: GatewaySyncRequest) -> GatewaySync:
        end = time.monotonic() + request.wait_seconds
        with self.changed:
            self.acknowledged = request.applied_revision
            while self._nothing_new(request) and self._server and time.monotonic() < end:
                self.changed.wait(0.5)
            return replace(self.sync, credential=self.offer)

    def _nothing_new(self, request: GatewaySyncRequest) -> bool:
        return self.sync.revision == request.applied_revision and not self.offer


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, plane: ControlPlane, listening: socket.socket) -> None:
        super().__init__((ROUTER, PORT), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.plane = plane
        self._connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def end_connections(self) -> None:
        for each in self._connections:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that were cut: tests cut them."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    #: An agent that is killed leaves its connection half open.
    timeout = 60

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        token = self.headers["Authorization"].removeprefix("Bearer ")
        status, message = self.server.plane.answer(self.path.removeprefix("/agent/v1/"), token, body)
        content = encode(message)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
