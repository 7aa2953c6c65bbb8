"""What a view of egress means in the customer's words: one state for the page, one for each gateway. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from egress.control.condition import Condition
from egress.control.condition import State as PairState
from egress.control.models import AssignmentStatus, GatewayStatus, Health
from egress.control.overview import EgressOverview
from egress.control.selectors import DedicatedIp, EgressView


class Tone(StrEnum):
    """Which colour and shape stand beside the word; the value is the CSS class."""

    OK = "ok"
    BUSY = "busy"
    WARN = "warn"
    BAD = "bad"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A word, its tone, and the sentence that is read out when the state is entered."""

    tone: Tone
    label: str
    sentence: str = ""

    @property
    def parts(self) -> tuple[str, str]:
        """The sentence in two: its first, which says what is the matter, and what follows."""
        first, dot, rest = self.sentence.partition(". ")
        return first + dot.rstrip(), rest


#: A sentence names at most so many nodes.
NODES_NAMED = 3
OFF = State(tone=Tone.OFF, label="Shared addresses", sentence="Dedicated egress is off.")
ACTIVE = State(
    tone=Tone.OK,
    label="Dedicated egress active",
    sentence="Your app's traffic to the internet leaves from your own addresses.",
)

_BY_STATUS = {
    AssignmentStatus.PROVISIONING: State(
        tone=Tone.BUSY, label="Setting up", sentence="Your two gateways are being set up."
    ),
    AssignmentStatus.DISTRIBUTING: State(
        tone=Tone.BUSY, label="Almost there", sentence="Both gateways are up. Your app's traffic is moving to them."
    ),
    AssignmentStatus.DRAINING: State(
        tone=Tone.BUSY, label="Switching off", sentence="New connections use shared addresses. Open ones are finishing."
    ),
    AssignmentStatus.RELEASING: State(
        tone=Tone.BUSY, label="Releasing addresses", sentence="The two addresses are being given back."
    ),
    AssignmentStatus.ERROR: State(
        tone=Tone.BAD, label="Needs attention", sentence="Dedicated egress needs your attention."
    ),
}


def state_of(view: EgressView | EgressOverview) -> State:
    """Return the page's state; an active pair with a dead gateway is not simply active."""
    if view.hold:
        return State(tone=Tone.BAD, label="Disabled, addresses held", sentence=view.hold.message)
    if view.uncovered_nodes and view.status in {AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE}:
        return _uncovered(view.uncovered_nodes)
    if view.condition is not None and view.condition.state != PairState.WHOLE:
        return _active(view.condition)
    if view.status == AssignmentStatus.ACTIVE:
        return ACTIVE
    if view.status in {"", AssignmentStatus.RELEASED}:
        return OFF
    return _BY_STATUS[AssignmentStatus(view.status)]


def _uncovered(nodes: tuple[str, ...]) -> State:
    """Return the state of an app that has containers where packets can't be steered."""
    where = f"node {nodes[0]}" if len(nodes) == 1 else f"{len(nodes)} nodes ({', '.join(nodes[:NODES_NAMED])}"
    where += "" if len(nodes) == 1 else ", …)" if len(nodes) > NODES_NAMED else ")"
    return State(
        tone=Tone.BAD,
        label="Not on all nodes",
        sentence=f"The app's containers on {where} use shared addresses: the network there doesn't allow dedicated "
        "ones, or didn't when they started. Restart them, best on other nodes.",
    )


def serves(view: EgressView, ip: DedicatedIp) -> bool:
    """Say whether a gateway of a pair takes new connections, as far as is known."""
    out = view.condition is not None and view.condition.state == PairState.OUTAGE
    return ip.provisioning_status == GatewayStatus.READY and ip.health != Health.UNHEALTHY and not out


def _active(condition: Condition) -> State:
    """Put a pair's condition into one word; its sentence is the condition's own."""
    names = " and ".join(f"Gateway {name}" for name in condition.gateways)
    label, tone = {
        PairState.MAINTENANCE: (f"{names} in maintenance", Tone.BUSY),
        PairState.DEGRADED: (f"{names} down", Tone.WARN),
        PairState.OUTAGE: ("Both gateways down", Tone.BAD),
        PairState.UNKNOWN: ("Not heard of", Tone.WARN),
    }[condition.state]
    if condition.state == PairState.DEGRADED and condition.nodes_out:
        label, tone = "Not on all nodes", Tone.BAD
    return State(tone=tone, label=label, sentence=condition.message)


_SETTING_UP = {
    GatewayStatus.CREATING: "Creating",
    GatewayStatus.BOOTING: "Starting",
}
_LEAVING = {
    GatewayStatus.DRAINING: "Finishing",
    GatewayStatus.MAINTENANCE: "Updating",
    GatewayStatus.DELETING: "Releasing",
    GatewayStatus.DELETED: "Released",
}


def gateway_state(ip: DedicatedIp) -> State:
    """Return a gateway's state: what we do with it first, then how it is."""
    status = GatewayStatus(ip.provisioning_status)
    if status == GatewayStatus.PENDING:
        return State(tone=Tone.OFF, label="Waiting")
    if status == GatewayStatus.ERROR:
        return State(tone=Tone.BAD, label="Lost" if ip.lost else "Failed")
    if status in _SETTING_UP:
        return State(tone=Tone.BUSY, label=_SETTING_UP[status])
    if status in _LEAVING:
        return State(tone=Tone.WARN, label=_LEAVING[status])
    return {
        Health.HEALTHY: State(tone=Tone.OK, label="Healthy"),
        Health.UNHEALTHY: State(tone=Tone.BAD, label="Down"),
        Health.UNKNOWN: State(tone=Tone.BUSY, label="Checking"),
    }[Health(ip.health)]
