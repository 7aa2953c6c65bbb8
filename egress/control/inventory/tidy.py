"""Compare what the provider has with what the rows say: duplicates go, unknown servers are kept, lost ones are told.

A creation of unknown outcome can land late, as a duplicate; a restored backup has forgotten servers and remembers
others that are gone. None of them is ever routed.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from egress.control import clock, events, installation, naming
from egress.control.errors import TransitionConflict
from egress.control.health import LOST
from egress.control.models import AssignmentStatus, Event, Gateway, GatewayStatus
from egress.control.provider_access import provider
from egress.control.transitions import gateway_transition
from egress.control.wake import wake
from egress.provider.base import NotFound, Provider, ProviderError, Server

from . import breaker, quarantine
from .breaker import DUPLICATE, STRAY

log = logging.getLogger(__name__)

#: If more of the gateways in use than one in four, and more than two, look lost at once, it is our view that is broken.
LOST_SHARE, LOST_ANYHOW = 4, 2
#: A server that was made or rebuilt this short a time ago may not be in every list yet.
SETTLING = timedelta(minutes=1)
_IN_USE = Q(
    provisioning_status__in=(GatewayStatus.READY, GatewayStatus.DRAINING),
    assignment__status__in=(AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE),
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a list of servers."""

    duplicates: tuple[tuple[Gateway, Server], ...]
    strays: tuple[Server, ...]


def sort_out(servers: Iterable[Server], gateways: Mapping[UUID, Gateway]) -> Findings:
    """Tell duplicates (their gateway has another server, or is deleted) and strays (their gateway has no row)."""
    duplicates, strays = [], []
    for server in servers:
        owner = naming.gateway_of(server.tags)
        gateway = gateways.get(owner) if owner else None
        if gateway is None:
            strays.append(server)
        elif _is_surplus(gateway, server):
            duplicates.append((gateway, server))
    return Findings(tuple(duplicates), tuple(strays))


def tidy() -> None:
    """Look at all servers of this installation once, and do what must be done. While all stands still, only look."""
    if installation.here().name != settings.INSTALLATION_ID:
        log.critical("nothing is tidied up: %s", installation.why_still())
        return
    cloud = provider()
    # First the servers, then the rows: a row is there before its server is.
    servers = cloud.list_by_tag(naming.installation_tag())
    owners = filter(None, (naming.gateway_of(server.tags) for server in servers))
    known = Gateway.objects.select_related("assignment").in_bulk(list(owners))
    used = _used()
    findings = sort_out((server for server in servers if server.id not in used), known)
    quarantine.keep(findings.strays)
    _note_statuses(servers, known)
    _tell_lost(cloud, {server.id for server in servers})
    if installation.why_still():
        return
    for gateway, server in findings.duplicates:
        if breaker.permit(server.id, DUPLICATE, on=gateway, reason=server.name):
            _delete(cloud, server.id)
    still_stray = {server.id for server in findings.strays}
    for stray in quarantine.to_delete():
        if stray.server_id in still_stray and breaker.permit(stray.server_id, STRAY, on=None, reason=str(stray)):
            _delete(cloud, stray.server_id)


def _note_statuses(servers: Iterable[Server], gateways: Mapping[UUID, Gateway]) -> None:
    """Keep what the provider says of each gateway's power; nodes are told of one that is off and silent."""
    for server in servers:
        owner = naming.gateway_of(server.tags)
        gateway = gateways.get(owner) if owner else None
        if gateway and gateway.server_id == server.id and gateway.server_status != server.status:
            with transaction.atomic():
                Gateway.objects.filter(pk=gateway.pk, server_id=server.id).update(server_status=server.status)
                if "off" in {gateway.server_status, server.status}:
                    wake([gateway.assignment_id])


def _used() -> set[str]:
    """Return the servers that gateways have, whatever other gateways' tags somebody gave them."""
    rows = Gateway.objects.exclude(provisioning_status=GatewayStatus.DELETED).exclude(server_id="")
    return set(rows.values_list("server_id", flat=True))


def _is_surplus(gateway: Gateway, server: Server) -> bool:
    if gateway.provisioning_status == GatewayStatus.DELETED:
        return True
    # Without a server of its own the gateway may be about to adopt this one.
    return gateway.server_id not in {"", server.id}


def _delete(cloud: Provider, server_id: str) -> None:
    try:
        cloud.delete(server_id)
    except ProviderError as error:
        # The others needn't wait for this one; the next look tries again.
        log.warning("server %s isn't deleted yet: %s: %s", server_id, error.code, error)


def _tell_lost(cloud: Provider, listed: set[str]) -> None:
    """Find gateways in use whose server is gone, and say so: a new one would be another address."""
    now = clock.now()
    silence = now - timedelta(seconds=settings.EGRESS_SILENCE_SECONDS)
    # Who reports is there, whatever the provider says: the token may be another account's.
    silent = Q(reported_at__lt=silence) | Q(reported_at__isnull=True)
    in_use = Gateway.objects.filter(_IN_USE)
    missing = in_use.filter(silent, status_since__lt=now - SETTLING).exclude(server_id__in=listed)
    suspects = list(missing.select_related("assignment"))
    if len(suspects) > max(LOST_ANYHOW, in_use.count() // LOST_SHARE):
        log.error("%d gateways have no server at the provider: too many to believe, nothing is done", len(suspects))
        return
    for gateway in suspects:
        try:
            cloud.get(gateway.server_id)
        except NotFound as error:
            _fail(gateway, str(error))
        else:
            log.warning("server %s of gateway %s has lost its tags", gateway.server_id, gateway)


def _fail(gateway: Gateway, reason: str) -> None:
    lost = f"gateway_lost: server {gateway.server_id} is gone at the provider"
    try:
        with transaction.atomic():
            gateway_transition(
                gateway=gateway,
                to=GatewayStatus.ERROR,
                reason=f"{lost}: {reason}",
                detail=LOST,
                forwarding=False,
                maintenance="",
                action_id="",
            )
            events.record(Event.Kind.PROVIDER, "provider.lost", on=gateway, old=gateway.server_id, reason=lost)
            wake([gateway.assignment_id])
    except TransitionConflict:
        # It moved on meanwhile: the next look decides anew.
        return
    log.error("gateway %s: %s", gateway.pk, lost)
