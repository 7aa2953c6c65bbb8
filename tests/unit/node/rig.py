"""What the node agent's tests share: a control plane to talk to, the agent as a process, the plugin as a process."""

import ctypes
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import trustme

from egress.cni.install import install_plugin
from egress.wire.codec import decode, encode
from egress.wire.messages import (
    PREFIX,
    ClusterSettings,
    Done,
    ErrorReply,
    NodeJoin,
    NodeJoined,
    NodeReport,
    NodeSync,
    NodeSyncRequest,
    Route,
    RouteGateway,
)

PYTHON = Path("/usr/bin/python3")
PATIENCE_SECONDS = 30.0
SETTINGS = ClusterSettings(vpc="10.110.0.0/20", local_networks=("10.244.0.0/16",))
T = TypeVar("T")


def wait_for(probe: Callable[[], T], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """Return the first true answer of `probe`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def route(namespace: str, pair: int = 1, *, state: str = "active") -> Route:
    gateways = tuple(
        RouteGateway(
            id=f"gateway-{pair}-{slot}",
            slot=slot,
            private_address=f"10.110.{pair}.{10 + slot}",
            public_address=f"203.0.113.{pair * 2 + slot}",
        )
        for slot in (0, 1)
    )
    return Route(namespace=namespace, pair=pair, state=state, gateways=gateways)  # type: ignore[arg-type]


def table(*routes: Route, revision: int = 1, epoch: str = "epoch-1") -> NodeSync:
    return NodeSync(
        epoch=epoch,
        revision=revision,
        full=True,
        routes=routes,
        removed=(),
        settings=SETTINGS,
        ordinal=0,
        probe_key="00" * 32,
    )


def ptp_result(
    address: str = "10.244.1.5", *, netns: str = "/run/netns/none", veth: str = "veth1234"
) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": veth, "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": netns},
        ],
        "ips": [{"address": f"{address}/24", "gateway": "10.244.1.1", "interface": 1}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    }


def net_config(result: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"cniVersion": "1.0.0", "name": "pods", "type": "sluicegate", **more}
    return config if result is None else {**config, "prevResult": result}


@dataclass
class StandIn:
    """A control plane over TLS, with one cluster in memory. `table` is what nodes get; `wake` tells them."""

    directory: Path
    join_token: str = "join-token-of-the-cluster"
    token: str = "credential-of-the-node-1"
    table: NodeSync = field(default_factory=table)
    requests: list[NodeSyncRequest] = field(default_factory=list)
    reports: list[NodeReport] = field(default_factory=list)
    joins: list[NodeJoin] = field(default_factory=list)
    port: int = 0
    #: The path of the network namespace to listen in; "" for this process's own.
    netns: str = ""
    #: Answers everything with 503.
    away: bool = False

    def __post_init__(self) -> None:
        authority = trustme.CA()
        self.ca_file = self.directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._news = threading.Condition()
        self._server: http.server.ThreadingHTTPServer | None = None

    def start(self) -> None:
        stand_in = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                token = self.headers["Authorization"].removeprefix("Bearer ")
                status, reply = stand_in.answer(self.path.removeprefix(PREFIX), token, body)
                content = encode(reply)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        with ThreadPoolExecutor(1) as elsewhere:
            self._server = elsewhere.submit(self._listen, Handler).result(PATIENCE_SECONDS)
        self.port = self._server.server_port
        self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _listen(self, handler: type[http.server.BaseHTTPRequestHandler]) -> "Quiet":
        """Return a server; its socket stays in the namespace that this thread, which then ends, has entered."""
        if self.netns:
            with Path(self.netns).open() as namespace:
                if ctypes.CDLL(None).setns(namespace.fileno(), 0) != 0:
                    raise OSError(f"{self.netns}: can't be entered")
        return Quiet(("127.0.0.1", self.port), handler)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None
        with self._news:
            self._news.notify_all()

    def publish(self, *routes: Route) -> None:
        with self._news:
            self.table = replace(self.table, routes=routes, revision=self.table.revision + 1)
            self._news.notify_all()

    def answer(self, verb: str, token: str, body: bytes) -> tuple[int, object]:
        if self.away:
            return 503, ErrorReply(code="unavailable", message="away")
        wanted = self.join_token if verb == "nodes/join" else self.token
        if token != wanted:
            return 401, ErrorReply(code="unauthorized", message="unknown token")
        if verb == "nodes/join":
            self.joins.append(decode(NodeJoin, body))
            return 200, NodeJoined(node_id="node-1", token=self.token)
        if verb == "nodes/report":
            self.reports.append(decode(NodeReport, body))
            return 200, Done()
        return 200, self._sync(decode(NodeSyncRequest, body))

    def _sync(self, request: NodeSyncRequest) -> NodeSync:
        self.requests.append(request)

        def news() -> bool:
            return (request.epoch, request.applied_revision) != (self.table.epoch, self.table.revision)

        with self._news:
            if self._news.wait_for(lambda: news() or self._server is None, request.wait_seconds) and news():
                return self.table
            return replace(self.table, full=False, routes=())


class Quiet(http.server.ThreadingHTTPServer):
    """A server that can cut its connections, and minds no client that goes away."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._connections: list[Any] = []
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        pass

    def hang_up(self) -> None:
        for connection in self._connections:
            connection.close()


@dataclass
class Node:
    """One node's folders, its agent process and its plugin."""

    directory: Path
    control_plane_url: str = "https://localhost:1"
    ca_file: Path | None = None
    netns: str = ""
    #: A command that the agent runs under.
    under: Sequence[str] = ()
    #: Whether the agent is to prove its network, which takes a conflist in `conf_dir`.
    canary: bool = False
    agent: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        # A unix socket's path is short; pytest's folders aren't.
        self.run_dir = self.directory / "run"
        self.state_dir = self.directory / "state"
        self.cache_dir = self.directory / "results"
        self.conf_dir = self.directory / "net.d"
        self.record_file = self.directory / "record"
        self.log_file = self.directory / "log"
        self.cache_dir.mkdir(parents=True)
        (self.directory / "join-token").write_text("join-token-of-the-cluster\n")
        self.plugin = install_plugin(
            self.directory / "bin",
            interpreter=PYTHON,
            socket=self.run_dir / "cni.sock",
            namespaces_file=self.state_dir / "namespaces",
        )

    @property
    def config(self) -> dict[str, Any]:
        return {
            "name": "node-1",
            "control_plane_url": self.control_plane_url,
            "ca_file": str(self.ca_file) if self.ca_file else None,
            "join_token_file": str(self.directory / "join-token"),
            "private_interface": "eth1",
            "private_address": "10.110.0.21",
            "state_dir": str(self.state_dir),
            "run_dir": str(self.run_dir),
            "cni_cache_dir": str(self.cache_dir),
            "cni_conf_dir": str(self.conf_dir),
            "cni_bin_dirs": [str(self.directory / "bin"), "/usr/lib/cni"],
            "canary": self.canary,
            # Tests run beside each other, and beside what has the port.
            "metrics_port": 0,
        }

    def start(self, *, real: bool = False) -> None:
        """Start the agent, with the recording data plane unless `real`, and wait until it is ready."""
        program = ["egress.node"] if real else ["tests.unit.node.recording_agent", "--record", str(self.record_file)]
        config = self.directory / "config.json"
        config.write_text(json.dumps(self.config))
        place = ["nsenter", f"--net={self.netns}"] if self.netns else []
        seen = self.log.count("READY")
        with self.log_file.open("ab") as output:
            self.agent = subprocess.Popen(
                [*place, *self.under, sys.executable, "-W", "error", "-m", *program, "--config", str(config)],
                stderr=output,
                cwd=Path(__file__).parents[3],
            )
        wait_for(lambda: self.log.count("READY") > seen or self.agent_is_gone(), "the agent is ready")
        assert not self.agent_is_gone(), self.log

    def agent_is_gone(self) -> bool:
        return self.agent is None or self.agent.poll() is not None

    def send(self, number: signal.Signals) -> None:
        assert self.agent
        self.agent.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the agent and return its exit code."""
        assert self.agent
        if self.agent.poll() is None:
            self.agent.send_signal(signal.SIGCONT)
            self.agent.send_signal(number)
        code = self.agent.wait(PATIENCE_SECONDS)
        self.agent = None
        return code

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def record(self) -> list[dict[str, Any]]:
        """What the agent asked of the data plane, latest last."""
        if not self.record_file.exists():
            return []
        return [
            json.loads(line) for line in self.record_file.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]

    @property
    def wish(self) -> dict[str, Any]:
        """The latest wish."""
        return self.record[-1] if self.record else {"routes": {}, "pods": {}}

    def call(
        self,
        command: str,
        config: Mapping[str, Any] | bytes | None = None,
        *,
        namespace: str | None = "shop",
        container: str = "c1",
        netns: str = "/proc/self/ns/net",
        args: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "Called":
        """Execute the plugin as a runtime does."""
        pairs = f"IgnoreUnknown=1;K8S_POD_NAME=pod-1;K8S_POD_NAMESPACE={namespace}" if namespace else ""
        variables = {
            "PATH": os.defpath,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": pairs if args is None else args,
            "CNI_PATH": "/opt/cni/bin",
        }
        stdin = (
            config if isinstance(config, bytes) else json.dumps(config if config is not None else net_config()).encode()
        )
        begun = time.monotonic()
        done = subprocess.run(
            [str(self.plugin)],
            input=stdin,
            env={**variables, **(env or {})},
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.stderr == b""
        return Called(done.returncode, done.stdout, time.monotonic() - begun)

    def list_namespaces(self, names: Sequence[str]) -> None:
        """Leave the list that an agent would leave."""
        self.state_dir.mkdir(exist_ok=True)
        (self.state_dir / "namespaces").write_text("\n".join(["#epoch-1 1", *names, ""]))


@dataclass
class Called:
    """How an execution of the plugin ended."""

    code: int
    output: bytes
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.output)
        return content


def acknowledged(control_plane: StandIn) -> tuple[str, int] | None:
    if not control_plane.requests:
        return None
    latest = control_plane.requests[-1]
    return latest.epoch, latest.applied_revision


def wait_acknowledged(control_plane: StandIn, revision: int) -> None:
    wait_for(
        lambda: acknowledged(control_plane) == (control_plane.table.epoch, revision),
        f"revision {revision} acknowledged",
    )
