"""Stop repair in a cluster where so many gateways look bad at once that it must be our view, and let it go on."""

import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from egress.control import clock, events
from egress.control.models import Cluster, Event
from egress.control.models_repair import ClusterRepair
from portal.accounts.models import User

log = logging.getLogger(__name__)

#: An operator's word holds so long.
ALLOWED: Final = timedelta(hours=1)
_SUBJECT: Final = "repair.breaker"


def too_many(*, bad: int, total: int) -> bool:
    """Say whether so many of a cluster's gateways in use are bad that it isn't believed. Pure, but for settings."""
    by_share = total * settings.EGRESS_REPAIR_BAD_PERCENT // 100
    return bad > max(settings.EGRESS_REPAIR_BAD_MINIMUM, by_share)


def permit(cluster: Cluster, *, bad: int, total: int) -> bool:
    """Say whether repair may begin anything in `cluster` now; what changes is told, once."""
    with transaction.atomic():
        row = ClusterRepair.objects.get_or_create(cluster=cluster)[0]
        row = ClusterRepair.objects.select_for_update().get(pk=row.pk)
        allowed = row.allowed_until is not None and clock.now() < row.allowed_until <= clock.now() + ALLOWED
        stops = too_many(bad=bad, total=total) and not allowed
        if stops and row.stopped_at is None:
            _stop(row, bad, total)
        elif not stops and row.stopped_at is not None:
            row.stopped_at, row.reason = None, ""
            row.save(update_fields=["stopped_at", "reason"])
            reason = f"{bad} of {total} gateways are bad now"
            events.record(Event.Kind.HEALTH, _SUBJECT, on=cluster, old="stopped", new="goes on", reason=reason)
    return not stops


def go_on(*, row: ClusterRepair, actor: User | None) -> ClusterRepair:
    """Let repair go on in a cluster for an hour however many gateways are bad: an operator has looked."""
    with transaction.atomic():
        row.stopped_at, row.reason, row.allowed_until = None, "", clock.now() + ALLOWED
        row.save(update_fields=["stopped_at", "reason", "allowed_until"])
        reason = f"until {row.allowed_until:%Y-%m-%d %H:%M:%S} UTC, whatever is bad"
        events.record(Event.Kind.REQUEST, _SUBJECT, on=row.cluster, new="goes on", reason=reason, actor=actor)
    return row


def _stop(row: ClusterRepair, bad: int, total: int) -> None:
    row.stopped_at = clock.now()
    row.reason = (
        f"{bad} of {total} gateways in use look bad at once: that is rather our view, or the region. Nothing is"
        " repaired in this cluster before fewer are, or an operator says that it goes on."
    )
    row.save(update_fields=["stopped_at", "reason"])
    events.record(Event.Kind.HEALTH, _SUBJECT, on=row.cluster, new="stopped", reason=row.reason)
    log.critical("repair stopped in cluster %s: %s", row.cluster, row.reason)
