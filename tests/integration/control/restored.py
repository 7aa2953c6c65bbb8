"""A cluster that goes through a restore: the database goes back, the cloud and the agents don't."""

from dataclasses import dataclass, field, replace

import pytest
from pytest_django import Settings

from egress.control import installation
from egress.control.agents import calls as agents
from egress.control.errors import StandsStill, Unauthorized
from egress.control.models import Assignment, AssignmentStatus
from egress.control.services import egress_disable, egress_enable
from egress.node.routes import merge
from egress.wire.messages import GatewayReport, GatewaySyncRequest, NodeReport, NodeSync, NodeSyncRequest, Route
from tests.factories import make_app

from .backup import Backups
from .fleet import Fleet, node_acknowledge, node_told

HOUR = 3600


@dataclass
class NodeAgent:
    """A node's agent as it goes on through a restore: its credential and its table are its own."""

    name: str
    table: NodeSync | None = None

    @property
    def token(self) -> str:
        return f"node-token-{self.name}"

    def poll(self) -> NodeSync:
        """Acknowledge what it has, and take what it is told. Raises what the control plane refuses with."""
        at = (self.table.epoch, self.table.revision) if self.table else ("", 0)
        for _ in range(2):
            asked = NodeSyncRequest(epoch=at[0], applied_revision=at[1], wait_seconds=0)
            node_acknowledge(self.token, asked)
            self.table = merge(self.table, node_told(self.token, asked))
            at = (self.table.epoch, self.table.revision)
        return self.table

    def report(self) -> None:
        """Say that all is well, and of each gateway in the table that it is probed and answers."""
        routes = self.table.routes if self.table else ()
        probed = {gateway.id: "healthy" for route in routes for gateway in route.gateways}
        report = NodeReport(boot_id="b", agent_version="1", dataplane="ok", gateways=probed)
        agents.node_report(token=self.token, message=report)

    def route(self, namespace: str) -> Route | None:
        assert self.table is not None
        return next((route for route in self.table.routes if route.namespace == namespace), None)


@dataclass
class World:
    """A cluster with its nodes and a cloud, which no restore changes; each app has a fleet of its own."""

    first: Fleet
    backups: Backups
    settings: Settings
    nodes: list[NodeAgent]
    fleets: list[Fleet] = field(default_factory=list)

    def another(self) -> Fleet:
        """Register one more app."""
        other = replace(self.first, app=make_app(self.first.app.team, self.first.cluster), tokens={})
        self.fleets.append(other)
        return other

    def follow(self) -> None:
        for node in self.nodes:
            node.poll()
            node.report()

    def up(self, fleet: Fleet) -> None:
        """Enable, and go all the way to active."""
        egress_enable(app=fleet.app, actor=fleet.user)
        fleet.step()
        fleet.boot_gateways()
        fleet.step()
        self.follow()
        assert fleet.step().status == AssignmentStatus.ACTIVE

    def down(self, fleet: Fleet) -> None:
        """Disable, and go all the way to released."""
        egress_disable(app=fleet.app, actor=fleet.user)
        for _ in range(3):
            fleet.step()
            self.follow()
        assert fleet.step().status == AssignmentStatus.RELEASED

    def restore(self) -> None:
        """Put the backup back, an hour after it was taken; the agents come back at once."""
        self.settings.CLOCK_OFFSET_SECONDS += HOUR
        self.backups.restore()
        for node in self.nodes:
            with pytest.raises(StandsStill):
                node.poll()
            node.report()
        assert installation.why_still()

    def servers(self) -> dict[str, str | None]:
        return {server.id: server.public_address for server in self.first.cloud.servers()}

    def reconcile_all(self) -> None:
        for assignment in Assignment.objects.all():
            self.first.app, app = assignment.app, self.first.app
            self.first.step()
            self.first.app = app


def gateways_return(fleet: Fleet) -> None:
    """Let the app's gateways speak with what they hold; those that are refused enrol again, as their agents do."""
    for gateway in fleet.gateways():
        report = GatewayReport(boot_id="boot", agent_version="1", forwarding=True)
        try:
            agents.gateway_report(token=fleet.tokens.get(str(gateway.pk), "none"), message=report)
        except Unauthorized:
            fleet.enrol(gateway)
            agents.gateway_report(token=fleet.tokens[str(gateway.pk)], message=report)
        asked = GatewaySyncRequest(applied_revision=0, wait_seconds=0)
        clients = agents.gateway_clients(token=fleet.tokens[str(gateway.pk)], message=asked)
        done = GatewaySyncRequest(applied_revision=clients.revision, wait_seconds=0)
        agents.gateway_acknowledge(token=fleet.tokens[str(gateway.pk)], message=done)
