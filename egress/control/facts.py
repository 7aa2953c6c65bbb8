"""Read the rows of one assignment into the plain facts that the plan decides on."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings

from . import clock
from .health import gateway_health
from .models import Assignment, AssignmentStatus, Gateway, GatewayStatus, Health, Node, Wish
from .plan import Facts, GatewayFacts, NodeFacts
from .selectors import has_applied, live_nodes


def facts_of(assignment: Assignment, polled: Iterable[UUID] = ()) -> Facts:
    """Return what is wanted and observed of `assignment`, whose cluster and app are loaded."""
    now = clock.now()
    gateways = list(assignment.gateways.exclude(provisioning_status=GatewayStatus.DELETED))
    ids = [str(gateway.pk) for gateway in gateways]
    clients_revision = assignment.cluster.clients_revision
    return Facts(
        now=now,
        wish=Wish(assignment.wish),
        status=AssignmentStatus(assignment.status),
        since=assignment.status_since,
        gateways=tuple(_gateway(gateway, clients_revision, now) for gateway in gateways),
        nodes=tuple(_node(node, assignment, ids) for node in live_nodes(assignment.cluster_id)),
        targeted=assignment.target_revision is not None,
        flow_deadline=timedelta(seconds=assignment.cluster.flow_deadline_seconds),
        boot_limit=timedelta(seconds=settings.EGRESS_BOOT_LIMIT_SECONDS),
        polled=frozenset(polled),
    )


def _gateway(gateway: Gateway, clients_revision: int, now: datetime) -> GatewayFacts:
    health = gateway_health(forwarding=gateway.forwarding, reported_at=gateway.reported_at, now=now)
    return GatewayFacts(
        id=gateway.pk,
        slot=gateway.slot,
        status=GatewayStatus(gateway.provisioning_status),
        since=gateway.status_since,
        addressed=bool(gateway.public_address and gateway.private_address),
        forwarding=health == Health.HEALTHY,
        acknowledged=gateway.applied_clients_revision >= clients_revision,
        reported_at=gateway.reported_at,
    )


def _node(node: Node, assignment: Assignment, gateway_ids: list[str]) -> NodeFacts:
    applied = has_applied(node, assignment)
    told = node.reported_at is not None and node.applied_at is not None and node.reported_at >= node.applied_at
    return NodeFacts(
        applied=applied,
        working=node.dataplane == "ok",
        flows=sum(node.flows.get(gateway_id, 0) for gateway_id in gateway_ids) if applied and told else None,
    )
