"""Take dedicated egress away from an app by the platform's own decision, and give it back while its addresses are held.

Nobody's role is asked for: who calls this decided, such as billing after it warned.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from . import clock, events
from .models import App, Assignment, AssignmentStatus, Event, Wish
from .selectors import current_assignment
from .wake import wake

#: So close to its end a hold can't be used any more: a worker may be about to release.
MARGIN: Final = timedelta(minutes=2)


def egress_withdraw(*, app: App, reason: str, held_until: datetime | None = None) -> Assignment | None:
    """Disable the egress of `app` as its owner could; its gateways and addresses are kept until `held_until`.

    Returns None when there was nothing to disable. What isn't routed yet is released at once.
    """
    with transaction.atomic():
        assignment = current_assignment(app)
        if assignment is None:
            return None
        enabled = Assignment.objects.filter(pk=assignment.pk, wish=Wish.ENABLED)
        if enabled.update(wish=Wish.DISABLED, held_until=held_until):
            events.record(Event.Kind.REQUEST, "egress.disable", on=assignment, reason=reason)
            wake([assignment.pk])
    assignment.refresh_from_db()
    return assignment


def egress_resume(*, app: App, reason: str) -> Assignment | None:
    """Enable it again with the addresses that it had; None when they aren't held any more."""
    with transaction.atomic():
        assignment = current_assignment(app)
        if assignment is None:
            return None
        held = Assignment.objects.filter(
            pk=assignment.pk, wish=Wish.DISABLED, held_until__gt=clock.now() + MARGIN, status__in=_ROUTED
        )
        if not held.update(wish=Wish.ENABLED, held_until=None):
            return None
        events.record(Event.Kind.REQUEST, "egress.enable", on=assignment, reason=reason)
        wake([assignment.pk])
    assignment.refresh_from_db()
    return assignment


_ROUTED = (AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE, AssignmentStatus.DRAINING)
