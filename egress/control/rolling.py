"""Bring a rollout nearer to its end: look what became of the gateways that had their turn, and give others theirs.

Level-triggered, as reconcile is: each look is one transaction under a lock on the rollout's row, so that a look that
dies leaves nothing half done, and two at once do what one does. The maintenance itself is reconcile's.
"""

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from egress.provider.base import NotFound, ProviderError

from . import clock, distribution, events, installation
from .errors import EgressError
from .maintenance import gateway_maintain
from .models import AssignmentStatus, Cluster, Event, Gateway, GatewayStatus, Health, Wish
from .models_rollouts import ItemState, Maintenance, Rollout, RolloutItem, RolloutKind, RolloutStatus
from .provider_access import provider

log = logging.getLogger(__name__)

_GONE = (GatewayStatus.DELETING, GatewayStatus.DELETED)


def roll() -> None:
    """Look after all rollouts that something may be left to do for."""
    if installation.why_still():
        return
    begun = Exists(RolloutItem.objects.filter(rollout=OuterRef("pk"), state=ItemState.RUNNING))
    going = Q(status__in=(RolloutStatus.CHECKING, RolloutStatus.RUNNING)) | Q(begun)
    for rollout in Rollout.objects.filter(going).select_related("cluster"):
        if rollout.status == RolloutStatus.CHECKING:
            _check_image(rollout)
        else:
            _advance(rollout)


def _check_image(rollout: Rollout) -> None:
    """Let it run once the provider has the image in the cluster's region, which is the cluster's image from then on."""
    refusal = ""
    try:
        if rollout.kind == RolloutKind.REBUILD:
            regions = provider().image_regions(rollout.image)
            if rollout.cluster.region not in regions:
                refusal = f"The provider doesn't offer the image {rollout.image} in {rollout.cluster.region}."
    except NotFound:
        refusal = f"The provider has no image {rollout.image}: give its slug or number, as the provider lists it."
    except ProviderError as error:
        log.warning("rollout %s: %s: %s", rollout.pk, error.code, error)
        if error.passing:
            Rollout.objects.filter(pk=rollout.pk, status=RolloutStatus.CHECKING).update(reason=str(error))
            return
        refusal = f"The provider couldn't be asked for the image {rollout.image}: {error}"
    with transaction.atomic():
        if refusal:
            _move_on(rollout, RolloutStatus.REFUSED, refusal)
        elif _move_on(rollout, RolloutStatus.RUNNING) and rollout.image:
            _change_image(rollout)


def _change_image(rollout: Rollout) -> None:
    old = Cluster.objects.values_list("gateway_image", flat=True).get(pk=rollout.cluster_id)
    if old != rollout.image:
        Cluster.objects.filter(pk=rollout.cluster_id).update(gateway_image=rollout.image)
        reason = f"gateway_image: {old} → {rollout.image}; rollout {rollout.pk}"
        events.record(Event.Kind.REQUEST, "cluster.change", on=rollout.cluster, reason=reason, actor=rollout.created_by)


def _advance(rollout: Rollout) -> None:
    with transaction.atomic():
        row = Rollout.objects.select_for_update(of=("self",)).select_related("cluster").get(pk=rollout.pk)
        for item in row.items.filter(state=ItemState.RUNNING).select_related("gateway__assignment"):
            if outcome := _outcome(item):
                _end(item, *outcome)
        if row.status != RolloutStatus.RUNNING:
            return
        if verdict := _verdict(row):
            _move_on(row, *verdict)
            return
        for item in _next(row):
            _give_turn(item)


def _outcome(item: RolloutItem) -> tuple[ItemState, str] | None:
    """Return what became of a gateway whose turn has begun, and why; None while it isn't over."""
    gateway, assignment = item.gateway, item.gateway.assignment
    in_use = (assignment.status, assignment.wish) == (AssignmentStatus.ACTIVE, Wish.ENABLED)
    if gateway.maintained > item.maintained_before:
        return ItemState.DONE, ""
    if gateway.provisioning_status in _GONE or not in_use:
        return ItemState.SKIPPED, _DISABLED
    if gateway.provisioning_status == GatewayStatus.ERROR or gateway.maintenance not in {"", item.rollout.kind}:
        failure = gateway.events.filter(subject="gateway.status", new=GatewayStatus.ERROR).first()
        return ItemState.FAILED, failure.reason if failure else "something else is being done to it"
    if gateway.provisioning_status == GatewayStatus.READY:
        return ItemState.WAITING, "was taken back before its turn was over: its peer fell ill, or an operator did"
    return None


_DISABLED = "its app's dedicated egress was disabled"


def _end(item: RolloutItem, state: ItemState, note: str) -> None:
    item.state, item.note = state, note
    item.ended_at = None if state == ItemState.WAITING else clock.now()
    item.save(update_fields=["state", "note", "ended_at"])


def _verdict(rollout: Rollout) -> tuple[RolloutStatus, str] | None:
    """Say whether it is over or must stop, and why; None while it goes on."""
    failed = rollout.items.filter(state=ItemState.FAILED).count()
    left = rollout.items.filter(state__in=(ItemState.WAITING, ItemState.RUNNING)).exists()
    if failed >= rollout.max_failures or (failed and not left):
        told = f"{failed} gateway{'s' if failed > 1 else ''} didn't come back"
        return RolloutStatus.STOPPED, f"{told}: mend {'them' if failed > 1 else 'it'}, then resume it; or abort it."
    return None if left else (RolloutStatus.DONE, "")


def _next(rollout: Rollout) -> list[RolloutItem]:
    """Return whose turn it is: as many as there is room for, each of another pair. What is gone needs none."""
    gone = Q(gateway__provisioning_status__in=_GONE) | Q(gateway__assignment__wish=Wish.DISABLED)
    waiting = rollout.items.filter(state=ItemState.WAITING)
    waiting.filter(gone).update(state=ItemState.SKIPPED, note=_DISABLED, ended_at=clock.now())
    able = _able(rollout)
    # A pair between its two turns keeps its place.
    between = able.filter(begun=True, rested=False).count()
    room = rollout.batch - between - rollout.items.filter(state=ItemState.RUNNING).count()
    if room <= 0:
        return []
    first: dict[UUID, RolloutItem] = {}
    # Twice as many: both gateways of each pair may be able to.
    for item in able.filter(rested=True)[: 2 * room]:
        first.setdefault(item.gateway.assignment_id, item)
    return list(first.values())[:room]


def _able(rollout: Rollout) -> QuerySet[Any]:
    """Return the gateways that wait for their turn and serve, as do their peers; those of `begun` pairs come first.

    `rested`: the peer is back from its own turn for so long that nodes prefer it again.
    """
    rest = timedelta(seconds=distribution.settings_of(rollout.cluster).probing.hold_down_seconds)
    peers = Gateway.objects.filter(_serving(), assignment=OuterRef("gateway__assignment")).exclude(
        pk=OuterRef("gateway")
    )
    rested = peers.filter(Q(maintained=0) | Q(status_since__lte=clock.now() - rest))
    done = RolloutItem.objects.filter(
        rollout=rollout, gateway__assignment=OuterRef("gateway__assignment"), state=ItemState.DONE
    )
    items = rollout.items.filter(
        _serving("gateway__"),
        Exists(peers),
        state=ItemState.WAITING,
        gateway__assignment__status=AssignmentStatus.ACTIVE,
        gateway__assignment__wish=Wish.ENABLED,
    )
    return items.select_related("gateway").annotate(begun=Exists(done), rested=Exists(rested)).order_by("-begun", "pk")


def _serving(path: str = "") -> Q:
    heard_since = clock.now() - timedelta(seconds=settings.EGRESS_SILENCE_SECONDS)
    wanted = {"provisioning_status": GatewayStatus.READY, "forwarding": True, "reported_at__gte": heard_since}
    return Q(**{f"{path}{name}": value for name, value in wanted.items()}) & ~Q(**{f"{path}health": Health.UNHEALTHY})


def _give_turn(item: RolloutItem) -> None:
    try:
        with transaction.atomic():
            row = gateway_maintain(gateway=item.gateway, kind=Maintenance(item.rollout.kind), actor=None)
    except EgressError as error:
        # Its turn comes again.
        log.warning("rollout %s: %s can't have its turn now: %s", item.rollout_id, item.gateway_id, error)
        return
    item.state, item.note, item.begun_at, item.maintained_before = ItemState.RUNNING, "", clock.now(), row.maintained
    item.save(update_fields=["state", "note", "begun_at", "maintained_before"])


def _move_on(rollout: Rollout, to: RolloutStatus, reason: str = "") -> bool:
    """Move it on, unless somebody did meanwhile."""
    old = rollout.status
    ended_at = clock.now() if to in {RolloutStatus.DONE, RolloutStatus.REFUSED} else None
    moved = Rollout.objects.filter(pk=rollout.pk, status=old).update(status=to, reason=reason, ended_at=ended_at)
    if moved:
        told = f"rollout {rollout.pk}" + (f": {reason}" if reason else "")
        events.record(Event.Kind.STATUS, "rollout.status", on=rollout.cluster, old=old, new=to, reason=told)
    return bool(moved)
