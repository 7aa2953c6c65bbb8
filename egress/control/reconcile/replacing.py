"""Take the steps of a replacement: a new VM is made beside the old one, and takes its slot only when it forwards.

Until then nobody is told of it: it isn't routed, shown or billed. The old VM is deleted once all nodes know the new
one: its private address may be a stranger's at once.
"""

from django.db.models import F

from egress.control import events
from egress.control.health import LOST
from egress.control.models import Assignment, Event, Gateway, GatewayStatus, Placement
from egress.control.models_repair import IN_PLACE
from egress.control.transitions import gateway_transition

from .work import FRESH, MAX_MOVES, VOID, Work


def add_successor(work: Work, gateway: Gateway) -> None:
    """Make the row of the gateway that is to replace `gateway`."""
    with work.lease.fenced():
        successor = Gateway.objects.create(assignment=work.assignment, slot=gateway.slot, replaces=gateway)
        reason = f"is to replace server {gateway.server_id}"
        status = successor.provisioning_status
        events.record(Event.Kind.STATUS, "gateway.status", on=successor, new=status, reason=reason)


def take_over(work: Work, successor: Gateway) -> None:
    """Give `successor` the slot, unless it stands on the peer's host, where it is made anew a few times at most."""
    peer = work.assignment.gateways.filter(IN_PLACE).exclude(slot=successor.slot).first()
    together = bool(peer and peer.server_id in work.open_provider().neighbours(successor.server_id))
    if together and work.assignment.moves < MAX_MOVES:
        with work.lease.fenced():
            reason = f"server {successor.server_id} stands on the host of its peer"
            gateway_transition(gateway=successor, to=GatewayStatus.DELETING, reason=reason, **VOID)
            Assignment.objects.filter(pk=work.assignment.pk).update(**FRESH, moves=F("moves") + 1)
        return
    settle(work, successor, Placement.TOGETHER if together else Placement.APART)


def settle(work: Work, successor: Gateway, placement: Placement) -> None:
    """Give `successor` the slot; the old gateway leaves it in the same moment, and the customer is told."""
    with work.lease.fenced():
        old = Gateway.objects.select_related("assignment").get(successors=successor)
        was, now = old.public_address or "", successor.public_address or ""
        gateway_transition(
            gateway=old, to=GatewayStatus.DELETING, reason=f"replaced by server {successor.server_id}",
            maintenance="", **VOID,
        )  # fmt: skip
        gateway_transition(
            gateway=successor, to=GatewayStatus.READY, reason=f"replaces server {old.server_id}",
            replaces=None, enrolment_until=None,
        )  # fmt: skip
        Assignment.objects.filter(pk=work.assignment.pk).update(**FRESH, placement=placement)
        reason = old.detail if old.detail == LOST else old.finding_reason or old.detail
        events.record(Event.Kind.STATUS, "gateway.replaced", on=successor, old=was, new=now, reason=reason)


def abandon(work: Work, successor: Gateway, reason: str) -> None:
    """Give up on `successor`: the pair goes on as it is, and repair decides anew."""
    with work.lease.fenced():
        gateway_transition(gateway=successor, to=GatewayStatus.DELETING, reason=reason, **VOID)
        Gateway.objects.filter(successors=successor).update(maintenance="")
        Assignment.objects.filter(pk=work.assignment.pk).update(**FRESH)
