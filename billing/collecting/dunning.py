"""What to do about an account that owes: a pure function of dates and facts.

Reminders on set days; then, only where the installation chose so, a warning with a date, and egress is disabled on that
date or later: never before the grace days are over, and never before a warning was really sent and its days are over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the installation chose."""

    #: After the first failed payment; ascending.
    reminder_days: Sequence[int]
    #: Whether egress is disabled at all.
    disables: bool
    grace_days: int
    warning_days: int
    hold_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One account's time of owing."""

    now: datetime
    began_at: datetime
    #: The days of the reminders that were written.
    reminded: frozenset[int] = field(default_factory=frozenset)
    #: The date that was told in the warning; None before one was written.
    told_date: datetime | None = None
    #: When it was seen that it was sent to somebody.
    warned_at: datetime | None = None
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Remind:
    """Write the reminder of this day."""

    day: int


@dataclass(frozen=True, slots=True)
class Warn:
    """Write that egress is disabled on `on`."""

    on: datetime


@dataclass(frozen=True, slots=True)
class Disable:
    """Disable egress of all the team's apps, and hold their addresses until then."""

    held_until: datetime | None


@dataclass(frozen=True, slots=True)
class Nothing:
    """Wait."""


Act = Remind | Warn | Disable | Nothing


def next_act(facts: Facts, policy: Policy) -> Act:
    """Return what to do now."""
    if facts.disabled_at:
        return Nothing()
    if policy.disables and (act := _towards_disabling(facts, policy)):
        return act
    age = facts.now - facts.began_at
    past = [day for day in policy.reminder_days if timedelta(days=day) <= age]
    # After an absence one reminder is enough: the latest.
    if past and max(past) not in facts.reminded and (not facts.reminded or max(past) > max(facts.reminded)):
        return Remind(max(past))
    return Nothing()


def _towards_disabling(facts: Facts, policy: Policy) -> Act | None:
    grace_over = facts.began_at + timedelta(days=policy.grace_days)
    warning = timedelta(days=policy.warning_days)
    if facts.told_date is None:
        return Warn(max(grace_over, facts.now + warning)) if facts.now >= grace_over - warning else None
    if facts.warned_at is None:
        return None
    if facts.now < max(facts.told_date, facts.warned_at + warning, grace_over):
        return None
    return Disable(facts.now + timedelta(days=policy.hold_days) if policy.hold_days else None)
