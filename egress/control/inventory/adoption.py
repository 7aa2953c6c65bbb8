"""Give servers in quarantine back to the app that they were made for: the same gateways with the same addresses.

What a server was made for is in its tags: app, assignment, slot and gateway. Whether nodes route through it they say.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from egress.control import clock, distribution, events, naming
from egress.control.agents.enrolment import enrolment_secret
from egress.control.errors import NotAPair
from egress.control.models import (
    SLOTS,
    App,
    Assignment,
    AssignmentStatus,
    Event,
    Gateway,
    GatewayStatus,
    Node,
    NodeStatus,
    Placement,
    Wish,
)
from egress.control.models_installation import StrayServer
from egress.control.pairs import free_pair
from egress.control.transitions import assignment_transition, gateway_transition
from egress.control.wake import wake
from portal.accounts.models import User, token_hash

#: An assignment in one of these has no pair in use, so that a gateway which replaced one of its own is taken back.
_UNFINISHED = (AssignmentStatus.PROVISIONING, AssignmentStatus.ERROR)


@dataclass(frozen=True, slots=True)
class Find:
    """What stands in quarantine for an app: servers by slot, and the assignment's row where it isn't forgotten too."""

    assignment_id: UUID
    strays: dict[int, StrayServer]
    known: Assignment | None


def find_for(app_id: UUID) -> Find | None:
    """Return the latest pair in quarantine that `app_id` can have back; None without a whole one with addresses."""
    found: dict[UUID, dict[int, StrayServer]] = {}
    for stray in StrayServer.objects.filter(delete_ordered_at=None).order_by("created_at", "pk"):
        origin = naming.origin_of(stray.tags)
        usable = stray.public_address and stray.private_address and naming.gateway_of(stray.tags)
        if origin and origin.app_id == app_id and usable:
            found.setdefault(origin.assignment_id, {})[origin.slot] = stray
    unreleased = Assignment.objects.exclude(status=AssignmentStatus.RELEASED).filter(app_id=app_id)
    present = unreleased.select_related("app", "cluster").first()
    for assignment_id, strays in reversed(found.items()):
        forgotten = present is None and not Assignment.objects.filter(pk=assignment_id).exists()
        if forgotten and set(strays) == set(SLOTS):
            return Find(assignment_id, strays, None)
        if present is not None and present.pk == assignment_id and _takes_back(present):
            return Find(assignment_id, strays, present)
    return None


def pair_adopt(*, app: App, actor: User | None) -> Assignment:
    """Give `app` back what `find_for` finds. Raises NotAPair.

    If nodes say that they use it, the route that they get next leads over it, so that they never lose it; if not, it
    goes the usual way of a new pair.
    """
    with transaction.atomic():
        find = find_for(app.pk)
        if find is None:
            raise NotAPair
        routed = _is_routed(app.cluster_id, find.strays.values())
        assignment = find.known or _remember(app, find.assignment_id, actor)
        for slot, stray in find.strays.items():
            _take_back(stray, assignment, slot)
        if assignment.status == AssignmentStatus.ERROR:
            assignment_transition(
                assignment=assignment, to=AssignmentStatus.PROVISIONING, reason=_REASON, actor=actor, error_code="",
                error_message="", attempts=0,
            )  # fmt: skip
        Assignment.objects.filter(pk=assignment.pk).update(placement=Placement.UNKNOWN)
        if routed:
            _route_as_before(assignment, actor)
        wake([assignment.pk])
    return assignment


_REASON = "taken back from quarantine"


def _takes_back(present: Assignment) -> bool:
    return present.wish == Wish.ENABLED and present.status in _UNFINISHED


def _is_routed(cluster_id: int, strays: Iterable[StrayServer]) -> bool:
    """Say whether a live node probes one of these gateways or has connections on it: only those in use are probed."""
    names = {str(naming.gateway_of(stray.tags)) for stray in strays}
    nodes = Node.objects.filter(cluster_id=cluster_id, status=NodeStatus.LIVE)
    return any(names & {*probed, *flows} for probed, flows in nodes.values_list("gateways", "flows"))


def _remember(app: App, assignment_id: UUID, actor: User | None) -> Assignment:
    assignment = Assignment.objects.create(
        id=assignment_id, app=app, cluster_id=app.cluster_id, pair=free_pair(app.cluster_id)
    )
    status = assignment.status
    events.record(Event.Kind.STATUS, "assignment.status", on=assignment, new=status, reason=_REASON, actor=actor)
    return assignment


def _take_back(stray: StrayServer, assignment: Assignment, slot: int) -> None:
    """Make a row of the server again; whatever row has its slot was replaced by it, and is gone."""
    gateway_id = naming.gateway_of(stray.tags)
    if gateway_id is None or not StrayServer.objects.filter(pk=stray.pk).delete()[0]:
        raise NotAPair
    for old in assignment.gateways.filter(slot=slot).exclude(provisioning_status=GatewayStatus.DELETED):
        if old.provisioning_status != GatewayStatus.DELETING:
            gateway_transition(gateway=old, to=GatewayStatus.DELETING, reason=f"replaced by server {stray.server_id}")
        gateway_transition(gateway=old, to=GatewayStatus.DELETED, token_hash=None, deleted_at=clock.now())
    gateway = Gateway.objects.create(
        id=gateway_id,
        assignment=assignment,
        slot=slot,
        provisioning_status=GatewayStatus.BOOTING,
        server_id=stray.server_id,
        public_address=stray.public_address,
        private_address=stray.private_address,
        enrolment_hash=token_hash(enrolment_secret(gateway_id)),
        enrolment_until=clock.now() + timedelta(seconds=settings.EGRESS_BOOT_LIMIT_SECONDS),
    )
    events.record(
        Event.Kind.STATUS, "gateway.status", on=gateway, new=GatewayStatus.BOOTING,
        reason=f"server {stray.server_id} {_REASON}",
    )  # fmt: skip


def _route_as_before(assignment: Assignment, actor: User | None) -> None:
    """Publish the pair without waiting for its gateways to enrol again: nodes use them all the while."""
    gateways = assignment.gateways.select_related("assignment__app").exclude(provisioning_status=GatewayStatus.DELETED)
    if not all(gateway.public_address and gateway.private_address for gateway in gateways):
        return
    for gateway in gateways:
        if gateway.provisioning_status == GatewayStatus.BOOTING:
            gateway_transition(gateway=gateway, to=GatewayStatus.READY, reason=_REASON)
    revision = distribution.publish(
        assignment.cluster_id, assignment.app.namespace, distribution.route_of(assignment, "active")
    )
    assignment_transition(
        assignment=assignment, to=AssignmentStatus.DISTRIBUTING, reason=_REASON, actor=actor, target_revision=revision
    )
