"""What we observe of nodes and gateways: computed from their reports and their age, an event on every change."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from . import clock, events
from .models import Event, Gateway, GatewayStatus, Health, Node, NodeStatus

#: Only what serves, or is meant to, is healthy or not: one in maintenance is silent on purpose.
OBSERVED = (GatewayStatus.BOOTING, GatewayStatus.READY, GatewayStatus.DRAINING)
#: What a gateway in use bears from when its server was found to be gone.
LOST = "Its server is gone at the cloud provider, and its address with it."
#: At most this many rows change their health in one look; the next look takes the rest.
BATCH = 500


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


def observe_gateway(gateway: Gateway) -> None:
    """Bring `gateway.health` up to date."""
    health = gateway_health(forwarding=gateway.forwarding, reported_at=gateway.reported_at, now=clock.now())
    _save(gateway, "gateway.health", health, gateway.detail)


def observe_node(node: Node) -> None:
    """Bring `node.health` up to date."""
    health = node_health(dataplane=node.dataplane, reported_at=node.reported_at, now=clock.now())
    _save(node, "node.health", health, node.detail)


def watch_silence() -> None:
    """Find nodes and gateways that fell silent, and mark them unhealthy."""
    now = clock.now()
    old = Q(reported_at__lt=now - _silence()) | Q(reported_at__gt=now + _silence())
    silent = old & ~Q(health=Health.UNHEALTHY)
    for node in Node.objects.filter(silent, status=NodeStatus.LIVE)[:BATCH]:
        observe_node(node)
    gateways = Gateway.objects.filter(silent, provisioning_status__in=OBSERVED).select_related("assignment")
    for gateway in gateways[:BATCH]:
        observe_gateway(gateway)
    for gateway in Gateway.objects.filter(_mute()).select_related("assignment")[:BATCH]:
        _save(gateway, "gateway.health", Health.UNHEALTHY, "no report since everything went on after a restore")


def _mute() -> Q:
    """Return the condition of gateways in use that were forgotten after a restore and didn't come back."""
    now = clock.now()
    window_over = Q(enrolment_until__isnull=True) | Q(enrolment_until__lt=now)
    silent = Q(reported_at__isnull=True, status_since__lt=now - _silence()) & ~Q(health=Health.UNHEALTHY)
    return silent & window_over & Q(provisioning_status__in=(GatewayStatus.READY, GatewayStatus.DRAINING))


def is_fresh(reported_at: datetime | None, now: datetime) -> bool:
    """Say whether there is a report that isn't too old to go by."""
    return reported_at is not None and not _stale(reported_at, now)


def _silence() -> timedelta:
    return timedelta(seconds=settings.EGRESS_SILENCE_SECONDS)


def _stale(reported_at: datetime, now: datetime) -> bool:
    # A report from the future is from before the clock was set back: nobody knows how old it is.
    return abs(now - reported_at) > _silence()


def _save(row: Gateway | Node, subject: str, new: Health, detail: str) -> None:
    if row.health == new:
        return
    reason = detail
    if row.reported_at and _stale(row.reported_at, clock.now()):
        reason = f"no report since {row.reported_at:%H:%M:%S} UTC"
    with transaction.atomic():
        # By compare-and-swap: of two that see the same change, one writes the event.
        if type(row).objects.filter(pk=row.pk, health=row.health).update(health=new):
            events.record(Event.Kind.HEALTH, subject, on=row, old=row.health, new=new, reason=reason)
    row.health = new
