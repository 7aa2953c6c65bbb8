"""What to do next with an assignment: a pure function of what is wanted and what is observed."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID

from .models import SLOTS, AssignmentStatus, GatewayStatus, Wish


class Act(Enum):
    """Everything that can be done with an assignment in one idempotent step."""

    ADD_GATEWAY = auto()
    BEGIN_CREATE = auto()
    CREATE = auto()
    POLL = auto()
    MARK_READY = auto()
    FAIL_BOOT = auto()
    DISTRIBUTE = auto()
    ACTIVATE = auto()
    DRAIN = auto()
    RELEASE = auto()
    BEGIN_DELETE = auto()
    DELETE = auto()
    FINISH = auto()
    #: Nothing can be done before something else happens, or `wait_seconds` have passed.
    WAIT = auto()
    #: The wish is fulfilled, or a person must do something.
    SETTLED = auto()


#: These ask the provider and may find nothing new: once in a run is enough.
POLLS = frozenset({Act.POLL, Act.DELETE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One act, and what it is done to."""

    act: Act
    gateway_id: UUID | None = None
    slot: int | None = None
    wait_seconds: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFacts:
    """One gateway row that isn't deleted."""

    id: UUID
    slot: int
    status: GatewayStatus
    since: datetime
    #: The provider gave it both addresses.
    addressed: bool = False
    #: It enrolled, and its last report is fresh and says that it forwards.
    forwarding: bool = False
    #: It forwards for the nodes that the cluster has now.
    acknowledged: bool = False
    reported_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One live node."""

    #: It applied the revision that the assignment waits for.
    applied: bool = False
    #: Its data plane is all right.
    working: bool = False
    #: Connections on the pair's gateways in a report that is younger than the applied revision; None without one.
    flows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a decision rests on."""

    now: datetime
    wish: Wish
    status: AssignmentStatus
    since: datetime
    gateways: tuple[GatewayFacts, ...]
    nodes: tuple[NodeFacts, ...] = ()
    #: False when no node was ever told of the pair.
    targeted: bool = True
    flow_deadline: timedelta = timedelta(hours=1)
    boot_limit: timedelta = timedelta(minutes=10)
    #: Gateways that the provider was asked about in this run.
    polled: frozenset[UUID] = field(default_factory=frozenset)


#: How long to wait for what wakes us anyway (an acknowledgement, a report), in case that this got lost.
FALLBACK_SECONDS = 10.0
_SETTLED = Step(act=Act.SETTLED)


def next_step(facts: Facts) -> Step:
    """Return the one step to take now."""
    match facts.status:
        case AssignmentStatus.RELEASED:
            return _SETTLED
        case AssignmentStatus.DRAINING:
            return _drain(facts)
        case AssignmentStatus.RELEASING:
            return _release(facts)
    if facts.wish == Wish.DISABLED:
        return _leave(facts)
    match facts.status:
        case AssignmentStatus.PROVISIONING:
            return _provision(facts)
        case AssignmentStatus.DISTRIBUTING:
            # Without a node there is nothing that could be active yet.
            done = facts.nodes and all(node.applied and node.working for node in facts.nodes)
            return Step(act=Act.ACTIVATE) if done else _wait(FALLBACK_SECONDS)
    return _SETTLED


def _leave(facts: Facts) -> Step:
    routed = facts.status in {AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE}
    return Step(act=Act.DRAIN if routed else Act.RELEASE)


def _provision(facts: Facts) -> Step:
    missing = set(SLOTS) - {gateway.slot for gateway in facts.gateways}
    if missing:
        return Step(act=Act.ADD_GATEWAY, slot=min(missing))
    steps = [_raise_gateway(gateway, facts) for gateway in facts.gateways]
    for step in steps:
        if step.act is not Act.WAIT:
            return step
    if all(_usable(gateway) for gateway in facts.gateways):
        return Step(act=Act.DISTRIBUTE)
    return _wait(min(step.wait_seconds for step in steps))


def _usable(gateway: GatewayFacts) -> bool:
    return gateway.status == GatewayStatus.READY and gateway.forwarding and gateway.acknowledged


def _raise_gateway(gateway: GatewayFacts, facts: Facts) -> Step:
    """Return the next step of one gateway on its way to ready."""
    match gateway.status:
        case GatewayStatus.PENDING:
            return Step(act=Act.BEGIN_CREATE, gateway_id=gateway.id)
        case GatewayStatus.CREATING:
            return Step(act=Act.CREATE, gateway_id=gateway.id)
        case GatewayStatus.BOOTING:
            return _boot(gateway, facts)
        case GatewayStatus.READY if gateway.reported_at and facts.now - gateway.reported_at > facts.boot_limit:
            return Step(act=Act.FAIL_BOOT, gateway_id=gateway.id)
        case GatewayStatus.ERROR:
            return Step(act=Act.BEGIN_DELETE, gateway_id=gateway.id)
        case GatewayStatus.DELETING:
            return _delete(gateway, facts)
    return _wait(FALLBACK_SECONDS)


def _boot(gateway: GatewayFacts, facts: Facts) -> Step:
    age = facts.now - gateway.since
    if gateway.addressed and gateway.forwarding:
        return Step(act=Act.MARK_READY, gateway_id=gateway.id)
    if age > facts.boot_limit:
        return Step(act=Act.FAIL_BOOT, gateway_id=gateway.id)
    if gateway.addressed:
        return _wait(FALLBACK_SECONDS)
    if gateway.id not in facts.polled:
        return Step(act=Act.POLL, gateway_id=gateway.id)
    # Often at first, when the addresses come; later rarely, for the provider counts our calls.
    return _wait(min(5.0, max(0.5, age.total_seconds() / 5)))


def _drain(facts: Facts) -> Step:
    left = (facts.since + facts.flow_deadline - facts.now).total_seconds()
    if left <= 0 or all(node.applied and node.flows == 0 for node in facts.nodes):
        return Step(act=Act.RELEASE)
    return _wait(min(left, FALLBACK_SECONDS))


def _release(facts: Facts) -> Step:
    if facts.targeted and not all(node.applied for node in facts.nodes):
        return _wait(FALLBACK_SECONDS)
    if not facts.gateways:
        return Step(act=Act.FINISH)
    steps = [
        _delete(gateway, facts)
        if gateway.status == GatewayStatus.DELETING
        else Step(act=Act.BEGIN_DELETE, gateway_id=gateway.id)
        for gateway in facts.gateways
    ]
    return next((step for step in steps if step.act is not Act.WAIT), steps[0])


def _delete(gateway: GatewayFacts, facts: Facts) -> Step:
    if gateway.id in facts.polled:
        return _wait(1.0)
    return Step(act=Act.DELETE, gateway_id=gateway.id)


def _wait(seconds: float) -> Step:
    return Step(act=Act.WAIT, wait_seconds=seconds)
