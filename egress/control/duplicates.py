"""Find VMs that a gateway has too many: a creation of unknown outcome can land late. None of them is ever routed."""

import logging

from egress.provider.base import Server

from . import events, naming
from .models import Event, Gateway, GatewayStatus
from .provider_access import provider

log = logging.getLogger(__name__)

#: A look that finds more than this has misunderstood something; the next look goes on.
MAX_DELETIONS = 20


def delete_duplicates() -> None:
    """Delete this installation's VMs whose gateway has another VM, or is deleted.

    A VM whose gateway has no row is left alone, and said: it may be a customer's address that only our database forgot.
    """
    cloud = provider()
    servers = [(naming.gateway_of(server.tags), server) for server in cloud.list_by_tag(naming.installation_tag())]
    known = Gateway.objects.select_related("assignment").in_bulk([owner for owner, _ in servers if owner])
    surplus: list[tuple[Gateway, Server]] = []
    for owner, server in servers:
        gateway = known.get(owner) if owner else None
        if gateway is None:
            log.warning("server %s (%s) bears our tag, but its gateway has no row: left alone", server.id, server.name)
        elif _is_surplus(gateway, server):
            surplus.append((gateway, server))
    for gateway, server in surplus[:MAX_DELETIONS]:
        cloud.delete(server.id)
        events.record(
            Event.Kind.PROVIDER, "provider.duplicate", on=gateway, old=server.id, new="deleted", reason=server.name
        )


def _is_surplus(gateway: Gateway, server: Server) -> bool:
    if gateway.provisioning_status == GatewayStatus.DELETED:
        return True
    # Without a server of its own the gateway may be about to adopt this one.
    return gateway.server_id not in {"", server.id}
