"""What operators ask of rollouts: start, pause, resume, abort. Each is one transaction; `rolling` does the work."""

import re
from contextlib import suppress
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from portal.accounts.models import User

from . import clock, events
from .errors import EgressError, RolloutNotSo, RolloutRefused, RolloutUnderWay
from .maintenance import gateway_undrain
from .models import AssignmentStatus, Cluster, Event, Gateway, GatewayStatus
from .models_rollouts import UNDER_WAY, ItemState, Rollout, RolloutItem, RolloutKind, RolloutStatus

#: A slug or a number, as providers name images.
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_GONE = (GatewayStatus.DELETING, GatewayStatus.DELETED)


def rollout_start(*, cluster: Cluster, actor: User | None, **wanted: Any) -> Rollout:
    """Begin a rollout over all gateways that `cluster` has now; returns it while its image is still to be checked.

    `wanted`: `kind`, `image`, `batch` and `max_failures`, as columns of Rollout. `actor` is None on the command line.
    Raises RolloutRefused, RolloutUnderWay. Nothing is written then.
    """
    rollout = Rollout(cluster=cluster, created_by=actor, **wanted)
    _check(rollout)
    try:
        with transaction.atomic():
            rollout.save()
            gateways = Gateway.objects.filter(assignment__cluster=cluster).exclude(provisioning_status__in=_GONE)
            gateways = gateways.exclude(assignment__status=AssignmentStatus.RELEASED)
            rows = gateways.order_by("assignment__created_at", "assignment_id", "slot")
            RolloutItem.objects.bulk_create(RolloutItem(rollout=rollout, gateway=row) for row in rows)
            _record(rollout, "started", actor)
    except IntegrityError:
        other = Rollout.objects.filter(cluster=cluster, status__in=UNDER_WAY).first()
        raise RolloutUnderWay(
            f"Rollout {other.pk if other else '?'} of {cluster} isn't over: wait for its end, or abort it."
        ) from None
    return rollout


def rollout_pause(*, rollout: Rollout, actor: User | None) -> Rollout:
    """Begin with no other gateway until `rollout_resume`; what has begun is brought to its end. Raises RolloutNotSo."""
    return _move(rollout, (RolloutStatus.RUNNING,), RolloutStatus.PAUSED, actor)


def rollout_resume(*, rollout: Rollout, actor: User | None) -> Rollout:
    """Go on where it was paused or stopped; gateways that failed have another turn. Raises RolloutNotSo."""
    with transaction.atomic():
        row = _move(rollout, (RolloutStatus.PAUSED, RolloutStatus.STOPPED), RolloutStatus.RUNNING, actor)
        row.items.filter(state=ItemState.FAILED).update(state=ItemState.WAITING, ended_at=None)
    return row


def rollout_abort(*, rollout: Rollout, actor: User | None) -> Rollout:
    """End it: gateways that only drain are taken back, those that something is done to come back by themselves.

    Raises RolloutNotSo.
    """
    with transaction.atomic():
        row = _move(rollout, UNDER_WAY, RolloutStatus.ABORTED, actor, ended_at=clock.now())
        draining = row.items.filter(state=ItemState.RUNNING, gateway__provisioning_status=GatewayStatus.DRAINING)
        for item in draining.select_related("gateway"):
            _call_off(item.gateway, actor)
    return row


def _call_off(gateway: Gateway, actor: User | None) -> None:
    # Its app is being disabled, or its turn has gone on meanwhile: then it comes back by itself.
    with suppress(EgressError), transaction.atomic():
        gateway_undrain(gateway=gateway, actor=actor)


def _check(rollout: Rollout) -> None:
    rebuild = rollout.kind == RolloutKind.REBUILD
    if rollout.image and not rebuild:
        raise RolloutRefused("Only a rebuild changes the image: leave it out, or roll a rebuild.")
    rollout.image = rollout.image or (rollout.cluster.gateway_image if rebuild else "")
    if rebuild and not _IMAGE.fullmatch(rollout.image):
        raise RolloutRefused(f"{rollout.image!r} can't be an image: give its slug or number, as the provider lists it.")
    try:
        rollout.full_clean(validate_constraints=False)
    except ValidationError as error:
        told = "; ".join(f"{name}: {' '.join(found)}" for name, found in error.message_dict.items())
        raise RolloutRefused(f"This rollout can't begin: {told}") from None


def _move(
    rollout: Rollout, old: tuple[RolloutStatus, ...], to: RolloutStatus, actor: User | None, **changes: Any
) -> Rollout:
    with transaction.atomic():
        row = Rollout.objects.select_for_update(of=("self",)).select_related("cluster").get(pk=rollout.pk)
        if row.status not in old:
            raise RolloutNotSo(
                f"Rollout {row.pk} is {row.status}: it can't become {to}. {_WAYS[RolloutStatus(row.status)]}"
            )
        row.status, row.reason = to, ""
        for name, value in changes.items():
            setattr(row, name, value)
        row.save(update_fields=["status", "reason", *changes])
        _record(row, to, actor)
    return row


_OVER = "It is over: start another one."
_WAYS = {
    RolloutStatus.CHECKING: "Wait until its image is checked, or abort it.",
    RolloutStatus.RUNNING: "It can be paused or aborted.",
    RolloutStatus.PAUSED: "It can be resumed or aborted.",
    RolloutStatus.STOPPED: "It can be resumed or aborted.",
    RolloutStatus.DONE: _OVER,
    RolloutStatus.ABORTED: _OVER,
    RolloutStatus.REFUSED: _OVER,
}


def _record(rollout: Rollout, new: str, actor: User | None) -> None:
    events.record(
        Event.Kind.REQUEST, "rollout.status", on=rollout.cluster, new=new, reason=f"rollout {rollout.pk}", actor=actor
    )
