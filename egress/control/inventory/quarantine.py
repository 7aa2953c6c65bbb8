"""Keep servers that no row knows: each may be a customer's address that only a restored database forgot.

An operator orders a deletion, which waits until the quarantine is over, or gives a pair back to its app (`adoption`).
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from egress.control import clock, events
from egress.control.errors import StrayGone
from egress.control.models import Event
from egress.control.models_installation import StrayServer
from egress.provider.base import Server
from portal.accounts.models import User

from .breaker import STRAY

log = logging.getLogger(__name__)


def keep(servers: Iterable[Server]) -> None:
    """Bring the quarantine's rows up to date: `servers` are all that no row knows now."""
    present = {server.id: server for server in servers}
    known = {stray.server_id: stray for stray in StrayServer.objects.all()}
    for server_id, stray in known.items():
        if server_id not in present:
            _let_go(stray)
    for server_id, server in present.items():
        if server_id not in known:
            _take_in(server)
        elif known[server_id].public_address != server.public_address:
            StrayServer.objects.filter(server_id=server_id).update(**_addresses(server))


def to_delete() -> list[StrayServer]:
    """Return those whose deletion is ordered and whose quarantine is over."""
    over = clock.now() - _length()
    return list(StrayServer.objects.filter(delete_ordered_at__isnull=False, found_at__lte=over))


def ends_at(stray: StrayServer) -> datetime:
    """Return when `stray` may be deleted at the earliest."""
    return stray.found_at + _length()


def deletion_order(*, stray: StrayServer, actor: User) -> StrayServer:
    """Order the deletion of `stray`, for the end of its quarantine. Raises StrayGone."""
    return _order(stray, actor, "deletion ordered", delete_ordered_at=clock.now(), delete_ordered_by=actor)


def deletion_withdraw(*, stray: StrayServer, actor: User) -> StrayServer:
    """Take the order back: `stray` stays. Raises StrayGone."""
    return _order(stray, actor, "deletion withdrawn", delete_ordered_at=None, delete_ordered_by=None)


def _order(stray: StrayServer, actor: User, what: str, **changes: object) -> StrayServer:
    with transaction.atomic():
        if not StrayServer.objects.filter(pk=stray.pk).update(**changes):
            raise StrayGone
        events.record(Event.Kind.REQUEST, STRAY, on=None, old=stray.server_id, new=what, reason=str(stray), actor=actor)
        stray.refresh_from_db()
    return stray


def _take_in(server: Server) -> None:
    with transaction.atomic():
        stray, new = StrayServer.objects.get_or_create(
            server_id=server.id,
            defaults={
                "name": server.name[:255],
                "tags": list(server.tags),
                "created_at": server.created_at,
                **_addresses(server),
            },
        )
        if new:
            reason = f"{stray} bears our tag, but no row knows it: kept until an operator decides"
            events.record(Event.Kind.PROVIDER, STRAY, on=None, old=server.id, new="quarantined", reason=reason)
            log.error("server %s: %s", server.id, reason)


def _let_go(stray: StrayServer) -> None:
    with transaction.atomic():
        if StrayServer.objects.filter(pk=stray.pk).delete()[0]:
            reason = f"{stray} is gone at the provider, or known again"
            events.record(Event.Kind.PROVIDER, STRAY, on=None, old=stray.server_id, new="released", reason=reason)


def _addresses(server: Server) -> dict[str, str | None]:
    return {"public_address": server.public_address, "private_address": server.private_address}


def _length() -> timedelta:
    return timedelta(hours=settings.EGRESS_QUARANTINE_HOURS)
