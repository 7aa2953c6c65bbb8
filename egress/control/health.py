"""What we observe of nodes and gateways: computed from all reports and their age, an event on every change."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from . import clock, events
from .models import Event, Gateway, GatewayStatus, Health, Node, NodeStatus
from .models_health import Finding
from .opinions import Nodes, Opinion, Own, merge
from .wake import wake

#: Only what serves, or is meant to, is healthy or not: one in maintenance is silent on purpose.
OBSERVED = (GatewayStatus.BOOTING, GatewayStatus.READY, GatewayStatus.DRAINING)
#: What a gateway in use bears from when its server was found to be gone.
LOST = "Its server is gone at the cloud provider, and its address with it."
#: At most this many rows change their health in one look; the next look takes the rest.
BATCH = 500
#: If more than one in four of a cluster's gateways reach no target in the internet, the targets are at fault.
TARGETS_SHARE: Final = 4


def gateway_health(*, forwarding: bool, reported_at: datetime | None, now: datetime) -> Health:
    """Judge a gateway by its last report: unknown before the first, unhealthy when it is old or says no."""
    if reported_at is None:
        return Health.UNKNOWN
    return Health.HEALTHY if forwarding and not _stale(reported_at, now) else Health.UNHEALTHY


def node_health(*, dataplane: str, reported_at: datetime | None, now: datetime) -> Health:
    """Judge a node by its last report; one that is starting isn't sick yet."""
    if reported_at is None or (dataplane == "starting" and not _stale(reported_at, now)):
        return Health.UNKNOWN
    return Health.HEALTHY if dataplane == "ok" and not _stale(reported_at, now) else Health.UNHEALTHY


def is_healthy(gateway: Gateway) -> bool:
    """Say whether a gateway forwards now, by its own word."""
    health = gateway_health(forwarding=gateway.forwarding, reported_at=gateway.reported_at, now=clock.now())
    return health == Health.HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is said in one cluster at one moment: two queries, whatever the number of gateways."""

    now: datetime
    live_nodes: int
    #: Of these, those whose reports are fresh: only their views count.
    heard_nodes: int
    #: {gateway id: what nodes say of it}
    views: dict[str, Nodes]
    #: (gateway, assignment) of those that reach no target, by fresh reports, and how many report.
    offline: frozenset[tuple[UUID, UUID]]
    reporting: int

    @classmethod
    def of(cls, cluster_id: int) -> Self:
        """Read them."""
        now = clock.now()
        rows = Node.objects.filter(cluster_id=cluster_id, status=NodeStatus.LIVE)
        told = rows.values_list("reported_at", "gateways", "reasons")
        heard = [(gateways, reasons) for at, gateways, reasons in told if at is not None and not _stale(at, now)]
        own = Gateway.objects.filter(fresh(now), provisioning_status__in=OBSERVED, assignment__cluster_id=cluster_id)
        links = list(own.values_list("pk", "assignment_id", "internet"))
        return cls(
            now=now,
            live_nodes=len(told),
            heard_nodes=len(heard),
            views=_views(heard),
            offline=frozenset((key, pair) for key, pair, internet in links if not internet),
            reporting=len(links),
        )

    def opinion_of(self, gateway: Gateway, *, forgotten: bool = False) -> Opinion:
        """Return what is the matter with `gateway`; `forgotten`: it should have reported, but never did."""
        reported_at = gateway.reported_at
        own = Own(
            heard=reported_at is not None or forgotten,
            fresh=reported_at is not None and not _stale(reported_at, self.now),
            forwarding=gateway.forwarding,
            link=gateway.link,
            internet=gateway.internet,
            detail=gateway.detail,
            last=f"{reported_at:%H:%M:%S} UTC" if reported_at else "everything went on after a restore",
        )
        nodes = self.views.get(str(gateway.pk), Nodes())
        share = settings.EGRESS_NODES_AGAINST_PERCENT
        return merge(own, nodes, share=share, targets_at_fault=self._blames_targets(gateway))

    def _blames_targets(self, gateway: Gateway) -> bool:
        peers = any(pair == gateway.assignment_id and key != gateway.pk for key, pair in self.offline)
        return peers or len(self.offline) * TARGETS_SHARE > max(self.reporting, TARGETS_SHARE)


def observe_gateway(gateway: Gateway) -> None:
    """Bring `gateway.health` up to date after its own report: nodes are asked only where it makes a difference."""
    own = gateway_health(forwarding=gateway.forwarding, reported_at=gateway.reported_at, now=clock.now())
    well = gateway.link and gateway.internet
    if own != gateway.health or not well or gateway.finding != Finding.WELL:
        _conclude(gateway, Surroundings.of(gateway.assignment.cluster_id).opinion_of(gateway))


def observe_node(node: Node) -> None:
    """Bring `node.health` up to date."""
    health = node_health(dataplane=node.dataplane, reported_at=node.reported_at, now=clock.now())
    if node.health == health:
        return
    reason = node.detail
    if node.reported_at and _stale(node.reported_at, clock.now()):
        reason = f"no report since {node.reported_at:%H:%M:%S} UTC"
    with transaction.atomic():
        _swap(node, reason, health=health)


def watch_silence() -> None:
    """Find nodes and gateways that fell silent, and gateways that nodes can't use, and say so."""
    now = clock.now()
    silent = ~fresh(now) & Q(reported_at__isnull=False) & ~Q(health=Health.UNHEALTHY)
    for node in Node.objects.filter(silent, status=NodeStatus.LIVE)[:BATCH]:
        observe_node(node)
    seen = (*OBSERVED, GatewayStatus.ERROR)
    observed = Gateway.objects.filter(provisioning_status__in=seen, reported_at__isnull=False)
    for gateway, opinion in opinions_of(observed | Gateway.objects.filter(_mute())):
        _conclude(gateway, opinion)


def opinions_of(gateways: Any) -> list[tuple[Gateway, Opinion]]:
    """Return what is the matter with each; `gateways` is a query. Of those whose matter changed at most `BATCH`."""
    rows = gateways.select_related("assignment").order_by("assignment__cluster_id")
    around: dict[int, Surroundings] = {}
    changed: list[tuple[Gateway, Opinion]] = []
    for gateway in rows.iterator(chunk_size=BATCH):
        cluster_id = gateway.assignment.cluster_id
        if cluster_id not in around:
            around[cluster_id] = Surroundings.of(cluster_id)
        opinion = around[cluster_id].opinion_of(gateway, forgotten=gateway.reported_at is None)
        if (gateway.finding, gateway.finding_reason, gateway.health) != (
            opinion.finding, opinion.reason, opinion.health,
        ):  # fmt: skip
            changed.append((gateway, opinion))
            if len(changed) == BATCH:
                break
    return changed


def _views(heard: Iterable[tuple[dict[str, str], dict[str, str]]]) -> dict[str, Nodes]:
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    why: dict[str, Counter[str]] = {}
    for gateways, reasons in heard:
        for key, health in gateways.items():
            if health == Health.HEALTHY:
                good[key] += 1
            elif health == Health.UNHEALTHY:
                bad[key] += 1
                if key in reasons:
                    why.setdefault(key, Counter())[reasons[key]] += 1
    keys = good.keys() | bad.keys()
    return {key: Nodes(good=good[key], bad=bad[key], reasons=why.get(key, {})) for key in keys}


def _mute() -> Q:
    """Return the condition of gateways in use that were forgotten after a restore and didn't come back."""
    now = clock.now()
    window_over = Q(enrolment_until__isnull=True) | Q(enrolment_until__lt=now)
    silent = Q(reported_at__isnull=True, status_since__lt=now - _silence())
    return silent & window_over & Q(provisioning_status__in=(GatewayStatus.READY, GatewayStatus.DRAINING))


def is_fresh(reported_at: datetime | None, now: datetime) -> bool:
    """Say whether there is a report that isn't too old to go by."""
    return reported_at is not None and not _stale(reported_at, now)


def _silence() -> timedelta:
    return timedelta(seconds=settings.EGRESS_SILENCE_SECONDS)


def _stale(reported_at: datetime, now: datetime) -> bool:
    # A report from the future is from before the clock was set back: nobody knows how old it is.
    return abs(now - reported_at) > _silence()


def fresh(now: datetime) -> Q:
    """Return the condition of rows that reported lately."""
    return Q(reported_at__gte=now - _silence(), reported_at__lte=now + _silence())


def _conclude(gateway: Gateway, opinion: Opinion) -> None:
    """Save what is the matter; an event says what changed, but not every number of nodes."""
    now = clock.now()
    changes: dict[str, Any] = {"finding": opinion.finding.value, "finding_reason": opinion.reason}
    if gateway.finding != opinion.finding:
        changes["finding_since"] = now
    if gateway.health != opinion.health:
        changes["health_since"] = now
    with transaction.atomic():
        if "health_since" in changes and gateway.server_status == "off":
            # Only together with silence does the provider's word prove anything: nodes are to be told.
            wake([gateway.assignment_id])
        _swap(gateway, opinion.reason, health=opinion.health, **changes)


def _swap(row: Gateway | Node, reason: str, *, health: Health, **changes: Any) -> None:
    """Save by compare-and-swap: of two that see the same change, one writes the event."""
    name = "gateway" if isinstance(row, Gateway) else "node"
    before = {"health": row.health} | ({"finding": row.finding} if isinstance(row, Gateway) else {})
    if not type(row).objects.filter(pk=row.pk, **before).update(health=health, **changes):
        return
    if row.health != health:
        events.record(Event.Kind.HEALTH, f"{name}.health", on=row, old=row.health, new=health, reason=reason)
    elif "finding_since" in changes:
        old, new = before["finding"], changes["finding"]
        events.record(Event.Kind.HEALTH, "gateway.finding", on=row, old=old, new=new, reason=reason)
    for column, value in {"health": health, **changes}.items():
        setattr(row, column, value)
