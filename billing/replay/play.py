"""Write the rows of a scene as the control plane does, by its own functions, at the time that the clock shows.

Nothing is remembered between scenes, so that a replay which was interrupted goes on from its rows. No server is asked
for: rows have no due time, and so no worker looks at them.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.conf import settings

from billing.models import Replay
from billing.rating.services import credit_grant, price_set, terms_set
from egress.control import clock, events
from egress.control.models import App, Assignment, AssignmentStatus, Event, Gateway, GatewayStatus, Node
from egress.control.models_repair import IN_PLACE
from egress.control.models_told import Carry
from egress.control.selectors import current_assignment
from egress.control.services import egress_disable, egress_enable, egress_retry
from egress.control.told import pivots, traffic
from egress.control.transitions import assignment_transition, gateway_transition
from egress.control.withdrawal import egress_resume, egress_withdraw
from egress.wire import messages as wire
from portal.accounts.models import Team

from . import stage
from .scenes import Kind, Scene, Turn

REASON: Final = "made-up history"
#: Longer than anybody takes to change their mind.
HELD: Final = timedelta(days=30)
_ENTERED: Final = (GatewayStatus.CREATING, GatewayStatus.BOOTING, GatewayStatus.READY)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def play(replay: Replay, scene: Scene) -> None:
    """Write what happens in `scene`."""
    with clock.playing(scene.at):
        _PLAYED[scene.kind](replay, scene)


def _app(replay: Replay, scene: Scene) -> App:
    return App.objects.get(cluster=replay.cluster_id, namespace=stage.app_name(scene.app))


def _current(replay: Replay, scene: Scene) -> Assignment:
    assignment = current_assignment(_app(replay, scene))
    if assignment is None:
        raise LookupError(f"{scene} is about nothing: its app has no assignment")
    return assignment


def _rest(assignment: Assignment) -> None:
    """Let no worker look at it."""
    Assignment.objects.filter(pk=assignment.pk).update(due_at=None)


# --- the customer ----------------------------------------------------------------------------------------------------


def _enable(replay: Replay, scene: Scene) -> None:
    _rest(egress_enable(app=_app(replay, scene), actor=replay.actor))


def _retry(replay: Replay, scene: Scene) -> None:
    _rest(egress_retry(app=_app(replay, scene), actor=replay.actor))


def _disable(replay: Replay, scene: Scene) -> None:
    assignment = egress_disable(app=_app(replay, scene), actor=replay.actor)
    if assignment is not None:
        _rest(assignment)


def _hold(replay: Replay, scene: Scene) -> None:
    assignment = egress_withdraw(app=_app(replay, scene), reason=REASON, held_until=clock.now() + HELD)
    if assignment is not None:
        _rest(assignment)


def _resume(replay: Replay, scene: Scene) -> None:
    assignment = egress_resume(app=_app(replay, scene), reason=REASON)
    if assignment is not None:
        _rest(assignment)


# --- reconcile -------------------------------------------------------------------------------------------------------


def _move(to: AssignmentStatus, **changes: Any) -> Callable[[Replay, Scene], None]:
    def move(replay: Replay, scene: Scene) -> None:
        assignment_transition(assignment=_current(replay, scene), to=to, reason=REASON, due_at=None, **changes)

    return move


def _ready(replay: Replay, scene: Scene) -> None:
    assignment = _current(replay, scene)
    for gateway in assignment.gateways.select_related("assignment"):
        _boot(gateway, _ENTERED)
    assignment_transition(assignment=assignment, to=AssignmentStatus.DISTRIBUTING, reason=REASON, due_at=None)


def _boot(gateway: Gateway, through: tuple[GatewayStatus, ...], **changes: Any) -> None:
    for status in through:
        gateway_transition(gateway=gateway, to=status, reason=REASON, **changes)


def _release(replay: Replay, scene: Scene) -> None:
    assignment = _current(replay, scene)
    for gateway in assignment.gateways.exclude(provisioning_status=GatewayStatus.DELETED).select_related("assignment"):
        gateway_transition(gateway=gateway, to=GatewayStatus.DELETING, reason=REASON)
    assignment_transition(assignment=assignment, to=AssignmentStatus.RELEASING, reason=REASON, due_at=None)


def _released(replay: Replay, scene: Scene) -> None:
    assignment = _current(replay, scene)
    leaving = assignment.gateways.filter(provisioning_status=GatewayStatus.DELETING)
    for gateway in leaving.select_related("assignment"):
        gateway_transition(gateway=gateway, to=GatewayStatus.DELETED, deleted_at=clock.now())
    assignment_transition(
        assignment=assignment, to=AssignmentStatus.RELEASED, reason=REASON, due_at=None, released_at=clock.now()
    )


def _replace(replay: Replay, scene: Scene) -> None:
    """Make a gateway beside the one that it is to replace, as `reconcile.replacing` does."""
    old = _in_place(replay, scene)
    successor = Gateway.objects.create(assignment=old.assignment, slot=old.slot, replaces=old)
    events.record(Event.Kind.STATUS, "gateway.status", on=successor, new=successor.provisioning_status, reason=REASON)
    _boot(successor, (GatewayStatus.CREATING, GatewayStatus.BOOTING))


def _replaced(replay: Replay, scene: Scene) -> None:
    old = _in_place(replay, scene)
    successor = Gateway.objects.select_related("assignment").get(replaces=old)
    gateway_transition(gateway=old, to=GatewayStatus.DELETING, reason=REASON)
    gateway_transition(gateway=successor, to=GatewayStatus.READY, reason=REASON, replaces=None)
    gateway_transition(gateway=old, to=GatewayStatus.DELETED, deleted_at=clock.now())
    events.record(Event.Kind.STATUS, "gateway.replaced", on=successor, reason=REASON)


def _in_place(replay: Replay, scene: Scene) -> Gateway:
    gateways = _current(replay, scene).gateways.filter(IN_PLACE, slot=scene.slot)
    return gateways.select_related("assignment").get()


# --- agents ----------------------------------------------------------------------------------------------------------


def _carry(replay: Replay, scene: Scene) -> None:
    Carry.objects.create(node=_node(replay, scene), assignment=_current(replay, scene))


def _carry_no_more(replay: Replay, scene: Scene) -> None:
    Carry.objects.filter(node=_node(replay, scene), assignment=_current(replay, scene), until=None).update(
        until=clock.now()
    )


def _report(replay: Replay, scene: Scene) -> None:
    node = _node(replay, scene)
    Node.objects.filter(pk=node.pk).update(reported_at=clock.now())
    lives: dict[tuple[int, int], Assignment] = {}
    for app in {turn.app for turn in scene.turns}:
        assignments = Assignment.objects.filter(app__cluster=replay.cluster_id, app__namespace=stage.app_name(app))
        lives |= {(app, number): each for number, each in enumerate(assignments.order_by("created_at"))}
    pivots.keep(node, [_pivot(turn, lives[turn.app, turn.life]) for turn in scene.turns])


def _pivot(turn: Turn, assignment: Assignment) -> wire.Pivot:
    gateway = "" if turn.out else str(assignment.gateways.filter(slot=0).values_list("pk", flat=True)[0])
    by_its_clock = turn.at - timedelta(seconds=settings.CLOCK_OFFSET_SECONDS)
    return wire.Pivot(
        number=turn.number,
        at=(by_its_clock - _EPOCH) // timedelta(milliseconds=1),
        pair=assignment.pair,
        gateway=gateway,
        reason=REASON,
    )


def _node(replay: Replay, scene: Scene) -> Node:
    return Node.objects.get(cluster=replay.cluster_id, ordinal=scene.node)


def _count(replay: Replay, scene: Scene) -> None:
    traffic.count(_in_place(replay, scene), scene.boot, scene.bytes)


# --- the operator ----------------------------------------------------------------------------------------------------


def _price(replay: Replay, scene: Scene) -> None:
    currency = settings.BILLING_CURRENCY
    price_set(cluster=replay.cluster, currency=currency, reason=REASON, actor=replay.actor, **scene.given)


def _terms(replay: Replay, scene: Scene) -> None:
    terms_set(team=_team(scene), reason=REASON, actor=replay.actor, **scene.given)


def _credit(replay: Replay, scene: Scene) -> None:
    currency = settings.BILLING_CURRENCY
    credit_grant(team=_team(scene), currency=currency, reason=REASON, actor=replay.actor, **scene.given)


def _team(scene: Scene) -> Team:
    return Team.objects.get(slug=stage.team_slug(scene.team))


_PLAYED: Final[Mapping[Kind, Callable[[Replay, Scene], None]]] = {
    Kind.ENABLE: _enable,
    Kind.FAIL: _move(AssignmentStatus.ERROR, error_code="made_up", error_message="Made up."),
    Kind.RETRY: _retry,
    Kind.READY: _ready,
    Kind.ACTIVATE: _move(AssignmentStatus.ACTIVE),
    Kind.DISABLE: _disable,
    Kind.HOLD: _hold,
    Kind.RESUME: _resume,
    Kind.DRAIN: _move(AssignmentStatus.DRAINING),
    Kind.REROUTE: _move(AssignmentStatus.DISTRIBUTING),
    Kind.RELEASE: _release,
    Kind.RELEASED: _released,
    Kind.REPLACE: _replace,
    Kind.REPLACED: _replaced,
    Kind.CARRY: _carry,
    Kind.REST: _carry_no_more,
    Kind.REPORT: _report,
    Kind.COUNT: _count,
    Kind.PRICE: _price,
    Kind.TERMS: _terms,
    Kind.CREDIT: _credit,
}
