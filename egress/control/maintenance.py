"""What operators and repair ask of one gateway: drain it, take it back, or drain it for something and bring it back.

Each is one transaction that writes a wish and wakes reconcile, which does the rest. The peer is never touched.
"""

from django.db import transaction

from portal.accounts.models import User

from . import events
from .errors import GatewayLost, GatewayNotInUse, PeerNotReady
from .health import Surroundings, is_healthy
from .models import Assignment, AssignmentStatus, Event, Gateway, GatewayStatus, Health, Wish
from .models_repair import IN_PLACE
from .models_rollouts import Maintenance
from .opinions import Nodes
from .selectors import is_lost
from .transitions import gateway_transition
from .wake import wake

#: A gateway that something is being done to.
_AWAY = (GatewayStatus.DRAINING, GatewayStatus.MAINTENANCE, GatewayStatus.BOOTING)


def gateway_maintain(*, gateway: Gateway, kind: Maintenance, actor: User | None) -> Gateway:
    """Let `kind` be done to `gateway`, on the same VM and under the same addresses, once its connections are over.

    New connections take the other gateway meanwhile; present ones end, or are cut at the cluster's deadline. Does
    nothing when it is on its way already. One that is dead isn't waited for, and needs no peer: nothing else brings
    back a pair of which both are. `actor` is None on the command line, and for what the control plane does itself.
    Raises GatewayNotInUse, GatewayLost, PeerNotReady.
    """
    with transaction.atomic():
        # Locks the row: of two who maintain the two gateways at once, the second sees what the first did.
        assignment = Assignment.objects.select_for_update().get(pk=gateway.assignment_id)
        pair = {row.pk: row for row in assignment.gateways.filter(IN_PLACE)}
        row = pair.pop(gateway.pk, None)
        if row is None or (assignment.status, assignment.wish) != (AssignmentStatus.ACTIVE, Wish.ENABLED):
            raise GatewayNotInUse
        if row.provisioning_status in _AWAY:
            return row
        if is_lost(row):
            raise GatewayLost
        dead = is_dead(row)
        if not dead and not any(map(serves, pair.values())):
            raise PeerNotReady
        events.record(Event.Kind.REQUEST, f"gateway.{kind}", on=row, actor=actor)
        if dead and row.provisioning_status == GatewayStatus.READY:
            gateway_transition(gateway=row, to=GatewayStatus.ERROR, reason="nobody sees it work")
        # One that failed has no connections left to wait for.
        failed = row.provisioning_status == GatewayStatus.ERROR
        to = GatewayStatus.MAINTENANCE if failed else GatewayStatus.DRAINING
        gateway_transition(gateway=row, to=to, reason=kind, actor=actor, maintenance=kind.value, action_id="")
        wake([assignment.pk])
    return row


def is_dead(gateway: Gateway) -> bool:
    """Say whether neither the gateway itself nor any node says now that it works: maintenance takes nothing away."""
    nodes = Surroundings.of(gateway.assignment.cluster_id).views.get(str(gateway.pk), Nodes())
    return gateway.reported_at is not None and not is_healthy(gateway) and not nodes.see_it_work


def serves(gateway: Gateway) -> bool:
    """Say whether a gateway is in use and works, by its own word and all others together."""
    well = is_healthy(gateway) and gateway.health != Health.UNHEALTHY
    return gateway.provisioning_status == GatewayStatus.READY and well
