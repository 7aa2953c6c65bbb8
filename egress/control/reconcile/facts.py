"""Read the rows of one assignment into the plain facts that the plan decides on."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from egress.control import clock, distribution
from egress.control.health import gateway_health
from egress.control.models import Assignment, AssignmentStatus, Gateway, GatewayStatus, Health, Node, Placement, Wish
from egress.control.models_rollouts import Maintenance
from egress.control.selectors import carries, has_applied, live_nodes

from .plan import Facts, GatewayFacts, NodeFacts


def facts_of(assignment: Assignment, polled: Iterable[UUID] = ()) -> Facts:
    """Return what is wanted and observed of `assignment`, whose cluster and app are loaded."""
    now = clock.now()
    gateways = list(assignment.gateways.exclude(provisioning_status=GatewayStatus.DELETED))
    flows = [(node, _flows(node, assignment)) for node in live_nodes(assignment.cluster_id)]
    return Facts(
        now=now,
        wish=Wish(assignment.wish),
        status=AssignmentStatus(assignment.status),
        since=assignment.status_since,
        gateways=tuple(_gateway(gateway, assignment, flows, now) for gateway in gateways),
        nodes=tuple(_node(node, assignment, reported, gateways) for node, reported in flows),
        targeted=assignment.target_revision is not None,
        placed=assignment.placement != Placement.UNCHECKED,
        announced=assignment.status != AssignmentStatus.ACTIVE or distribution.is_announced(assignment),
        flow_deadline=timedelta(seconds=assignment.cluster.flow_deadline_seconds),
        held_until=assignment.held_until,
        boot_limit=timedelta(seconds=settings.EGRESS_BOOT_LIMIT_SECONDS),
        deletion_limit=timedelta(seconds=settings.EGRESS_DELETION_STUCK_SECONDS),
        polled=frozenset(polled),
    )


def _flows(node: Node, assignment: Assignment) -> dict[str, int] | None:
    """Return {gateway id: connections} as the node sees them after it applied what it was told; None before."""
    told = node.reported_at is not None and node.applied_at is not None and node.reported_at >= node.applied_at
    return node.flows if told and has_applied(node, assignment) else None


def _gateway(
    gateway: Gateway, assignment: Assignment, flows: Sequence[tuple[Node, dict[str, int] | None]], now: datetime
) -> GatewayFacts:
    health = gateway_health(forwarding=gateway.forwarding, reported_at=gateway.reported_at, now=now)
    return GatewayFacts(
        id=gateway.pk,
        slot=gateway.slot,
        status=GatewayStatus(gateway.provisioning_status),
        since=gateway.status_since,
        addressed=bool(gateway.public_address and gateway.private_address),
        forwarding=health == Health.HEALTHY,
        acknowledged=gateway.applied_clients_revision >= assignment.cluster.clients_revision,
        reported_at=gateway.reported_at,
        flows=_connections(str(gateway.pk), [reported for _, reported in flows]),
        sick=gateway.health == Health.UNHEALTHY,
        replaced=gateway.maintenance == Maintenance.REPLACE and gateway.provisioning_status == GatewayStatus.ERROR,
        replaces=gateway.replaces_id,
        held=gateway.maintenance == Maintenance.HOLD,
        acting=bool(gateway.action_id),
        rebooted=bool(gateway.boot_id) and gateway.boot_id != gateway.left_boot_id,
        seen=_seen(gateway, [node for node, _ in flows], now),
    )


def _seen(gateway: Gateway, nodes: Iterable[Node], now: datetime) -> bool:
    """Say whether at least half of the nodes that probe a gateway see it work, by reports since it boots.

    Half: a fault of the network towards some nodes isn't the gateway's. A node that fell silent has no say.
    """
    heard_since = now - timedelta(seconds=settings.EGRESS_SILENCE_SECONDS)
    told = [
        (node.gateways[str(gateway.pk)], node.reported_at)
        for node in nodes
        if node.reported_at is not None and node.reported_at > heard_since and str(gateway.pk) in node.gateways
    ]
    healthy = sum(said == Health.HEALTHY and at > gateway.status_since for said, at in told)
    return bool(2 * healthy >= len(told))


def _connections(gateway_id: str, reports: Sequence[dict[str, int] | None]) -> int | None:
    if any(report is None for report in reports):
        return None
    return sum(report.get(gateway_id, 0) for report in reports if report is not None)


def _node(
    node: Node, assignment: Assignment, reported: dict[str, int] | None, gateways: Sequence[Gateway]
) -> NodeFacts:
    return NodeFacts(
        applied=has_applied(node, assignment),
        working=carries(node, assignment.app.namespace),
        flows=None if reported is None else sum(reported.get(str(gateway.pk), 0) for gateway in gateways),
    )
