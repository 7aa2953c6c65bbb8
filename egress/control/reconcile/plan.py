"""What to do next with an assignment: a pure function of what is wanted and what is observed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID

from egress.control.models import SLOTS, AssignmentStatus, GatewayStatus, Wish


class Act(Enum):
    """Everything that can be done with an assignment in one idempotent step."""

    ADD_GATEWAY = auto()
    BEGIN_CREATE = auto()
    CREATE = auto()
    POLL = auto()
    MARK_READY = auto()
    FAIL_BOOT = auto()
    #: Ask the provider whether the two servers stand on different hosts.
    CHECK_PLACEMENT = auto()
    DISTRIBUTE = auto()
    ACTIVATE = auto()
    DRAIN = auto()
    RELEASE = auto()
    BEGIN_DELETE = auto()
    DELETE = auto()
    FINISH = auto()
    #: Tell the nodes which of an active pair's gateways take new connections.
    ANNOUNCE = auto()
    #: Begin to make the gateway that is to replace another, and give it that one's slot once it forwards.
    ADD_SUCCESSOR = auto()
    TAKE_OVER = auto()
    RESUME = auto()
    BEGIN_MAINTENANCE = auto()
    #: Ask the provider to reboot, power-cycle or rebuild.
    MAINTAIN = auto()
    CHECK_MAINTENANCE = auto()
    FAIL_MAINTENANCE = auto()
    #: Nothing can be done before something else happens, or `wait_seconds` have passed.
    WAIT = auto()
    #: The wish is fulfilled, or a person must do something.
    SETTLED = auto()


#: These ask the provider and may find nothing new: once in a run is enough.
POLLS = frozenset({Act.POLL, Act.DELETE, Act.CHECK_MAINTENANCE})


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
    #: Connections that nodes have on it, by reports younger than the revision that all applied; None without these.
    flows: int | None = None
    #: By all views together it can't serve, whatever it says itself.
    sick: bool = False
    #: It is out of use until another has taken its slot.
    replaced: bool = False
    #: The gateway that it is made to replace: until then it is none of its pair.
    replaces: UUID | None = None
    #: It drains only to be kept out of use.
    held: bool = False
    #: The provider accepted an action that isn't known to have ended.
    acting: bool = False
    #: It is known by a report that this isn't the boot which the maintenance ended.
    rebooted: bool = True
    #: Of the nodes that probe it, at least half say that it works, by reports since it boots; or none probes it.
    seen: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One live node."""

    #: It applied the revision that the assignment waits for.
    applied: bool = False
    #: Its data plane is all right, as far as it concerns the app.
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
    #: The provider was asked whether the pair's servers stand on different hosts.
    placed: bool = True
    #: False when an active pair's gateways aren't in the states that nodes were told.
    announced: bool = True
    flow_deadline: timedelta = timedelta(hours=1)
    #: A disabled one keeps its gateways at least until then.
    held_until: datetime | None = None
    boot_limit: timedelta = timedelta(minutes=10)
    #: A server that the provider hasn't deleted after this long holds the customer up no more.
    deletion_limit: timedelta = timedelta(minutes=30)
    #: Gateways that the provider was asked about in this run.
    polled: frozenset[UUID] = field(default_factory=frozenset)


#: How long to wait for what wakes us anyway (an acknowledgement, a report), in case that this got lost.
FALLBACK_SECONDS = 10.0
#: Between two looks at one whose addresses are held.
HOLD_PAUSE_SECONDS = 60.0
#: Between two looks at a server that should be gone, at most.
DELETION_PAUSE_SECONDS = 300.0
_SETTLED = Step(act=Act.SETTLED)


def next_step(facts: Facts) -> Step:
    """Return the one step to take now."""
    match facts.status:
        case AssignmentStatus.RELEASED:
            return _clear_up(facts)
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
        case AssignmentStatus.ACTIVE:
            return _maintain(facts)
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
    if not facts.placed and all(_stands(gateway) for gateway in facts.gateways):
        # While they boot: a gateway that must be replaced hasn't been waited for.
        return Step(act=Act.CHECK_PLACEMENT)
    if all(_usable(gateway) for gateway in facts.gateways):
        return Step(act=Act.DISTRIBUTE)
    return _wait(min(step.wait_seconds for step in steps))


def _stands(gateway: GatewayFacts) -> bool:
    return gateway.addressed and gateway.status in {GatewayStatus.BOOTING, GatewayStatus.READY}


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


def _maintain(facts: Facts) -> Step:
    """Return the next step of an active pair, of which a gateway may be under maintenance."""
    steps = [_replace(gateway, facts) or _tend(gateway, facts) for gateway in facts.gateways]
    by_urgency = sorted(steps, key=_urgency)
    if not facts.announced and by_urgency[0].act is not Act.RESUME:
        return Step(act=Act.ANNOUNCE)
    return by_urgency[0]


def _urgency(step: Step) -> int:
    # A gateway that must serve again after all is never announced as draining first.
    return {Act.RESUME: 0, Act.WAIT: 2, Act.SETTLED: 3}.get(step.act, 1)


def _replace(gateway: GatewayFacts, facts: Facts) -> Step | None:
    """Return the next step of a gateway that replaces another, is replaced or was; None of any other."""
    if gateway.replaces:
        return _succeed(gateway, facts)
    if gateway.status == GatewayStatus.DELETING:
        # Whatever uses its address next, no node may take it for this gateway.
        known = facts.announced and all(node.applied for node in facts.nodes)
        return _delete(gateway, facts) if known else _wait(FALLBACK_SECONDS)
    if not gateway.replaced or any(other.replaces == gateway.id for other in facts.gateways):
        return None
    return Step(act=Act.ADD_SUCCESSOR, gateway_id=gateway.id)


def _succeed(gateway: GatewayFacts, facts: Facts) -> Step:
    """Unlike at the first boot, the pair carries traffic: only one that forwards for all nodes takes the slot."""
    step = _raise_gateway(gateway, facts)
    if step.act is not Act.MARK_READY:
        return step
    if gateway.acknowledged:
        return Step(act=Act.TAKE_OVER, gateway_id=gateway.id)
    late = facts.now - gateway.since > facts.boot_limit
    return Step(act=Act.FAIL_BOOT, gateway_id=gateway.id) if late else _wait(FALLBACK_SECONDS)


def _tend(gateway: GatewayFacts, facts: Facts) -> Step:
    """Return the next step of one gateway of an active pair: drain, mend, boot."""
    match gateway.status:
        case GatewayStatus.DRAINING if not _peer_serves(gateway, facts):
            # Better two addresses, one of them old, than none.
            return Step(act=Act.RESUME, gateway_id=gateway.id)
        case GatewayStatus.DRAINING:
            left = (gateway.since + facts.flow_deadline - facts.now).total_seconds()
            if gateway.held:
                return _wait(FALLBACK_SECONDS)
            if left <= 0 or gateway.flows == 0:
                return Step(act=Act.BEGIN_MAINTENANCE, gateway_id=gateway.id)
            return _wait(min(left, FALLBACK_SECONDS))
        case GatewayStatus.MAINTENANCE:
            return _mend(gateway, facts)
        case GatewayStatus.BOOTING:
            return _boot_again(gateway, facts)
    return _SETTLED


def _mend(gateway: GatewayFacts, facts: Facts) -> Step:
    if not gateway.acting:
        # What is dead takes nothing away when it goes down.
        harmless = _peer_serves(gateway, facts) or not gateway.forwarding
        return Step(act=Act.MAINTAIN, gateway_id=gateway.id) if harmless else _wait(FALLBACK_SECONDS)
    if facts.now - gateway.since > facts.boot_limit:
        return Step(act=Act.FAIL_MAINTENANCE, gateway_id=gateway.id)
    if gateway.id in facts.polled:
        return _wait(1.0)
    return Step(act=Act.CHECK_MAINTENANCE, gateway_id=gateway.id)


def _boot_again(gateway: GatewayFacts, facts: Facts) -> Step:
    """Unlike at the first boot, the pair carries traffic: only a gateway that forwards for all nodes is ready."""
    if gateway.forwarding and gateway.acknowledged and gateway.rebooted and gateway.seen:
        return Step(act=Act.MARK_READY, gateway_id=gateway.id)
    if facts.now - gateway.since > facts.boot_limit:
        return Step(act=Act.FAIL_MAINTENANCE, gateway_id=gateway.id)
    return _wait(FALLBACK_SECONDS)


def _peer_serves(gateway: GatewayFacts, facts: Facts) -> bool:
    return any(_usable(other) and not other.sick for other in facts.gateways if other.slot != gateway.slot)


def _drain(facts: Facts) -> Step:
    if facts.wish == Wish.ENABLED:
        # Resumed: its gateways are still there.
        return Step(act=Act.DISTRIBUTE)
    if facts.held_until and facts.held_until > facts.now:
        return _wait(min((facts.held_until - facts.now).total_seconds(), HOLD_PAUSE_SECONDS))
    left = (facts.since + facts.flow_deadline - facts.now).total_seconds()
    if left <= 0 or all(node.applied and node.flows == 0 for node in facts.nodes):
        return Step(act=Act.RELEASE)
    return _wait(min(left, FALLBACK_SECONDS))


def _release(facts: Facts) -> Step:
    if facts.targeted and not all(node.applied for node in facts.nodes):
        return _wait(FALLBACK_SECONDS)
    if all(_is_stuck(gateway, facts) for gateway in facts.gateways):
        return Step(act=Act.FINISH)
    return _soonest(
        _delete(gateway, facts)
        if gateway.status == GatewayStatus.DELETING
        else Step(act=Act.BEGIN_DELETE, gateway_id=gateway.id)
        for gateway in facts.gateways
    )


def _is_stuck(gateway: GatewayFacts, facts: Facts) -> bool:
    return gateway.status == GatewayStatus.DELETING and facts.now - gateway.since > facts.deletion_limit


def _clear_up(facts: Facts) -> Step:
    """Go on with what the provider didn't delete in time: it is never given up."""
    left = [gateway for gateway in facts.gateways if gateway.status == GatewayStatus.DELETING]
    return _soonest(_delete(gateway, facts) for gateway in left) if left else _SETTLED


def _soonest(steps: Iterable[Step]) -> Step:
    """Return the first step that can be taken; else the shortest wait."""
    return min(steps, key=lambda step: (step.act is Act.WAIT, step.wait_seconds))


def _delete(gateway: GatewayFacts, facts: Facts) -> Step:
    if gateway.id not in facts.polled:
        return Step(act=Act.DELETE, gateway_id=gateway.id)
    # Often at first, when it goes; later rarely, for the provider counts our calls.
    age = (facts.now - gateway.since).total_seconds()
    return _wait(min(DELETION_PAUSE_SECONDS, max(1.0, age / 2)))


def _wait(seconds: float) -> Step:
    return Step(act=Act.WAIT, wait_seconds=seconds)
