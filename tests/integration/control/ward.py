"""A fleet whose gateways fall ill: time passes, agents report what they see, and the control plane looks after them."""

from dataclasses import dataclass, field
from typing import Any

from pytest_django import Settings

from egress.control import clock
from egress.control.errors import EgressError
from egress.control.inventory.tidy import tidy
from egress.control.models import Cluster, Event, Gateway
from egress.control.repair import sweep

from .fleet import Fleet

#: Less than the silence that is allowed, so that nobody falls silent between two looks.
BEAT_SECONDS = 20
#: Of a worker, between two looks.
MAX_RUNS = 4


@dataclass
class Ward:
    """`fleet`'s gateways are seen by what is known here of their servers, whatever the rows say."""

    fleet: Fleet
    settings: Settings
    #: Servers that are silent, with what brings them back.
    broken: dict[str, str] = field(default_factory=dict)
    #: What gateways say of themselves, by their server.
    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Nodes that say otherwise, by name: {server: "healthy" or a reason}.
    lies: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Gateways whose reports don't reach us, by their server.
    unheard: set[str] = field(default_factory=set)
    nodes_silent: set[str] = field(default_factory=set)
    flows: dict[str, int] = field(default_factory=dict)

    def pass_time(self, seconds: int, *, watched: bool = True) -> None:
        """Let agents live and the control plane look, every twenty seconds."""
        for _ in range(0, seconds, BEAT_SECONDS):
            self.settings.CLOCK_OFFSET_SECONDS += BEAT_SECONDS
            self._agents()
            if watched:
                sweep.watch()
            tidy()
            for _ in range(MAX_RUNS):
                due_at = self.fleet.assignment.due_at
                if due_at is None or due_at > clock.now():
                    break
                self.fleet.step()
                self._agents()

    def _agents(self) -> None:
        for server, kind in self.fleet.cloud.end_actions().items():
            gateway = next(one for one in self.fleet.gateways() if one.server_id == server)
            self.fleet.boots[str(gateway.pk)] += 1
            if kind == "rebuild":
                self.fleet.tokens.pop(str(gateway.pk), None)
            if self.broken.get(server) == kind:
                del self.broken[server]
        gateways, there = self.fleet.gateways(), set(self.servers())
        living = {one.server_id for one in gateways if one.server_id in there and one.server_id not in self.broken}
        for gateway in gateways:
            if gateway.public_address and gateway.server_id in living - self.unheard:
                self._gateway(gateway)
        for node in self.fleet.nodes:
            if node.name not in self.nodes_silent:
                node.refresh_from_db()
                if node.applied_revision != Cluster.objects.get(pk=node.cluster_id).revision:
                    self.fleet.sync_node(node)
                self.fleet.report_node(node, flows=dict(self.flows), **self._views(node.name, gateways, living))

    def servers(self) -> list[str]:
        return [server.id for server in self.fleet.cloud.servers()]

    def _gateway(self, gateway: Gateway) -> None:
        try:
            known = str(gateway.pk) in self.fleet.tokens
            if not known or gateway.applied_clients_revision != gateway.assignment.cluster.clients_revision:
                self.fleet.boot(gateway)
            self.fleet.report_gateway(gateway, **self.said.get(gateway.server_id, {}))
        except EgressError:
            # It enrols again at its next attempt.
            self.fleet.tokens.pop(str(gateway.pk), None)

    def _views(self, node: str, gateways: list[Gateway], living: set[str]) -> dict[str, dict[str, str]]:
        health, reasons = {}, {}
        for gateway in gateways:
            told = self.lies.get(node, {}).get(gateway.server_id) or (
                "healthy" if gateway.server_id in living else "dead"
            )
            health[str(gateway.pk)] = "healthy" if told == "healthy" else "unhealthy"
            if told != "healthy":
                reasons[str(gateway.pk)] = told
        return {"gateways": health, "reasons": reasons}

    # --- what came of it ---------------------------------------------------------------------------------------------

    def statuses(self) -> list[str]:
        return [gateway.provisioning_status for gateway in self.fleet.gateways()]

    def steps(self) -> list[str]:
        """Return what repair began, in order."""
        begun = Event.objects.filter(subject=sweep.SUBJECT).order_by("pk")
        return list(begun.values_list("new", flat=True))

    def addresses(self) -> list[str | None]:
        return [gateway.public_address for gateway in self.fleet.gateways()]
