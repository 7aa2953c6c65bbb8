"""Look after all pairs in use, every few seconds: who fell silent, who can't serve, and what is to be done about it."""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet

from egress.control import clock, events, health, installation
from egress.control.errors import EgressError
from egress.control.maintenance import gateway_maintain, serves
from egress.control.models import (
    AssignmentStatus,
    Cluster,
    Event,
    Gateway,
    GatewayStatus,
    Health,
    Node,
    NodeStatus,
    Wish,
)
from egress.control.models_health import Finding
from egress.control.models_repair import IN_PLACE
from egress.control.models_rollouts import Maintenance
from egress.control.selectors import is_lost

from . import circuit, presence
from .ladder import STEPS, Limits, Member, Repair, Taken, decide
from .replacement import gateway_replace

log = logging.getLogger(__name__)

#: What was begun, and that nothing is left to begin.
SUBJECT = "gateway.repair"
EXHAUSTED = "exhausted"
_IN_USE = IN_PLACE & Q(assignment__status=AssignmentStatus.ACTIVE, assignment__wish=Wish.ENABLED)
_SERVING = (GatewayStatus.READY, GatewayStatus.DRAINING)
_BAD = Q(provisioning_status__in=_SERVING, health=Health.UNHEALTHY) | Q(provisioning_status=GatewayStatus.ERROR)
#: Under way: bad as well, where repair began it.
_AWAY = Q(provisioning_status__in=(GatewayStatus.MAINTENANCE, GatewayStatus.BOOTING))


def watch() -> None:
    """Look once: nobody is judged after we were away ourselves, before all could report again."""
    if not presence.beat():
        return
    health.watch_silence()
    if settings.EGRESS_REPAIR and not installation.why_still():
        for cluster in Cluster.objects.filter(pk__in=_troubled()):
            mend(cluster)


def mend(cluster: Cluster) -> None:
    """Begin what is to be done in one cluster, unless too many are bad or we don't hear its nodes."""
    in_use = Gateway.objects.filter(_IN_USE, assignment__cluster=cluster)
    bad = in_use.filter(_BAD | (_AWAY & Q(pk__in=_begun(cluster).values("gateway_id"))))
    if not circuit.permit(cluster, bad=bad.count(), total=in_use.count()) or not _hears_nodes(cluster):
        return
    pairs: dict[UUID, list[Gateway]] = {}
    troubled = in_use.filter(assignment_id__in=bad.values("assignment_id"))
    for gateway in troubled.select_related("assignment__cluster").order_by("assignment_id", "slot"):
        pairs.setdefault(gateway.assignment_id, []).append(gateway)
    taken = list(_begun(cluster).values_list("assignment_id", "gateway_id", "gateway__slot", "new", "at"))
    for pair in pairs.values():
        rows = {gateway.pk: gateway for gateway in pair}
        members = tuple(_member(gateway, taken) for gateway in pair)
        repair = decide(members, limits(), clock.now())
        if repair is not None:
            _begin(rows[repair.member.id], repair)


def limits() -> Limits:
    """Return what the settings say."""
    return Limits(
        dead=timedelta(seconds=settings.EGRESS_REPAIR_DEAD_SECONDS),
        sick=timedelta(seconds=settings.EGRESS_REPAIR_SICK_SECONDS),
        pause=timedelta(seconds=settings.EGRESS_REPAIR_PAUSE_SECONDS),
        most={
            Maintenance.POWER_CYCLE: settings.EGRESS_REPAIR_POWER_CYCLES,
            Maintenance.REBUILD: settings.EGRESS_REPAIR_REBUILDS,
            Maintenance.REPLACE: settings.EGRESS_REPAIR_REPLACEMENTS,
        },
    )


def _troubled() -> Iterable[int]:
    """Return the clusters in which something is bad, or where repair stopped and may go on."""
    bad = Gateway.objects.filter(_IN_USE & (_BAD | _AWAY)).values_list("assignment__cluster_id", flat=True)
    stopped = Cluster.objects.filter(repair__stopped_at__isnull=False).values_list("pk", flat=True)
    return {*bad, *stopped}


def _hears_nodes(cluster: Cluster) -> bool:
    """Say whether more than half of the live nodes report: else it is we who hear nothing, and nobody is judged."""
    live = Node.objects.filter(cluster=cluster, status=NodeStatus.LIVE)
    heard = live.filter(health.fresh(clock.now())).count()
    if 2 * heard > live.count():
        return True
    log.error("repair waits in cluster %s: only %d of its nodes report", cluster, heard)
    return False


def _begun(cluster: Cluster) -> QuerySet[Event]:
    since = clock.now() - timedelta(hours=settings.EGRESS_REPAIR_WINDOW_HOURS)
    return Event.objects.filter(cluster=cluster, subject=SUBJECT, new__in=STEPS, at__gt=since).order_by("at")


def _member(gateway: Gateway, taken: Iterable[tuple[UUID, UUID, int, str, datetime]]) -> Member:
    replaced_in_slot = (gateway.assignment_id, gateway.slot, Maintenance.REPLACE.value)
    mine = (
        Taken(step, at)
        for pair, key, slot, step, at in taken
        if key == gateway.pk or (pair, slot, step) == replaced_in_slot
    )
    unhealthy = gateway.health == Health.UNHEALTHY
    return Member(
        id=gateway.pk,
        slot=gateway.slot,
        status=GatewayStatus(gateway.provisioning_status),
        since=gateway.status_since,
        finding=Finding(gateway.finding),
        finding_since=gateway.finding_since,
        unhealthy_since=(gateway.health_since or gateway.status_since) if unhealthy else None,
        lost=is_lost(gateway),
        off=gateway.server_status == "off",
        serves=serves(gateway),
        replaced=gateway.maintenance == Maintenance.REPLACE,
        taken=tuple(mine),
    )


def _begin(gateway: Gateway, repair: Repair) -> None:
    """Begin a step: what is begun is in the history in the same transaction, and counts from then on."""
    reason = gateway.detail if is_lost(gateway) else gateway.finding_reason or gateway.detail
    if repair.step is None:
        _tell_exhausted(gateway, repair, reason)
        return
    try:
        with transaction.atomic():
            if repair.step == Maintenance.REPLACE:
                row = gateway_replace(gateway=gateway, actor=None)
            else:
                row = gateway_maintain(gateway=gateway, kind=repair.step, actor=None)
            # Where something else is done to it already, nothing was begun.
            if row.maintenance == repair.step:
                old, new = gateway.finding, repair.step
                events.record(Event.Kind.HEALTH, SUBJECT, on=row, old=old, new=new, reason=reason)
    except EgressError as error:
        # Somebody did something to the pair meanwhile: the next look decides anew.
        log.warning("gateway %s isn't repaired yet: %s", gateway.pk, error)
        return
    log.warning("gateway %s: %s begins: %s", gateway.pk, repair.step, reason)


def _tell_exhausted(gateway: Gateway, repair: Repair, reason: str) -> None:
    """Say once that a person must look."""
    last = repair.member.taken[-1].at if repair.member.taken else gateway.status_since
    if Event.objects.filter(gateway=gateway, subject=SUBJECT, new=EXHAUSTED, at__gte=last).exists():
        return
    hours = settings.EGRESS_REPAIR_WINDOW_HOURS
    words = f"every step was taken as often as is allowed within {hours} h, in vain: {reason}"
    events.record(Event.Kind.HEALTH, SUBJECT, on=gateway, old=gateway.finding, new=EXHAUSTED, reason=words)
    log.critical("gateway %s: %s", gateway.pk, words)
