"""Know that the control plane itself was away: then silence says nothing of others before they could report again.

Each look leaves its time in the database. A gap means that workers, broker or database were away or that the clock
jumped; all three look the same, and are treated so.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from egress.control import clock, events, installation
from egress.control.models import Event
from egress.control.models_installation import Installation

log = logging.getLogger(__name__)


def was_away(last: datetime | None, now: datetime, longest: timedelta) -> bool:
    """Say whether nobody looked for `longest`, or the last look is in the future: the clock was set back. Pure."""
    return last is None or not timedelta() <= now - last <= longest


def beat() -> bool:
    """Leave the time of this look; say whether others may be judged now."""
    now = clock.now()
    with transaction.atomic():
        row = Installation.objects.select_for_update().get(pk=installation.here().pk)
        judges_from = row.judges_from
        if was_away(row.watched_at, now, timedelta(seconds=settings.EGRESS_SILENCE_SECONDS)):
            judges_from = now + timedelta(seconds=settings.EGRESS_REPAIR_GRACE_SECONDS)
            _tell(row.watched_at, judges_from)
        Installation.objects.filter(pk=row.pk).update(watched_at=now, judges_from=judges_from)
    return judges_from is None or judges_from <= now


def _tell(last: datetime | None, judges_from: datetime) -> None:
    if last is None:
        return
    reason = (
        f"nobody looked for silence since {last:%Y-%m-%d %H:%M:%S} UTC: the control plane was away, or its clock"
        f" jumped. No node or gateway is judged before {judges_from:%H:%M:%S} UTC."
    )
    events.record(Event.Kind.HEALTH, "control.away", on=None, new="back", reason=reason)
    log.warning("%s", reason)
