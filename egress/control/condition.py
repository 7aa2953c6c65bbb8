"""Say whether a pair in use is whole, degraded or down, and why: pages, mails and operators read it here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .health import LOST
from .models import Assignment, AssignmentStatus, Gateway, GatewayStatus, Health
from .models_rollouts import Maintenance

_GONE = frozenset({GatewayStatus.DELETING, GatewayStatus.DELETED})


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCondition:
    """One gateway of a pair. `cause` is "" while it serves."""

    slot: int
    serves: bool
    #: "lost", "failed", "replacing", "maintenance", or a `models_health.Finding`: also of one that serves, for which
    #: it tells of trouble elsewhere ("network", "unheard", "targets").
    cause: str
    #: For operators, with numbers.
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCondition:
    """A pair: whole while both gateways serve, degraded while one does, down while none does."""

    state: Literal["whole", "degraded", "down"]
    members: tuple[MemberCondition, ...]

    @property
    def reason(self) -> str:
        """Say of each gateway that doesn't serve why, for operators; "" of a whole pair."""
        troubled = (member for member in self.members if not member.serves)
        return "; ".join(f"gateway {'AB'[member.slot]}: {member.why or member.cause}" for member in troubled)


def pair_condition(assignment: Assignment) -> PairCondition | None:
    """Return the condition of a pair in use; None of any other. Asks nothing where its gateways are prefetched."""
    if assignment.status != AssignmentStatus.ACTIVE:
        return None
    members = tuple(map(_member, in_place(assignment.gateways.all())))
    serving = sum(member.serves for member in members)
    state: Literal["whole", "degraded", "down"] = (
        "down" if not serving else "whole" if serving == len(members) > 1 else "degraded"
    )
    return PairCondition(state=state, members=members)


def in_place(gateways: Iterable[Gateway]) -> list[Gateway]:
    """Return those that have their slots, by slot: not those made to take one over, nor those that left it."""
    present = (one for one in gateways if one.replaces_id is None and one.provisioning_status not in _GONE)
    return sorted(present, key=lambda one: one.slot)


def _member(gateway: Gateway) -> MemberCondition:
    ready = gateway.provisioning_status == GatewayStatus.READY
    cause, why = (gateway.finding, gateway.finding_reason) if ready else _cause(gateway)
    if cause in {"well", "unknown"}:
        cause = ""
    return MemberCondition(slot=gateway.slot, serves=ready and gateway.health != Health.UNHEALTHY, cause=cause, why=why)


def _cause(gateway: Gateway) -> tuple[str, str]:
    """Return why a gateway is out of use, as a code and in words."""
    if gateway.provisioning_status == GatewayStatus.ERROR:
        if gateway.detail == LOST:
            return "lost", LOST
        return ("replacing" if gateway.maintenance else "failed"), gateway.finding_reason or gateway.detail
    kind = Maintenance(gateway.maintenance).label.lower() if gateway.maintenance else ""
    return "maintenance", f"{gateway.provisioning_status}{f', {kind}' if kind else ''}"
