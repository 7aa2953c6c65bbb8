"""What may be seen, and by whom: reads only."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from portal.accounts.models import ApiToken, User

from . import clock, installation
from .condition import Condition, Side, Word, condition_of
from .errors import AppUnknown, StandsStill
from .health import LOST, is_fresh
from .holds import CODE as ADDRESSES_HELD
from .holds import Hold, holds_of
from .models import (
    App,
    Assignment,
    AssignmentStatus,
    EgressType,
    Event,
    Gateway,
    GatewayStatus,
    Node,
    NodeStatus,
    Placement,
    Wish,
)
from .models_rollouts import Maintenance
from .models_told import Notification, Standing
from .progress import Step, steps_of

#: Who asks: a person, or a program with a team's token.
Actor = User | ApiToken

EVENTS_SHOWN = 20
NODES_SHOWN = 500
NEWS_SHOWN = 5

IpStatus = Literal["ASSIGNING", "ASSIGNED", "REMOVED"]
_IP_STATUS: dict[str, IpStatus] = {
    AssignmentStatus.ACTIVE: "ASSIGNED",
    AssignmentStatus.DRAINING: "ASSIGNED",
    AssignmentStatus.RELEASING: "REMOVED",
}


#: Where a status leads once the wish is to disable; `plan` takes the step.
_LEAVING = {
    AssignmentStatus.PROVISIONING: AssignmentStatus.RELEASING,
    AssignmentStatus.DISTRIBUTING: AssignmentStatus.DRAINING,
    AssignmentStatus.ACTIVE: AssignmentStatus.DRAINING,
    AssignmentStatus.ERROR: AssignmentStatus.RELEASING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DedicatedIp:
    """One of the app's two addresses; `ip` is None until the provider gave it and the pair is to stay as it is."""

    id: str
    ip: str | None
    status: IpStatus
    slot: int
    #: "A" or "B"
    gateway: str
    #: "unknown", "healthy" or "unhealthy"
    health: str
    provisioning_status: str
    detail: str
    #: Its server is gone at the provider, and the address may be a stranger's next.
    lost: bool = False


class Problem(NamedTuple):
    """What holds an egress up: a code for programs and words for people, both "" without one."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One live node, as this app sees it; `slot` is the gateway that it uses, None while it uses none."""

    name: str
    containers: int
    slot: int | None
    applied: bool
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressView:
    """All that a page or the API shows of one app's egress. Without an assignment `status` and `wish` are ""."""

    app: App
    type: EgressType
    status: str
    wish: str
    since: datetime | None
    ips: tuple[DedicatedIp, ...]
    steps: tuple[Step, ...]
    nodes: tuple[NodeView, ...]
    error_code: str
    error_message: str
    can_enable: bool
    can_disable: bool
    can_retry: bool
    #: The latest ones, newest first.
    events: tuple[Event, ...]
    lagging_nodes: tuple[str, ...]
    #: Nodes whose network isn't supported and that have containers of this app: these use shared addresses.
    uncovered_nodes: tuple[str, ...]
    #: True while something is going on: worth polling.
    busy: bool
    #: How an active pair fares, and since when as far as that was noted; None otherwise.
    condition: Condition | None = None
    condition_since: datetime | None = None
    #: While the platform holds the addresses of what it disabled.
    hold: Hold | None = None
    #: Addresses that were lost or replaced, until somebody has dealt with it.
    address_news: tuple[Notification, ...] = ()


def apps_of(actor: Actor) -> QuerySet[App]:
    """Return the apps of the teams that `actor` belongs to."""
    apps = App.objects.select_related("team", "cluster")
    if isinstance(actor, ApiToken):
        return apps.filter(team_id=actor.team_id)
    return apps.filter(team__memberships__user=actor)


def app_for(actor: Actor, app_id: UUID | str) -> App:
    """Return one of `actor`'s apps. Raises AppUnknown, which doesn't tell whether another team has it."""
    try:
        return apps_of(actor).get(pk=app_id if isinstance(app_id, UUID) else UUID(app_id))
    except (App.DoesNotExist, ValueError):
        raise AppUnknown from None


def current_assignment(app: App) -> Assignment | None:
    """Return the app's assignment that isn't released yet, if there is one."""
    unreleased = Assignment.objects.exclude(status=AssignmentStatus.RELEASED)
    return unreleased.select_related("app", "cluster", "standing").filter(app=app).first()


def shown_status(assignment: Assignment) -> AssignmentStatus:
    """Return the status to show: once it is disabled, the one that comes next, though no worker took that step yet."""
    status = AssignmentStatus(assignment.status)
    if assignment.wish == Wish.DISABLED:
        return _LEAVING.get(status, status)
    return status


def live_nodes(cluster_id: int) -> list[Node]:
    """Return the nodes that must know every route of the cluster, by name."""
    return list(Node.objects.filter(cluster_id=cluster_id, status=NodeStatus.LIVE).order_by("name"))


def has_applied(node: Node, assignment: Assignment) -> bool:
    """Say whether `node` applied the revision that `assignment` waits for, in the history that is valid now."""
    target = assignment.target_revision
    epoch = str(assignment.cluster.epoch)
    return target is not None and node.applied_epoch == epoch and node.applied_revision >= target


def carries(node: Node, namespace: str) -> bool:
    """Say whether what runs of `namespace` on `node` can be, and is, kept on its route there.

    A node whose network isn't supported starts no container of an app with dedicated egress: only those that were there
    before matter, as long as they are there.
    """
    return node.dataplane in {"ok", "unsupported"} and not _passes_by(node, namespace)


def _passes_by(node: Node, namespace: str) -> bool:
    """Say whether containers of `namespace` on `node` go past all rules: its network is unsupported, or was."""
    there = node.containers if node.dataplane == "unsupported" else node.in_doubt
    return bool(there.get(namespace))


def uncovered_nodes(assignment: Assignment, nodes: Iterable[Node]) -> tuple[str, ...]:
    """Name the nodes on which containers of an enabled app go past all rules."""
    if assignment.wish != Wish.ENABLED:
        return ()
    namespace = assignment.app.namespace
    return tuple(node.name for node in nodes if _passes_by(node, namespace))


def lagging_nodes(assignment: Assignment, nodes: Iterable[Node] | None = None) -> tuple[str, ...]:
    """Name the live nodes that `assignment` waits for, because of their revision or of their data plane."""
    if assignment.target_revision is None:
        return ()
    routed = assignment.status in {AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE}
    considered = live_nodes(assignment.cluster_id) if nodes is None else nodes
    namespace = assignment.app.namespace
    return tuple(
        node.name
        for node in considered
        if not has_applied(node, assignment) or (routed and not carries(node, namespace))
    )


def egress_view(app: App) -> EgressView:
    """Return everything about `app`'s egress, in eight queries at most, whatever the number of nodes."""
    assignment = current_assignment(app)
    events = tuple(app.events.select_related("actor", "gateway", "node")[:EVENTS_SHOWN])
    if assignment is None:
        return _shared_view(app, events)
    gateways = latest_per_slot(assignment)
    nodes = live_nodes(assignment.cluster_id)
    enabled = assignment.wish == Wish.ENABLED
    lagging = lagging_nodes(assignment, nodes)
    hold = holds_of([assignment]).get(assignment.pk)
    busy = is_busy(assignment) and not hold
    problem = problem_of(assignment, changes_wait=installation.changes_wait() if busy else "", hold=hold)
    condition, condition_since = condition_now(assignment, gateways, words_of(nodes, app.namespace))
    return EgressView(
        app=app,
        type=EgressType.DEDICATED_IP if enabled else EgressType.AUTOASSIGN,
        status=shown_status(assignment),
        wish=assignment.wish,
        since=assignment.status_since,
        ips=tuple(_dedicated_ip(gateway, assignment) for gateway in gateways),
        steps=steps_of(assignment, gateways, nodes=len(nodes), lagging=len(lagging)),
        nodes=tuple(_node_view(node, assignment) for node in nodes[:NODES_SHOWN]),
        error_code=problem.code,
        error_message=problem.message,
        can_enable=False,
        can_disable=enabled,
        can_retry=enabled and assignment.status == AssignmentStatus.ERROR,
        events=events,
        lagging_nodes=lagging,
        uncovered_nodes=uncovered_nodes(assignment, nodes),
        busy=busy,
        condition=condition,
        condition_since=condition_since,
        hold=hold,
        address_news=address_news(assignment) if enabled else (),
    )


def address_news(assignment: Assignment) -> tuple[Notification, ...]:
    """Return what was told of the pair's addresses and nobody has dealt with, oldest first."""
    about = (Notification.Kind.ADDRESS_LOST, Notification.Kind.ADDRESS_REPLACED)
    unseen = assignment.notifications.filter(kind__in=about, seen_at=None)
    return tuple(unseen.order_by("created_at", "id")[:NEWS_SHOWN])


def condition_now(
    assignment: Assignment, gateways: Iterable[Gateway], words: Iterable[Word]
) -> tuple[Condition | None, datetime | None]:
    """Return how an active pair fares, and since when where that is noted; (None, None) for one that isn't active.

    The assignment's app and standing are loaded.
    """
    if (assignment.status, assignment.wish) != (AssignmentStatus.ACTIVE, Wish.ENABLED):
        return None, None
    noted = standing_of(assignment)
    sides = [side_of(gateway) for gateway in gateways]
    before = noted.state if noted else ""
    condition = condition_of(sides, words, on_outage=assignment.app.on_outage, before=before)
    return condition, noted.since if noted and noted.state == condition.state else None


def standing_of(assignment: Assignment) -> Standing | None:
    """Return what was noted of the assignment last; None before the first look."""
    return getattr(assignment, "standing", None)


def side_of(gateway: Gateway) -> Side:
    """Return what a condition rests on of one gateway."""
    return Side(
        id=str(gateway.pk),
        gateway="AB"[gateway.slot],
        address=gateway.public_address or "",
        status=gateway.provisioning_status,
        health=gateway.health,
        lost=is_lost(gateway),
        replaced=gateway.maintenance == Maintenance.REPLACE,
    )


def words_of(nodes: Iterable[Node], namespace: str) -> list[Word]:
    """Return what the nodes with containers of `namespace` say."""
    now = clock.now()
    return [
        Word(gateways=node.gateways, fresh=is_fresh(node.reported_at, now))
        for node in nodes
        if node.containers.get(namespace)
    ]


def is_busy(assignment: Assignment) -> bool:
    """Say whether something is going on that ends by itself."""
    settled = assignment.status in {AssignmentStatus.ACTIVE, AssignmentStatus.ERROR}
    return assignment.wish == Wish.DISABLED or not settled


def problem_of(assignment: Assignment, *, changes_wait: str, hold: Hold | None = None) -> Problem:
    """Return what holds `assignment` up: its hold; `changes_wait`, where all do; else its own trouble.

    Only one that is disabled has a hold.
    """
    if hold:
        return Problem(ADDRESSES_HELD, hold.message)
    if changes_wait and is_busy(assignment):
        return Problem(StandsStill.code, changes_wait)
    return Problem(assignment.error_code, assignment.error_message)


def _shared_view(app: App, events: tuple[Event, ...]) -> EgressView:
    return EgressView(
        app=app,
        type=EgressType.AUTOASSIGN,
        status="",
        wish="",
        since=None,
        ips=(),
        steps=(),
        nodes=(),
        error_code="",
        error_message="",
        can_enable=True,
        can_disable=False,
        can_retry=False,
        events=events,
        lagging_nodes=(),
        uncovered_nodes=(),
        busy=False,
    )


def dedicated_ips(assignment: Assignment) -> tuple[DedicatedIp, ...]:
    """Return the assignment's addresses by slot; asks nothing where its gateways are prefetched."""
    return tuple(_dedicated_ip(gateway, assignment) for gateway in latest_per_slot(assignment))


def latest_per_slot(assignment: Assignment) -> list[Gateway]:
    """Return the assignment's present gateways; asks nothing where they are prefetched."""
    # One that is made to replace another is nobody's business before it has.
    shown = (gateway for gateway in assignment.gateways.all() if gateway.replaces_id is None)
    in_order = sorted(shown, key=lambda gateway: (gateway.slot, gateway.created_at))
    return list({gateway.slot: gateway for gateway in in_order}.values())


def is_lost(gateway: Gateway) -> bool:
    """Say whether a gateway's server is known to be gone, and has not reported since."""
    return gateway.provisioning_status == GatewayStatus.ERROR and gateway.detail == LOST


def _dedicated_ip(gateway: Gateway, assignment: Assignment) -> DedicatedIp:
    lost = is_lost(gateway)
    gone = lost or gateway.provisioning_status in {GatewayStatus.DELETING, GatewayStatus.DELETED}
    return DedicatedIp(
        id=str(gateway.pk),
        ip=gateway.public_address if assignment.placement != Placement.UNCHECKED else None,
        status="REMOVED" if gone else _IP_STATUS.get(shown_status(assignment), "ASSIGNING"),
        slot=gateway.slot,
        gateway="AB"[gateway.slot],
        health=gateway.health,
        provisioning_status=gateway.provisioning_status,
        detail=gateway.detail,
        lost=lost,
    )


def _node_view(node: Node, assignment: Assignment) -> NodeView:
    applied = has_applied(node, assignment)
    # What an unsupported network carries it carries past all rules.
    steered = applied and node.dataplane != "unsupported" and not _passes_by(node, assignment.app.namespace)
    routed = steered and assignment.status in {AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE}
    return NodeView(
        name=node.name,
        containers=node.containers.get(assignment.app.namespace, 0),
        slot=(node.ordinal + assignment.spread) % 2 if routed else None,
        applied=applied,
        alive=node.health == "healthy",
    )
