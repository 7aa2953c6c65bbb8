"""What operators and repair ask of one gateway: drain it, take it back, or drain it for something and bring it back.

Each is one transaction that writes a wish and wakes reconcile, which does the rest. The peer is never touched.
"""

from django.db import transaction

from portal.accounts.models import User

from . import events
from .errors import GatewayBusy, GatewayLost, GatewayNotDrained, GatewayNotInUse, PeerNotReady
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


def gateway_drain(*, gateway: Gateway, actor: User | None) -> Gateway:
    """Keep new connections off `gateway` until somebody takes it back; present ones go on until they end.

    Does nothing when it is kept out of use already. Should its peer fall ill, it is taken back by itself. `actor` is
    None on the command line. Raises GatewayNotInUse, GatewayBusy, PeerNotReady.
    """
    with transaction.atomic():
        row, peers = locked(gateway)
        if (row.provisioning_status, row.maintenance) == (GatewayStatus.DRAINING, Maintenance.HOLD):
            return row
        _refuse_while_away(row)
        if row.provisioning_status != GatewayStatus.READY:
            raise GatewayNotInUse
        if not any(map(serves, peers)):
            raise PeerNotReady
        _send_away(row, Maintenance.HOLD, GatewayStatus.DRAINING, actor)
    return row


def gateway_undrain(*, gateway: Gateway, actor: User | None) -> Gateway:
    """Take `gateway` back into use, whatever it drains for, as long as nothing was done to it yet.

    Raises GatewayNotInUse, GatewayNotDrained, GatewayBusy.
    """
    with transaction.atomic():
        row, _ = locked(gateway)
        if row.provisioning_status not in _AWAY:
            raise GatewayNotDrained
        if row.provisioning_status != GatewayStatus.DRAINING:
            raise GatewayBusy(
                f"{row} can't be taken back now: its {row.maintenance} has begun, and it comes back by itself."
            )
        events.record(Event.Kind.REQUEST, "gateway.undrain", on=row, actor=actor)
        gateway_transition(gateway=row, to=GatewayStatus.READY, reason="undrain", actor=actor, maintenance="")
        wake([row.assignment_id])
    return row


def gateway_maintain(*, gateway: Gateway, kind: Maintenance, actor: User | None) -> Gateway:
    """Let `kind` be done to `gateway`, on the same VM and under the same addresses, once its connections are over.

    New connections take the other gateway meanwhile; present ones end, or are cut at the cluster's deadline. Does
    nothing when that is on its way already. One that is dead isn't waited for, and needs no peer: nothing else brings
    back a pair of which both are. `actor` is None on the command line, and for what the control plane does itself.
    Raises GatewayNotInUse, GatewayBusy, GatewayLost, PeerNotReady.
    """
    if kind == Maintenance.HOLD:
        return gateway_drain(gateway=gateway, actor=actor)
    with transaction.atomic():
        row, peers = locked(gateway)
        if row.provisioning_status in _AWAY and row.maintenance == kind:
            return row
        if (row.provisioning_status, row.maintenance) == (GatewayStatus.DRAINING, Maintenance.HOLD):
            return _go_on_with(row, kind, actor)
        _refuse_while_away(row)
        if is_lost(row):
            raise GatewayLost
        dead = is_dead(row)
        if not dead and not any(map(serves, peers)):
            raise PeerNotReady
        if dead and row.provisioning_status == GatewayStatus.READY:
            gateway_transition(gateway=row, to=GatewayStatus.ERROR, reason="nobody sees it work")
        # One that failed has no connections left to wait for.
        failed = row.provisioning_status == GatewayStatus.ERROR
        _send_away(row, kind, GatewayStatus.MAINTENANCE if failed else GatewayStatus.DRAINING, actor)
    return row


def locked(gateway: Gateway) -> tuple[Gateway, list[Gateway]]:
    """Return the gateway and its peers as they are, under a lock on their assignment. Raises GatewayNotInUse.

    Of two who want something of the two gateways at once, the second sees what the first did.
    """
    assignment = Assignment.objects.select_for_update().get(pk=gateway.assignment_id)
    pair = assignment.gateways.select_related("assignment__app").filter(IN_PLACE)
    rows = {row.pk: row for row in pair}
    row = rows.pop(gateway.pk, None)
    if row is None or (assignment.status, assignment.wish) != (AssignmentStatus.ACTIVE, Wish.ENABLED):
        raise GatewayNotInUse
    return row, list(rows.values())


def _send_away(row: Gateway, kind: Maintenance, to: GatewayStatus, actor: User | None) -> None:
    events.record(Event.Kind.REQUEST, f"gateway.{kind}", on=row, actor=actor)
    gateway_transition(gateway=row, to=to, reason=kind, actor=actor, maintenance=kind.value, action_id="")
    wake([row.assignment_id])


def _go_on_with(row: Gateway, kind: Maintenance, actor: User | None) -> Gateway:
    """Let one that is drained already be mended, as soon as reconcile sees that its connections are over."""
    events.record(Event.Kind.REQUEST, f"gateway.{kind}", on=row, actor=actor)
    Gateway.objects.filter(pk=row.pk).update(maintenance=kind)
    row.maintenance = kind
    wake([row.assignment_id])
    return row


def _refuse_while_away(row: Gateway) -> None:
    if row.provisioning_status in _AWAY or row.maintenance == Maintenance.REPLACE:
        raise GatewayBusy(f"{row} is {row.provisioning_status} for a {row.maintenance}: wait until it is ready again.")


def is_dead(gateway: Gateway) -> bool:
    """Say whether neither the gateway itself nor any node says now that it works: maintenance takes nothing away."""
    nodes = Surroundings.of(gateway.assignment.cluster_id).views.get(str(gateway.pk), Nodes())
    return gateway.reported_at is not None and not is_healthy(gateway) and not nodes.see_it_work


def serves(gateway: Gateway) -> bool:
    """Say whether new connections may be left to `gateway`, by its own word and by all views together."""
    well = is_healthy(gateway) and gateway.health != Health.UNHEALTHY
    return gateway.provisioning_status == GatewayStatus.READY and well
