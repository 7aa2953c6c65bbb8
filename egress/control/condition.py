"""How an active pair fares, for its owner: one state, why, and what follows. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from .models import GatewayStatus, Health
from .models_told import OnOutage


class State(StrEnum):
    """From best to worst; `UNKNOWN` where neither nodes nor gateways are heard of, which says nothing of traffic."""

    WHOLE = "whole"
    #: One gateway is being worked on, as planned.
    MAINTENANCE = "maintenance"
    #: One gateway failed, or is being repaired; or some of the app's nodes reach neither.
    DEGRADED = "degraded"
    OUTAGE = "outage"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One gateway of an active pair, as its row has it."""

    id: str
    #: "A" or "B"
    gateway: str
    address: str
    status: str
    health: str
    lost: bool = False
    #: A new server, with a new address, is made to take its place.
    replaced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What one node with containers of the app says of gateways: {id: "healthy", "unhealthy" or "unknown"}."""

    gateways: Mapping[str, str]
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The state with its reason: `reason` is for programs, `message` for people."""

    state: State
    reason: str
    message: str
    #: The gateways that can't be used, or are worked on: "A", "B".
    gateways: tuple[str, ...] = ()
    nodes_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One condition as the API gives it; `since` is the view's to know."""

    type: Literal["Available", "Redundant", "Covered"]
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


WELL = Condition(state=State.WHOLE, reason="BothGatewaysUp", message="Both gateways work.")
#: What is worked on; without a bad word of it, as planned.
_WORKED_ON = frozenset(
    {
        GatewayStatus.PENDING,
        GatewayStatus.CREATING,
        GatewayStatus.BOOTING,
        GatewayStatus.DRAINING,
        GatewayStatus.MAINTENANCE,
        GatewayStatus.DELETING,
        GatewayStatus.DELETED,
    }
)
_REPLACED = "The app works, without redundancy for now. One with a new address takes its place; we tell you which."
_GOES_ON = "The app works, without redundancy for now. We are bringing it back; there is nothing for you to do."


def condition_of(sides: Sequence[Side], words: Iterable[Word], *, on_outage: str, before: str = "") -> Condition:
    """Judge an active pair by its gateways and by the nodes that carry the app.

    Nodes are believed first: they send the packets. `before` is the state that was noted last: what is worked on after
    it failed is repaired, not maintained.
    """
    heard = list(words)
    fresh = [word.gateways for word in heard if word.fresh]
    ids = [side.id for side in sides]
    out = sum(_is_out(gateways, ids) for gateways in fresh)
    if out and out == len(fresh):
        return _outage("NodesReachNoGateway", on_outage, sides, out)
    bad = [side for side in sides if _failed(side, fresh)]
    away = [side for side in sides if side in bad or side.status in _WORKED_ON]
    if len(away) == len(sides):
        return _unheard() if heard and not fresh else _outage("GatewaysDown", on_outage, sides, out)
    if out:
        return _cut_off(out, len(fresh), away)
    if bad or (away and before in {State.DEGRADED, State.OUTAGE}):
        return _degraded(bad or away, sides)
    return _maintenance(away, sides) if away else WELL


def facts_of(condition: Condition, uncovered_nodes: Sequence[str]) -> tuple[Fact, ...]:
    """Return a condition as the API's list: is there a way out, is there a second one, is it so on every node."""
    state, cut = condition.state, bool(condition.nodes_out)
    known: Literal["True", "Unknown"] = "Unknown" if state == State.UNKNOWN else "True"
    available = "False" if state == State.OUTAGE or cut else known
    redundant = known if state in {State.WHOLE, State.UNKNOWN} else "False"
    facts = (
        _fact("Available", available, condition, "GatewayUp", "New connections leave from the app's own addresses."),
        _fact("Redundant", redundant, condition, WELL.reason, WELL.message),
    )
    if not uncovered_nodes:
        return facts
    message = "The app's containers on these nodes use shared addresses: " + ", ".join(uncovered_nodes)
    return (*facts, Fact(type="Covered", status="False", reason="NetworkUnsupported", message=message))


def _fact(
    kind: Literal["Available", "Redundant"],
    status: Literal["True", "False", "Unknown"],
    condition: Condition,
    reason: str,
    message: str,
) -> Fact:
    if status == "True":
        return Fact(type=kind, status=status, reason=reason, message=message)
    return Fact(type=kind, status=status, reason=condition.reason, message=condition.message)


def _is_out(gateways: Mapping[str, str], ids: Sequence[str]) -> bool:
    return bool(ids) and all(gateways.get(each) == Health.UNHEALTHY for each in ids)


def _failed(side: Side, fresh: Sequence[Mapping[str, str]]) -> bool:
    """Say whether a gateway can't be used: one that any of the app's nodes reaches, can.

    Of one that is laid anew nodes have nothing good to say: only what it fell ill with before counts.
    """
    if side.status not in {GatewayStatus.READY, GatewayStatus.DRAINING}:
        ill = side.status == GatewayStatus.MAINTENANCE and side.health == Health.UNHEALTHY
        return side.status == GatewayStatus.ERROR or ill
    said = {gateways.get(side.id, Health.UNKNOWN) for gateways in fresh}
    if Health.HEALTHY in said:
        return False
    return said == {Health.UNHEALTHY} or side.health == Health.UNHEALTHY


def _outage(reason: str, on_outage: str, sides: Sequence[Side], out: int) -> Condition:
    if on_outage == OnOutage.SHARED:
        follows = "New connections leave from shared addresses, as you chose: your firewall sees other addresses."
    else:
        follows = "New connections are blocked, not sent from shared addresses."
    message = f"Neither gateway can be used. {follows} We are working on it.{lost_words(sides)}"
    names = tuple(side.gateway for side in sides)
    return Condition(state=State.OUTAGE, reason=reason, message=message, gateways=names, nodes_out=out)


def _unheard() -> Condition:
    message = "We hear neither from the app's nodes nor from its gateways. These go on without us; we are looking."
    return Condition(state=State.UNKNOWN, reason="NothingHeard", message=message)


def _cut_off(out: int, carrying: int, away: Sequence[Side]) -> Condition:
    where = "1 reaches" if out == 1 else f"{out} reach"
    message = f"Of {carrying} nodes with containers of the app {where} neither gateway. We are working on it."
    names = tuple(side.gateway for side in away)
    return Condition(state=State.DEGRADED, reason="SomeNodesCutOff", message=message, gateways=names, nodes_out=out)


def _degraded(bad: Sequence[Side], sides: Sequence[Side]) -> Condition:
    names = " and ".join(f"Gateway {side.gateway}" for side in bad)
    reason, why = _why(bad[0])
    follows = _REPLACED if any(side.lost or side.replaced for side in bad) else _GOES_ON
    message = f"{names} {why}. {_others(bad, sides)} {follows}{lost_words(sides)}"
    return Condition(state=State.DEGRADED, reason=reason, message=message, gateways=tuple(side.gateway for side in bad))


def _why(side: Side) -> tuple[str, str]:
    if side.lost:
        return "GatewayLost", "lost its server"
    if side.status == GatewayStatus.ERROR:
        return "GatewayFailed", "failed"
    if side.status in _WORKED_ON:
        return "GatewayInRepair", "is down and being repaired"
    return "GatewayDown", "is down"


def _maintenance(away: Sequence[Side], sides: Sequence[Side]) -> Condition:
    names = " and ".join(f"Gateway {side.gateway}" for side in away)
    message = f"{names} is being updated, as planned. {_others(away, sides)} There is nothing for you to do."
    return Condition(
        state=State.MAINTENANCE,
        reason="Maintenance",
        message=message,
        gateways=tuple(side.gateway for side in away),
    )


def _others(away: Sequence[Side], sides: Sequence[Side]) -> str:
    left = [side.address for side in sides if side not in away and side.address]
    return f"New connections leave from {' and '.join(left)}." if left else "New connections use the other one."


def lost_words(sides: Sequence[Side]) -> str:
    """Say which addresses are the app's no more: whoever gets them next is let in by firewalls that keep them."""
    gone = " and ".join(side.address for side in sides if side.lost and side.address)
    return f" {gone} is lost with its server and may become a stranger's: take it out of firewalls." if gone else ""
