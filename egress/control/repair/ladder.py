"""Decide which gateway of a pair is repaired, and how: power cycle, rebuild, at last replace. Pure: facts in.

One member at a time. One that is certainly dead is repaired whatever its peer does, for that takes nothing away. One
that is only sick may still carry something: it waits longer, is drained first, and isn't touched unless its peer
serves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from egress.control.models import GatewayStatus
from egress.control.models_health import Finding
from egress.control.models_rollouts import Maintenance

#: From what costs least to what costs the address.
STEPS: Final = (Maintenance.POWER_CYCLE, Maintenance.REBUILD, Maintenance.REPLACE)
#: The pause after a step that didn't help grows to this at most.
LONGEST_PAUSE: Final = timedelta(hours=1)
#: Nobody hears one of these: of one that was given up, nothing is left to lose.
_UNHEARD: Final = frozenset({Finding.DEAD, Finding.SILENT, Finding.UNKNOWN})
_UNDER_WAY: Final = frozenset({GatewayStatus.DRAINING, GatewayStatus.MAINTENANCE, GatewayStatus.BOOTING})


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was begun: replacements count for the slot, the others for the gateway."""

    step: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One gateway that has its slot."""

    id: UUID
    slot: int
    status: GatewayStatus
    since: datetime
    finding: Finding = Finding.WELL
    finding_since: datetime | None = None
    #: Since when it is unhealthy; None while it isn't.
    unhealthy_since: datetime | None = None
    #: The provider doesn't know its server any more.
    lost: bool = False
    #: The provider says that its server is off.
    off: bool = False
    #: New connections may take it, and it works.
    serves: bool = False
    #: It is being replaced.
    replaced: bool = False
    #: Within the window, oldest first.
    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long to wait before, between and after steps, and how often to take each."""

    dead: timedelta
    sick: timedelta
    pause: timedelta
    most: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Repair:
    """What to begin; `step` is None where all steps were taken in vain, and a person must look."""

    member: Member
    step: Maintenance | None


def decide(pair: tuple[Member, ...], limits: Limits, now: datetime) -> Repair | None:
    """Return what to begin with a pair; None while nothing is wrong, something goes on, or it is too early."""
    if any(_under_way(member) for member in pair):
        return None
    waiting = [member for member in pair if _needs_repair(member, pair, limits, now)]
    if not waiting:
        return None
    first = min(waiting, key=lambda member: (not member.lost, len(member.taken), member.since))
    if _pauses(first, limits, now):
        return None
    return Repair(first, _next_step(first, limits))


def is_certain(member: Member, limits: Limits, now: datetime) -> bool:
    """Say whether it is certain that `member` carries nothing any more."""
    if member.lost:
        return True
    if member.status == GatewayStatus.ERROR:
        return member.finding in _UNHEARD
    silent = member.finding in {Finding.DEAD, Finding.SILENT}
    if member.off and silent:
        return True
    long = member.finding_since is not None and now - member.finding_since >= limits.dead
    return member.finding is Finding.DEAD and long


def _under_way(member: Member) -> bool:
    return member.status in _UNDER_WAY or member.replaced


def _needs_repair(member: Member, pair: tuple[Member, ...], limits: Limits, now: datetime) -> bool:
    if is_certain(member, limits, now):
        return True
    failed = member.status == GatewayStatus.ERROR
    sick = member.unhealthy_since is not None and now - member.unhealthy_since >= limits.sick
    return (failed or sick) and any(peer.serves for peer in pair if peer.id != member.id)


def _pauses(member: Member, limits: Limits, now: datetime) -> bool:
    """Say whether the last step is too recent; the pause counts from its end, when the status last changed."""
    if not member.taken:
        return False
    pause = min(limits.pause * (1 << min(len(member.taken) - 1, 20)), LONGEST_PAUSE)
    return now < max(member.since, member.taken[-1].at) + pause


def _next_step(member: Member, limits: Limits) -> Maintenance | None:
    steps = STEPS[-1:] if member.lost else STEPS
    counts = [taken.step for taken in member.taken]
    return next((step for step in steps if counts.count(step) < limits.most[step]), None)
