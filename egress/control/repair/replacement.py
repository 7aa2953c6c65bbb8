"""Ask for a gateway to be replaced by a new server: it costs the customer an address, so it is the last resort."""

from django.db import transaction

from egress.control import events
from egress.control.errors import PeerNotReady
from egress.control.maintenance import is_dead, locked, serves
from egress.control.models import Event, Gateway, GatewayStatus
from egress.control.models_rollouts import Maintenance
from egress.control.selectors import is_lost
from egress.control.transitions import gateway_transition
from egress.control.wake import wake
from portal.accounts.models import User

_REPLACE = Maintenance.REPLACE


def gateway_replace(*, gateway: Gateway, actor: User | None) -> Gateway:
    """Let a new server take the place of `gateway`'s, under another address, once it forwards.

    One that is dead, lost or failed is out of use at once; another is drained first, so its peer must serve. Does
    nothing where something is done to it already. `actor` is None for what the control plane does itself. Raises
    GatewayNotInUse, PeerNotReady.
    """
    with transaction.atomic():
        row, peers = locked(gateway)
        if row.maintenance or row.provisioning_status not in {GatewayStatus.READY, GatewayStatus.ERROR}:
            return row
        failed = row.provisioning_status == GatewayStatus.ERROR
        nothing_to_lose = is_lost(row) or failed or is_dead(row)
        if not nothing_to_lose and not any(map(serves, peers)):
            raise PeerNotReady
        events.record(Event.Kind.REQUEST, "gateway.replace", on=row, actor=actor)
        if failed:
            row.maintenance = _REPLACE
            row.save(update_fields=["maintenance"])
        else:
            to = GatewayStatus.ERROR if nothing_to_lose else GatewayStatus.DRAINING
            gateway_transition(gateway=row, to=to, reason=_REPLACE, actor=actor, maintenance=_REPLACE, action_id="")
        wake([row.assignment_id])
    return row
