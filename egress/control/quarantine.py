"""Keep servers that no row knows: each may be a customer's address that only a restored database forgot.

An operator gives a pair back to its app, or orders a deletion, which waits until the quarantine is over.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from egress.provider.base import Server
from portal.accounts.models import User, token_hash

from . import clock, distribution, events, naming
from .breaker import STRAY
from .enrolment import enrolment_secret
from .errors import NotAPair, StrayGone
from .models import (
    SLOTS,
    App,
    Assignment,
    AssignmentStatus,
    Event,
    Gateway,
    GatewayStatus,
    Placement,
    StrayServer,
)
from .pairs import free_pair
from .wake import wake

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


def pair_of(app_id: UUID) -> dict[int, StrayServer]:
    """Return the app's latest pair in quarantine by slot; empty without a whole one that has its addresses."""
    pairs: dict[UUID, dict[int, StrayServer]] = {}
    for stray in StrayServer.objects.filter(delete_ordered_at=None).order_by("created_at"):
        origin = naming.origin_of(stray.tags)
        if origin and origin.app_id == app_id and stray.public_address and stray.private_address:
            pairs.setdefault(origin.assignment_id, {})[origin.slot] = stray
    whole = [pair for pair in pairs.values() if set(pair) == set(SLOTS)]
    return whole[-1] if whole else {}


def pair_adopt(*, app: App, actor: User | None) -> Assignment:
    """Give `app` back the pair that stands in quarantine, as the nodes knew it: same gateways, same addresses.

    Nodes that still have its route keep it; its gateways enrol again. Raises NotAPair.
    """
    with transaction.atomic():
        pair = pair_of(app.pk)
        if not pair or app.assignments.exclude(status=AssignmentStatus.RELEASED).exists():
            raise NotAPair
        origin = naming.origin_of(pair[0].tags)
        if origin is None or Assignment.objects.filter(pk=origin.assignment_id).exists():
            raise NotAPair
        assignment = Assignment.objects.create(
            id=origin.assignment_id,
            app=app,
            cluster_id=app.cluster_id,
            pair=free_pair(app.cluster_id),
            status=AssignmentStatus.DISTRIBUTING,
            placement=Placement.UNKNOWN,
        )
        for slot, stray in pair.items():
            _adopt(stray, assignment, slot)
        route = distribution.route_of(assignment, "active")
        revision = distribution.publish(app.cluster_id, app.namespace, route)
        Assignment.objects.filter(pk=assignment.pk).update(target_revision=revision)
        reason = "taken back from quarantine"
        status = AssignmentStatus.DISTRIBUTING
        events.record(Event.Kind.STATUS, "assignment.status", on=assignment, new=status, reason=reason, actor=actor)
        wake([assignment.pk])
    return assignment


def _adopt(stray: StrayServer, assignment: Assignment, slot: int) -> None:
    gateway_id = naming.gateway_of(stray.tags)
    if gateway_id is None or not StrayServer.objects.filter(pk=stray.pk).delete()[0]:
        raise NotAPair
    gateway = Gateway.objects.create(
        id=gateway_id,
        assignment=assignment,
        slot=slot,
        provisioning_status=GatewayStatus.READY,
        server_id=stray.server_id,
        public_address=stray.public_address,
        private_address=stray.private_address,
        enrolment_hash=token_hash(enrolment_secret(gateway_id)),
        enrolment_until=clock.now() + timedelta(seconds=settings.EGRESS_BOOT_LIMIT_SECONDS),
    )
    reason = f"server {stray.server_id} taken back from quarantine"
    events.record(Event.Kind.STATUS, "gateway.status", on=gateway, new=gateway.provisioning_status, reason=reason)


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
