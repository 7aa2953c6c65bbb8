"""Read the control plane's state for Prometheus: some fifteen queries, whatever the number of rows.

Labels are operators' words (clusters, statuses, concerns), never customers': no names, no addresses.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, Exists, F, Min, OuterRef, QuerySet

from egress import __version__
from egress.control import attention, clock
from egress.control.models import (
    Assignment,
    AssignmentStatus,
    Cluster,
    Event,
    Gateway,
    GatewayStatus,
    Health,
    Node,
    NodeStatus,
    RouteChange,
)
from egress.control.models_installation import Installation, StrayServer
from egress.control.reconcile.lease import free
from egress.wire.exposition import PLAIN, Page, Values

from . import table

_SERVING = (GatewayStatus.READY, GatewayStatus.DRAINING)


def page() -> Page:
    """Return what the database says."""
    now = clock.now()
    clusters = list(Cluster.objects.order_by("name"))
    names = [cluster.name for cluster in clusters]
    assignments = Assignment.objects.exclude(status=AssignmentStatus.RELEASED)
    gateways = Gateway.objects.exclude(provisioning_status=GatewayStatus.DELETED)
    nodes = Node.objects.filter(status=NodeStatus.LIVE)
    due = Assignment.objects.filter(free(now), due_at__lte=now).aggregate(count=Count("pk"), oldest=Min("due_at"))
    return {
        table.INFO: {(settings.INSTALLATION_ID, __version__): 1},
        table.ASSIGNMENTS: _counted(assignments, "cluster__name", "status"),
        table.ASSIGNMENT_CONCERNS: _concerns(assignments, "cluster__name", attention.assignment_concerns(), names),
        table.OUTAGES: _by_cluster(_without_gateway(), "cluster__name", names),
        table.GATEWAYS: _counted(gateways, "assignment__cluster__name", "provisioning_status", "health"),
        table.GATEWAY_CONCERNS: _concerns(gateways, "assignment__cluster__name", attention.gateway_concerns(), names),
        table.NODES: _counted(nodes, "cluster__name", "health", "dataplane"),
        table.NODE_CONCERNS: _concerns(nodes, "cluster__name", attention.node_concerns(), names),
        table.REVISION: {(cluster.name,): cluster.revision for cluster in clusters},
        table.LAG: {(cluster.name,): seconds for cluster, seconds in _lags(clusters, nodes, now)},
        table.STRAYS: _plain_concerns(StrayServer.objects.all(), attention.stray_concerns()),
        table.INSTALLATION: _plain_concerns(Installation.objects.all(), attention.installation_concerns()),
        table.UNSEEN: {PLAIN: Event.objects.filter(attention.any_of(attention.event_concerns())).count()},
        table.DUE: {PLAIN: due["count"]},
        table.OVERDUE: {PLAIN: max(0.0, (now - due["oldest"]).total_seconds()) if due["oldest"] else 0},
    }


def _counted(rows: QuerySet[Any], *fields: str) -> Values:
    """Return how many rows there are of each combination that there is."""
    return {labels: count for *values, count in _grouped(rows, *fields) for labels in (tuple(map(str, values)),)}


def _grouped(rows: QuerySet[Any], *fields: str) -> Iterable[tuple[Any, ...]]:
    found: Iterable[tuple[Any, ...]] = rows.order_by().values_list(*fields).annotate(Count("pk"))
    return found


def _by_cluster(rows: QuerySet[Any], cluster: str, names: Iterable[str]) -> Values:
    """Return how many rows each cluster has, 0 where it has none: a metric that vanishes ends no alarm rightly."""
    return {(name,): 0 for name in names} | {(str(name),): count for name, count in _grouped(rows, cluster)}


def _concerns(rows: QuerySet[Any], cluster: str, concerns: Sequence[attention.Concern], names: Iterable[str]) -> Values:
    """Return how many rows of each cluster have each concern, zeros included."""
    counts = {concern.key: Count("pk", filter=concern.where) for concern in concerns}
    found = {row[cluster]: row for row in rows.order_by().values(cluster).annotate(**counts)}
    return {(name, key): found[name][key] if name in found else 0 for name in names for key in counts}


def _plain_concerns(rows: QuerySet[Any], concerns: Sequence[attention.Concern]) -> Values:
    counts = rows.aggregate(**{concern.key: Count("pk", filter=concern.where) for concern in concerns})
    return {(key,): count for key, count in counts.items()}


def _without_gateway() -> QuerySet[Assignment]:
    serving = Gateway.objects.filter(assignment=OuterRef("pk"), provisioning_status__in=_SERVING, health=Health.HEALTHY)
    return Assignment.objects.filter(~Exists(serving), status=AssignmentStatus.ACTIVE)


def _lags(clusters: Iterable[Cluster], nodes: QuerySet[Node], now: datetime) -> Iterable[tuple[Cluster, float]]:
    """Say for each cluster how long the oldest change has waited that some node lacks: one query each that lags."""
    least: dict[int, int] = {}
    for cluster_id, epoch, valid, applied in (
        nodes.order_by()
        .values_list("cluster_id", "applied_epoch", F("cluster__epoch"))
        .annotate(Min("applied_revision"))
    ):
        known = applied if epoch == str(valid) else 0
        least[cluster_id] = min(known, least.get(cluster_id, known))
    for cluster in clusters:
        applied = least.get(cluster.pk, cluster.revision)
        missed = RouteChange.objects.filter(cluster=cluster, revision__gt=applied)
        since = missed.aggregate(since=Min("changed_at"))["since"] if applied < cluster.revision else None
        yield cluster, max(0.0, (now - since).total_seconds()) if since else 0.0
