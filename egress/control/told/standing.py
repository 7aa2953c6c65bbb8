"""Look how active pairs stand, note it, and tell their teams: level-triggered, each change and each mail once.

A look compares what is with what was noted, under the lock of the noted row, and writes the new state, its event and
its notification in one transaction. So it may run twice, at once, late, or die at any line.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from egress.control import clock, events, installation
from egress.control.condition import Condition, State
from egress.control.models import (
    Assignment,
    AssignmentStatus,
    Event,
    Gateway,
    GatewayStatus,
    Health,
    Node,
    NodeStatus,
    Placement,
    Wish,
)
from egress.control.models_told import Notification, Standing
from egress.control.selectors import condition_now, is_lost, latest_per_slot, words_of

from .notices import notify
from .outages import note_carries

Kind = Notification.Kind

#: Assignments in one look; the next takes the rest.
BATCH = 500
#: An outage lasts so long before it is told: agents that the control plane has just come back to report meanwhile.
OUTAGE_SETTLE = timedelta(seconds=30)
#: But the third within an hour is told at once: one that comes and goes is one, too.
OFTEN, OFTEN_WITHIN = 3, timedelta(hours=1)
#: What was told as bad is over after so long without; twice as long for each outage told in a day, up to 16 times.
CALM = timedelta(minutes=5)
CALM_DOUBLINGS = 4
#: Of what was told no more than this: a pair whose gateway is being worked on is as good as whole.
_WELL = (State.WHOLE, State.MAINTENANCE)
_IN_USE = Q(status=AssignmentStatus.ACTIVE, wish=Wish.ENABLED)
#: A gateway whose address isn't the pair's yet, or no more.
_NOT_THERE = (GatewayStatus.PENDING, GatewayStatus.CREATING, GatewayStatus.DELETING, GatewayStatus.DELETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a decision rests on: what was noted and told, and how often lately."""

    state: str
    since: datetime
    told: str
    #: Outages that began within `OFTEN_WITHIN`, and outages told within a day.
    began: int = 0
    told_lately: int = 0


def to_tell(past: Past, now: datetime) -> Kind | None:
    """Return what the team must be told now that `past.state` has lasted since `past.since`. Pure."""
    lasted = now - past.since
    if past.state == State.OUTAGE and past.told != State.OUTAGE:
        return Kind.OUTAGE if lasted >= OUTAGE_SETTLE or past.began >= OFTEN else None
    if past.state == State.DEGRADED and past.told in _WELL:
        late = lasted >= timedelta(seconds=settings.EGRESS_TELL_DEGRADED_SECONDS)
        return Kind.DEGRADED if late else None
    calm = lasted >= CALM * 2 ** min(max(past.told_lately - 1, 0), CALM_DOUBLINGS)
    if past.told == State.OUTAGE and past.state in {*_WELL, State.DEGRADED}:
        return Kind.OUTAGE_OVER if calm else None
    if past.told == State.DEGRADED and past.state in _WELL:
        return Kind.WHOLE if calm else None
    return None


def look() -> None:
    """Look at every active pair that may stand otherwise than noted; nothing while the installation stands still."""
    if installation.why_still():
        return
    note_carries()
    nodes = list(Node.objects.filter(status=NodeStatus.LIVE).defer("detail", "flows", "in_doubt"))
    for assignment_id in _candidates(nodes):
        _look_at(assignment_id, nodes)


def _candidates(nodes: Iterable[Node]) -> list[UUID]:
    """Return the active pairs to look at, those that weren't for longest first."""
    called_bad = {UUID(each) for node in nodes for each, word in node.gateways.items() if word == Health.UNHEALTHY}
    gateways = Gateway.objects.filter(assignment=OuterRef("pk")).exclude(provisioning_status=GatewayStatus.DELETED)
    not_well = gateways.filter(~Q(provisioning_status=GatewayStatus.READY) | Q(health=Health.UNHEALTHY))
    new = gateways.filter(created_at__gt=OuterRef("standing__looked_at"))
    unsettled = Q(standing=None) | ~Q(standing__state=State.WHOLE, standing__told=State.WHOLE)
    bad = Q(pk__in=Gateway.objects.filter(pk__in=called_bad).values("assignment"))
    rows = Assignment.objects.filter(_IN_USE).filter(Exists(not_well) | Exists(new) | unsettled | bad)
    ordered = rows.order_by(F("standing__looked_at").asc(nulls_first=True), "pk")
    return list(ordered.values_list("pk", flat=True)[:BATCH])


def _look_at(assignment_id: UUID, nodes: Iterable[Node]) -> None:
    now = clock.now()
    with transaction.atomic():
        noted, _ = Standing.objects.get_or_create(
            assignment_id=assignment_id, defaults={"state": State.WHOLE, "told": State.WHOLE}
        )
        # Locks the row: of two that look at once, the second sees what the first noted.
        noted = Standing.objects.select_for_update().get(pk=noted.pk)
        rows = Assignment.objects.filter(_IN_USE, pk=assignment_id).select_related("app__team", "cluster")
        assignment = rows.prefetch_related("gateways").first()
        if assignment is None:
            return
        assignment.standing = noted
        gateways = latest_per_slot(assignment)
        words = words_of([node for node in nodes if node.cluster_id == assignment.cluster_id], assignment.app.namespace)
        condition, _ = condition_now(assignment, gateways, words)
        if condition is not None:
            _note(noted, assignment, condition, now)
            _tell(noted, assignment, condition, now)
        _compare_addresses(noted, assignment, gateways)
        noted.looked_at = now
        noted.save()


def _note(noted: Standing, assignment: Assignment, condition: Condition, now: datetime) -> None:
    """Write down another state, with its event. That nothing is heard says nothing of how a pair stands."""
    if condition.state in {noted.state, State.UNKNOWN}:
        return
    events.record(
        Event.Kind.HEALTH,
        "assignment.standing",
        on=assignment,
        old=noted.state,
        new=condition.state,
        reason=f"{condition.reason}: {condition.message}",
    )
    noted.state, noted.since = condition.state, now


def _tell(noted: Standing, assignment: Assignment, condition: Condition, now: datetime) -> None:
    kind = to_tell(_past(noted, assignment, now), now)
    if kind is None or condition.state == State.UNKNOWN:
        return
    begun = noted.told_at
    key = f"{kind}:{noted.since:%Y-%m-%dT%H:%M:%S.%f}"
    notify(assignment, kind, key, condition=condition, since=noted.since, begun=begun)
    noted.told = State.WHOLE if noted.state in _WELL else noted.state
    noted.told_at = noted.since


def _past(noted: Standing, assignment: Assignment, now: datetime) -> Past:
    began = told_lately = 0
    if noted.state == State.OUTAGE != noted.told:
        outages = assignment.events.filter(subject="assignment.standing", new=State.OUTAGE)
        began = outages.filter(at__gt=now - OFTEN_WITHIN).count()
    elif noted.told != State.WHOLE:
        day = assignment.notifications.filter(created_at__gt=now - timedelta(days=1))
        told_lately = day.filter(kind__in=(Kind.OUTAGE, Kind.DEGRADED)).count()
    return Past(state=noted.state, since=noted.since, told=noted.told, began=began, told_lately=told_lately)


def _compare_addresses(noted: Standing, assignment: Assignment, gateways: Iterable[Gateway]) -> None:
    """Tell of an address that is lost, and of one that took another's place, once it is sure to stay."""
    if assignment.placement == Placement.UNCHECKED:
        return
    known = dict(enumerate(noted.addresses))
    for gateway in gateways:
        old, present = known.get(gateway.slot, ""), gateway.public_address
        if not present or gateway.provisioning_status in _NOT_THERE:
            continue
        if is_lost(gateway):
            _tell_lost(assignment, gateway)
        elif old and old != present:
            notify(assignment, Kind.ADDRESS_REPLACED, f"address:{gateway.pk}:{present}", old=old, new=present)
        known[gateway.slot] = present
    noted.addresses = [known.get(slot, "") for slot in (0, 1)]


def _tell_lost(assignment: Assignment, gateway: Gateway) -> None:
    key = f"lost:{gateway.pk}"
    if not assignment.notifications.filter(key=key).exists():
        address = gateway.public_address or ""
        events.record(Event.Kind.PROVIDER, "address.lost", on=gateway, old=address)
        notify(assignment, Kind.ADDRESS_LOST, key, old=address)
