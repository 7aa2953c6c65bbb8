"""Read the control plane's state for Prometheus: a dozen queries at most for any number of rows, one pass a table.

Labels are operators' words (clusters, statuses, concerns), never customers': no names, no addresses.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet

from egress import __version__
from egress.control import attention, clock
from egress.control.attention import Concern
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
from egress.control.models_repair import ClusterRepair
from egress.control.models_rollouts import UNDER_WAY, Rollout
from egress.control.reconcile.lease import free
from egress.wire.exposition import PLAIN, Page, Values

from . import table

_SERVING = (GatewayStatus.READY, GatewayStatus.DRAINING)
_OUT = "without_gateway"


def page() -> Page:
    """Return what the database says."""
    now = clock.now()
    clusters = {cluster.pk: cluster for cluster in Cluster.objects.order_by("name")}
    names = {key: cluster.name for key, cluster in clusters.items()}
    assignments = _survey(
        Assignment.objects.exclude(status=AssignmentStatus.RELEASED),
        "cluster_id",
        ("status",),
        (*attention.assignment_concerns(), Concern(key=_OUT, label="", where=_without_gateway())),
    )
    gateways = _survey(
        Gateway.objects.exclude(provisioning_status=GatewayStatus.DELETED),
        "assignment__cluster_id",
        ("provisioning_status", "health", "finding"),
        attention.gateway_concerns(),
        fullest=Max(F("conntrack_entries") * 1.0 / F("conntrack_limit"), filter=Q(conntrack_limit__gt=0)),
        ports=Max("snat_ports_worst"),
    )
    live = Node.objects.filter(status=NodeStatus.LIVE)
    nodes = _survey(live, "cluster_id", ("health", "dataplane"), attention.node_concerns())
    due = Assignment.objects.filter(free(now), due_at__lte=now).aggregate(count=Count("pk"), oldest=Min("due_at"))
    stopped = set(ClusterRepair.objects.filter(stopped_at__isnull=False).values_list("cluster_id", flat=True))
    under_way = Rollout.objects.filter(status__in=UNDER_WAY).order_by()
    rollouts = under_way.values_list("cluster_id", "status").annotate(Count("pk"))
    return {
        table.INFO: {(settings.INSTALLATION_ID, __version__): 1},
        table.ASSIGNMENTS: assignments.counted(names, 0),
        table.ASSIGNMENT_CONCERNS: assignments.concerned(names, but=_OUT),
        table.OUTAGES: {(name,): assignments.concerns[_OUT][key] for key, name in names.items()},
        table.GATEWAYS: gateways.counted(names, 0, 1),
        table.FINDINGS: gateways.counted(names, 2),
        table.CONNTRACK: gateways.most(names, "fullest"),
        table.PORTS: gateways.most(names, "ports"),
        table.REPAIR_STOPPED: {(name,): int(key in stopped) for key, name in names.items()},
        table.ROLLOUTS: {(names[key], status): count for key, status, count in rollouts},
        table.GATEWAY_CONCERNS: gateways.concerned(names),
        table.NODES: nodes.counted(names, 0, 1),
        table.NODE_CONCERNS: nodes.concerned(names),
        table.REVISION: {(cluster.name,): cluster.revision for cluster in clusters.values()},
        table.LAG: {(cluster.name,): seconds for cluster, seconds in _lags(clusters.values(), live, now)},
        table.STRAYS: _plain_concerns(StrayServer.objects.all(), attention.stray_concerns()),
        table.INSTALLATION: _plain_concerns(Installation.objects.all(), attention.installation_concerns()),
        table.UNSEEN: {PLAIN: Event.objects.filter(attention.any_of(attention.event_concerns())).count()},
        table.DUE: {PLAIN: due["count"]},
        table.OVERDUE: {PLAIN: max(0.0, (now - due["oldest"]).total_seconds()) if due["oldest"] else 0},
    }


@dataclass(frozen=True, slots=True)
class _Survey:
    """How many rows of each cluster (by its key) there are of each kind, and with each concern."""

    kinds: Counter[tuple[int, tuple[str, ...]]]
    concerns: Mapping[str, Counter[int]]
    #: By cluster and name: the largest of a number.
    largest: dict[tuple[int, str], float]

    def counted(self, names: Mapping[int, str], *at: int) -> Values:
        """Return how many rows there are of each combination of the fields at these places."""
        counts: Counter[tuple[str, ...]] = Counter()
        for (key, kind), count in self.kinds.items():
            counts[names[key], *(kind[place] for place in at)] += count
        return dict(counts)

    def most(self, names: Mapping[int, str], number: str) -> Values:
        """Return the largest `number` of each cluster, 0 where there is none."""
        return {(name,): self.largest.get((key, number), 0) for key, name in names.items()}

    def concerned(self, names: Mapping[int, str], *, but: str = "") -> Values:
        """Return the concerns other than `but`, zeros included: an alarm must end by a number, not by a gap."""
        shown = [(concern, counts) for concern, counts in self.concerns.items() if concern != but]
        return {(name, concern): counts[key] for key, name in names.items() for concern, counts in shown}


def _survey(
    rows: QuerySet[Any], cluster: str, fields: Sequence[str], concerns: Sequence[Concern], **largest: Max
) -> _Survey:
    """Count `rows` by cluster and `fields`, and those with each concern, and find the `largest`, in one query."""
    wanted = {concern.key: Count("pk", filter=concern.where) for concern in concerns}
    survey = _Survey(Counter(), {key: Counter() for key in wanted}, {})
    for row in rows.order_by().values(cluster, *fields).annotate(all_of_them=Count("pk"), **wanted, **largest):
        survey.kinds[row[cluster], tuple(str(row[field]) for field in fields)] += row["all_of_them"]
        for key in wanted:
            survey.concerns[key][row[cluster]] += row[key]
        for name in largest:
            place = row[cluster], name
            survey.largest[place] = max(survey.largest.get(place, 0), row[name] or 0)
    return survey


def _plain_concerns(rows: QuerySet[Any], concerns: Sequence[Concern]) -> Values:
    counts = rows.aggregate(**{concern.key: Count("pk", filter=concern.where) for concern in concerns})
    return {(key,): count for key, count in counts.items()}


def _without_gateway() -> Q:
    serving = Gateway.objects.filter(assignment=OuterRef("pk"), provisioning_status__in=_SERVING, health=Health.HEALTHY)
    return Q(~Exists(serving), status=AssignmentStatus.ACTIVE)


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
