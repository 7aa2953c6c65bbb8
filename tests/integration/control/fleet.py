"""Play the agents of a cluster, by the services that their HTTP API calls."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from egress.control.agents import calls as agents
from egress.control.agents import node_polls
from egress.control.agents.enrolment import enrolment_secret
from egress.control.errors import EgressError
from egress.control.models import App, Assignment, Cluster, Gateway, GatewayStatus, Node
from egress.control.reconcile.loop import reconcile
from egress.wire.messages import (
    GatewayEnrol,
    GatewayReport,
    GatewaySyncRequest,
    NodeReport,
    NodeSync,
    NodeSyncRequest,
)
from portal.accounts.models import User
from tests.factories import make_app, make_cluster, make_node, make_team, make_user

from .cloud import FileCloud


def node_acknowledge(token: str, message: NodeSyncRequest) -> Node:
    """Do the first half of one node's poll. Raises what it is refused with."""
    (node,) = node_polls.acknowledge([node_polls.Poll(token, message)])
    if isinstance(node, EgressError):
        raise node
    return node


def node_told(token: str, message: NodeSyncRequest) -> NodeSync:
    """Do the second half of one node's poll. Raises what it is refused with."""
    (told,) = node_polls.tell([node_polls.Poll(token, message)])
    if isinstance(told, EgressError):
        raise told
    return told


@dataclass
class Fleet:
    """A cluster with an app, its nodes and a cloud; `step()` is a reconcile, the rest is what agents do."""

    cluster: Cluster
    app: App
    user: User
    cloud: FileCloud
    nodes: list[Node]
    tokens: dict[str, str] = field(default_factory=dict)
    #: How often a gateway's server was restarted, by its id.
    boots: Counter[str] = field(default_factory=Counter)
    #: Servers that nobody hears, by the nodes' word too.
    dead: set[str] = field(default_factory=set)

    @property
    def assignment(self) -> Assignment:
        return Assignment.objects.select_related("app", "cluster").filter(app=self.app).latest("created_at")

    def gateways(self) -> list[Gateway]:
        rows = self.assignment.gateways.exclude(provisioning_status=GatewayStatus.DELETED)
        return list(rows.select_related("assignment").order_by("slot", "created_at"))

    def step(self) -> Assignment:
        reconcile(self.assignment.pk)
        return self.assignment

    def enrol(self, gateway: Gateway) -> str:
        assert gateway.public_address
        message = GatewayEnrol(gateway_id=str(gateway.pk), boot_id=self.boot_id(gateway), agent_version="1")
        token = agents.gateway_enrol(
            token=enrolment_secret(gateway.pk), message=message, remote_address=gateway.public_address
        ).token
        self.tokens[str(gateway.pk)] = token
        return token

    def boot_gateways(self) -> None:
        """Let every gateway that has its address enrol, learn the nodes and report that it forwards."""
        for gateway in self.gateways():
            self.boot(gateway)

    def boot(self, gateway: Gateway) -> None:
        token = self.tokens.get(str(gateway.pk)) or self.enrol(gateway)
        wanted = agents.gateway_clients(token=token, message=GatewaySyncRequest(applied_revision=0, wait_seconds=0))
        acknowledged = GatewaySyncRequest(applied_revision=wanted.revision, wait_seconds=0)
        agents.gateway_acknowledge(token=token, message=acknowledged)
        self.report_gateway(gateway)

    def boot_id(self, gateway: Gateway) -> str:
        return f"boot-{self.boots[str(gateway.pk)]}"

    def lay_anew(self) -> None:
        """Let the actions under way end."""
        self.boot_anew(self.cloud.end_actions())

    def boot_anew(self, ended: dict[str, str]) -> None:
        """Let gateways boot by what ended: {server: kind}. They know no credential after a rebuild."""
        for gateway in self.gateways():
            if gateway.server_id in ended:
                self.boots[str(gateway.pk)] += 1
                if ended[gateway.server_id] == "rebuild":
                    self.tokens.pop(str(gateway.pk), None)

    def report_gateway(self, gateway: Gateway, *, forwarding: bool = True, **said: Any) -> None:
        report = GatewayReport(boot_id=self.boot_id(gateway), agent_version="1", forwarding=forwarding, **said)
        agents.gateway_report(token=self.tokens[str(gateway.pk)], message=report)

    def sync_node(self, node: Node) -> NodeSync:
        """Let a node ask and at once acknowledge what it got."""
        token = f"node-token-{node.name}"
        node.refresh_from_db()
        asked = NodeSyncRequest(epoch=node.applied_epoch, applied_revision=node.applied_revision, wait_seconds=0)
        reply = node_told(token, asked)
        acknowledged = NodeSyncRequest(epoch=reply.epoch, applied_revision=reply.revision, wait_seconds=0)
        node_acknowledge(token, acknowledged)
        return reply

    def report_node(
        self, node: Node, *, flows: dict[str, int] | None = None, dataplane: str = "ok", **views: dict[str, Any]
    ) -> None:
        """Report; `views` are what the node's probes say: `gateways` and `reasons`."""
        report = NodeReport(
            boot_id="boot",
            agent_version="1",
            dataplane=dataplane,  # type: ignore[arg-type]
            containers={self.app.namespace: 1},
            flows=flows or {},
            **(views or self.views()),
        )
        agents.node_report(token=f"node-token-{node.name}", message=report)

    def views(self) -> dict[str, dict[str, Any]]:
        """Return what nodes see of gateways; nothing while all are well."""
        if not self.dead:
            return {"gateways": {}, "reasons": {}}
        bad = {str(gateway.pk): "dead" for gateway in self.gateways() if gateway.server_id in self.dead}
        return {"gateways": dict.fromkeys(bad, "unhealthy"), "reasons": bad}

    def nodes_follow(self, *, flows: dict[str, int] | None = None) -> None:
        for node in self.nodes:
            self.sync_node(node)
            self.report_node(node, flows=flows)

    def bring_up(self) -> Assignment:
        """Enable, and go all the way to active."""
        from egress.control.services import egress_enable

        egress_enable(app=self.app, actor=self.user)
        self.step()
        self.boot_gateways()
        self.step()
        self.nodes_follow()
        return self.step()


def make_fleet(cloud: FileCloud, **cluster_fields: Any) -> Fleet:
    """Make one of several fleets in a database, with one node: its name, and so its credential, is unique."""
    user = make_user()
    cluster = make_cluster(**cluster_fields)
    nodes = [make_node(cluster, name=f"{cluster.name}-node")]
    return Fleet(cluster=cluster, app=make_app(make_team(user), cluster), user=user, cloud=cloud, nodes=nodes)
