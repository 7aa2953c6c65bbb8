"""Tell the nodes: number every route change, and answer what changed since a revision."""

from dataclasses import asdict
from typing import Any, Literal

from django.db import transaction
from django.db.models import F

from egress.wire.messages import MAX_ROUTES, ClusterSettings, NodeSync, Route, RouteGateway

from . import clock
from .health import LOST
from .models import Assignment, Cluster, Gateway, GatewayStatus, Health, RouteChange
from .models_repair import IN_PLACE
from .models_told import OnOutage

#: A node that missed more changes than this gets the whole table instead, without the routes that went.
MAX_DELTA = 2_000


def publish(cluster_id: int, namespace: str, route: Route | None) -> int:
    """Make `route` the namespace's route, or take it away; returns the revision that says so.

    In one transaction with what caused it. The update locks the cluster's row, so revisions are committed in order.
    """
    with transaction.atomic():
        Cluster.objects.filter(pk=cluster_id).update(revision=F("revision") + 1)
        revision = Cluster.objects.values_list("revision", flat=True).get(pk=cluster_id)
        RouteChange.objects.update_or_create(
            cluster_id=cluster_id,
            namespace=namespace,
            defaults={
                "revision": revision,
                "route": asdict(route) if route else None,
                "changed_at": clock.now(),
            },
        )
    return revision


def route_of(assignment: Assignment, state: Literal["active", "draining"]) -> Route:
    """Return the route over the assignment's two gateways, which must have their addresses."""
    gateways = assignment.gateways.filter(IN_PLACE).order_by("slot")
    return Route(
        namespace=assignment.app.namespace,
        pair=assignment.pair,
        state=state,
        gateways=tuple(
            RouteGateway(
                id=str(gateway.pk),
                slot=gateway.slot,
                private_address=gateway.private_address or "",
                public_address=gateway.public_address or "",
                state="active" if gateway.provisioning_status == GatewayStatus.READY else "draining",
                down=is_down(gateway),
            )
            for gateway in gateways
        ),
        spread=assignment.spread,
        on_outage="shared" if assignment.app.on_outage == OnOutage.SHARED else "reject",
    )


def is_down(gateway: Gateway) -> bool:
    """Say whether it is proved that a gateway runs no more: an action is on it, or the provider has it off or gone.

    Who still reports, or is seen to work by nodes, is believed rather than the provider.
    """
    status = gateway.provisioning_status
    if status == GatewayStatus.ERROR:
        return gateway.detail == LOST
    if status == GatewayStatus.MAINTENANCE:
        return bool(gateway.action_id)
    return gateway.server_status == "off" and gateway.health == Health.UNHEALTHY


def has_route(assignment: Assignment) -> bool:
    """Say whether nodes were told of this assignment's pair and not yet told to forget it."""
    change = RouteChange.objects.filter(cluster_id=assignment.cluster_id, namespace=assignment.app.namespace).first()
    return change is not None and change.route is not None and change.route["pair"] == assignment.pair


def is_announced(assignment: Assignment) -> bool:
    """Say whether nodes were told the active route just as it is now, the states of its gateways included."""
    change = RouteChange.objects.filter(cluster_id=assignment.cluster_id, namespace=assignment.app.namespace).first()
    told = _route(change.route) if change is not None and change.route is not None else None
    return told == route_of(assignment, "active")


def delta(cluster: Cluster, epoch: str, since: int) -> NodeSync:
    """Return what any node that applied revision `since` of `epoch` must learn; its ordinal is another's to say.

    Everything, when its history is another one, when it has nothing, or when it is too far behind.
    """
    changes = RouteChange.objects.filter(cluster=cluster)
    missed = changes.filter(revision__gt=since).order_by("revision")
    full = epoch != str(cluster.epoch) or not 0 < since <= cluster.revision or missed.count() > MAX_DELTA
    rows = list(changes.filter(route__isnull=False)[:MAX_ROUTES] if full else missed[: MAX_DELTA + 1])
    return NodeSync(
        epoch=str(cluster.epoch),
        revision=cluster.revision,
        full=full,
        routes=tuple(_route(row.route) for row in rows if row.route is not None),
        removed=tuple(row.namespace for row in rows if row.route is None),
        settings=settings_of(cluster),
        ordinal=0,
        probe_key=cluster.probe_key,
    )


def settings_of(cluster: Cluster) -> ClusterSettings:
    """Return what agents must know of their cluster."""
    return ClusterSettings(
        vpc=cluster.vpc,
        local_networks=tuple(cluster.local_networks),
        mark_mask=cluster.mark_mask,
        rule_priority=cluster.rule_priority,
        table_base=cluster.table_base,
        snat_ports=(cluster.snat_port_first, cluster.snat_port_last),
        flow_deadline_seconds=cluster.flow_deadline_seconds,
        probing=cluster.probing,
    )


def _route(data: dict[str, Any]) -> Route:
    gateways = tuple(RouteGateway(**gateway) for gateway in data["gateways"])
    return Route(**{**data, "gateways": gateways})
