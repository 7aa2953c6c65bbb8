"""Agents at wire level: each follows what the control plane wants, records it, and reports that all is well."""

import abc
import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from egress import __version__
from egress.gateway.config import Config
from egress.gateway.session import Backoff
from egress.lab.config import NodeConfig
from egress.node.routes import merge
from egress.wire.codec import WireError
from egress.wire.http import ControlPlane, ControlPlaneError, Refused
from egress.wire.messages import (
    Done,
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

from . import DETAIL
from .plane import RelayedControlPlane

log = logging.getLogger(__name__)

WAIT_SECONDS = 10
MARGIN_SECONDS = 10
REPORT_SECONDS = 5.0
#: A control plane that answers at once with nothing new isn't asked more often than that.
LEAST_SECONDS_BETWEEN_SYNCS = 0.2
LONGEST_PAUSE_SECONDS = 5


class StandIn(abc.ABC):
    """One agent: a thread that follows and a thread that reports, until it is stopped.

    It reaches the control plane by the unix socket at the path `socket`, and says that it comes from `address`.
    """

    def __init__(self, name: str, socket: str, address: str, *, token: str = "") -> None:
        self.name = name
        self.boot_id = str(uuid.uuid4())
        self._socket = socket
        self._address = address
        self.token = token
        self._entering = threading.Lock()
        self._stopped = threading.Event()
        self._worth_reporting = threading.Event()

    def start(self) -> None:
        """Begin."""
        for step in (self._follow, self._tell):
            threading.Thread(target=self._repeat, args=(step,), name=self.name, daemon=True).start()

    def stop(self) -> None:
        """Say nothing any more; a poll that is under way ends by itself."""
        self._stopped.set()
        self._worth_reporting.set()

    @abc.abstractmethod
    def _enter(self, plane: ControlPlane) -> str:
        """Return a fresh credential. Raises ControlPlaneError."""

    @abc.abstractmethod
    def _sync(self, plane: ControlPlane) -> bool:
        """Ask once, take over the answer, and return whether there was news. Raises ControlPlaneError, WireError."""

    @abc.abstractmethod
    def _report(self, plane: ControlPlane) -> None:
        """Report once. Raises ControlPlaneError."""

    def _repeat(self, step: Callable[[ControlPlane], None]) -> None:
        plane = RelayedControlPlane(self._socket, self._address)
        backoff = Backoff(most_seconds=LONGEST_PAUSE_SECONDS)
        trouble = ""
        while not self._stopped.is_set():
            try:
                self._authenticated(plane, step)
            except (ControlPlaneError, WireError) as error:
                if str(error) != trouble:
                    log.warning("%s: %s", self.name, error)
                trouble = str(error)
                self._stopped.wait(backoff.next_seconds())
            else:
                backoff.reset()
                trouble = ""
        plane.close()

    def _authenticated(self, plane: ControlPlane, step: Callable[[ControlPlane], None]) -> None:
        token = self._credential(plane)
        plane.token = token
        try:
            step(plane)
        except Refused as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                with self._entering:
                    self.token = "" if self.token == token else self.token
            raise

    def _credential(self, plane: ControlPlane) -> str:
        with self._entering:
            if not self.token:
                self.token = self._enter(plane)
            return self.token

    def _follow(self, plane: ControlPlane) -> None:
        if self._sync(plane):
            self._worth_reporting.set()
        else:
            self._stopped.wait(LEAST_SECONDS_BETWEEN_SYNCS)

    def _tell(self, plane: ControlPlane) -> None:
        self._worth_reporting.clear()
        self._report(plane)
        self._worth_reporting.wait(REPORT_SECONDS)


class RecordedNode(StandIn):
    """A worker node's agent. `gateway_runs` tells of a private address whether a gateway runs there."""

    def __init__(
        self, node: NodeConfig, socket: str, join_token_file: str, gateway_runs: Callable[[str], bool]
    ) -> None:
        super().__init__(node.name, socket, node.public_address)
        self.node = node
        self._join_token_file = Path(join_token_file)
        self._gateway_runs = gateway_runs
        self._table: NodeSync | None = None
        self._containers: Mapping[str, int] = {}

    @property
    def recorded(self) -> dict[str, list[str]]:
        """What leaves by which addresses, by namespace, as the node would have it."""
        routes = self._table.routes if self._table else ()
        return {
            route.namespace: [gateway.public_address for gateway in route.gateways if gateway.state == "active"]
            for route in routes
            if route.state == "active"
        }

    def set_containers(self, counts: Mapping[str, int]) -> None:
        """Take note of the containers that run here: how many, by namespace."""
        self._containers = dict(counts)
        self._worth_reporting.set()

    def _enter(self, plane: ControlPlane) -> str:
        plane.token = self._join_token_file.read_text("ascii").strip()
        message = NodeJoin(
            name=self.name,
            private_address=self.node.private_address,
            boot_id=self.boot_id,
            agent_version=__version__,
        )
        return plane.call("nodes/join", message, NodeJoined).token

    def _sync(self, plane: ControlPlane) -> bool:
        had = self._table
        request = NodeSyncRequest(
            epoch=had.epoch if had else "", applied_revision=had.revision if had else 0, wait_seconds=WAIT_SECONDS
        )
        news = plane.call("nodes/sync", request, NodeSync, timeout_seconds=WAIT_SECONDS + MARGIN_SECONDS)
        self._table = merge(had, news)
        if had and (had.epoch, had.revision) == (news.epoch, news.revision):
            return False
        log.info("%s: revision %d recorded: %s", self.name, news.revision, self.recorded or "no routes")
        return True

    def _report(self, plane: ControlPlane) -> None:
        table = self._table
        report = NodeReport(
            boot_id=self.boot_id,
            agent_version=__version__,
            dataplane="ok" if table else "starting",
            detail=DETAIL,
            containers=dict(self._containers),
            gateways=self._health(table) if table else {},
        )
        plane.call("nodes/report", report, Done)

    def _health(self, table: NodeSync) -> dict[str, Literal["healthy", "unhealthy", "unknown"]]:
        return {
            gateway.id: "healthy" if self._gateway_runs(gateway.private_address) else "unhealthy"
            for route in table.routes
            if self._containers.get(route.namespace)
            for gateway in route.gateways
        }


class RecordedGateway(StandIn):
    """A gateway's agent, as its user data would have brought it to the Droplet with this public address.

    `token` is the credential that it has on its disk, "" on a fresh one.
    """

    def __init__(self, config: Config, socket: str, address: str, *, token: str = "") -> None:
        super().__init__(f"gateway {config.gateway_id}", socket, address, token=token)
        self._config = config
        self._applied: GatewaySync | None = None

    def _enter(self, plane: ControlPlane) -> str:
        plane.token = self._config.enrolment_secret
        message = GatewayEnrol(gateway_id=self._config.gateway_id, boot_id=self.boot_id, agent_version=__version__)
        return plane.call("gateways/enrol", message, GatewayEnrolled).token

    def _sync(self, plane: ControlPlane) -> bool:
        had = self._applied
        request = GatewaySyncRequest(
            applied_revision=had.revision if had else 0, wait_seconds=WAIT_SECONDS if had else 0
        )
        self._applied = plane.call("gateways/sync", request, GatewaySync, timeout_seconds=WAIT_SECONDS + MARGIN_SECONDS)
        if self._applied == had:
            return False
        log.info("%s: revision %d recorded: %s", self.name, self._applied.revision, self._applied.clients)
        return True

    def _report(self, plane: ControlPlane) -> None:
        report = GatewayReport(
            boot_id=self.boot_id, agent_version=__version__, forwarding=self._applied is not None, detail=DETAIL
        )
        plane.call("gateways/report", report, Done)
