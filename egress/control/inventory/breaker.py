"""Count what tidying deletes, and stop it when that is too much: then our view is wrong, not so many servers."""

import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from egress.control import clock, events, installation
from egress.control.models import Event, Gateway
from egress.control.models_installation import Installation
from portal.accounts.models import User

log = logging.getLogger(__name__)

DUPLICATE: Final = "provider.duplicate"
STRAY: Final = "provider.stray"
_DELETING: Final = "deleting"


def permit(server_id: str, subject: str, *, on: Gateway | None, reason: str) -> bool:
    """Say whether this server may be deleted now; if so, that is counted and in the history before it happens.

    A deletion that fails and is tried again counts once. Over the limit the breaker trips.
    """
    with transaction.atomic():
        # Locks the row: of two sweeps at once, the second counts what the first did.
        row = Installation.objects.select_for_update().get(pk=installation.here().pk)
        if row.tripped_at is not None:
            return False
        window = timedelta(seconds=settings.EGRESS_DELETION_WINDOW_SECONDS)
        since = max(row.counted_from, clock.now() - window)
        counted = Event.objects.filter(subject__in=(DUPLICATE, STRAY), new=_DELETING, at__gt=since)
        servers = set(counted.order_by().values_list("old", flat=True).distinct())
        if server_id in servers:
            return True
        if len(servers) >= settings.EGRESS_DELETION_LIMIT:
            _trip(row, len(servers))
            return False
        events.record(Event.Kind.PROVIDER, subject, on=on, old=server_id, new=_DELETING, reason=reason)
    return True


def reset(*, actor: User | None) -> bool:
    """Let tidying delete again, counting from now on; False when it isn't stopped."""
    with transaction.atomic():
        tripped = Installation.objects.filter(tripped_at__isnull=False)
        if not tripped.update(tripped_at=None, counted_from=clock.now()):
            return False
        events.record(Event.Kind.REQUEST, "provider.breaker", on=None, old="tripped", new="reset", actor=actor)
    return True


def _trip(row: Installation, count: int) -> None:
    Installation.objects.filter(pk=row.pk).update(tripped_at=clock.now())
    reason = (
        f"{count} servers were deleted within {settings.EGRESS_DELETION_WINDOW_SECONDS} s, and more wait for it:"
        " nothing is tidied up before an operator has looked and resets the breaker."
    )
    events.record(Event.Kind.PROVIDER, "provider.breaker", on=None, new="tripped", reason=reason)
    log.critical("the deletion breaker tripped: %s", reason)
