"""What a team's month costs so far, and by its end if nothing changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from billing.rating import months
from billing.rating.prices import currency_of
from egress.control.models import SLOTS, Assignment, AssignmentStatus, Wish
from portal.accounts.models import Team

from .draft import Draft, credits_in_hand, draft_of
from .reading import Reading, read
from .usage import UNMARKED, Used

#: What is billed while it is wished for.
IN_USE = frozenset({AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE})


def month_to_date(team: Team, now: datetime) -> Draft:
    """Return what the month of `now` costs as far as its hours are closed, with credits drawn. Eleven queries at most.

    What becomes known of earlier months isn't in it: the statement will say it.
    """
    currency = currency_of(team)
    return draft_of(team, read(team, months.month_of(now), currency), currency)


def forecast(team: Team, now: datetime) -> int:
    """Return the total of the month of `now`, in cents, if all that is in use now stays so, with traffic as before."""
    currency = currency_of(team)
    reading = read(team, months.month_of(now), currency)
    _go_on(reading, now)
    return draft_of(team, reading, currency).total_cents


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A month as it is now, where it leads, and the team's assignments by their ids: all from one reading."""

    draft: Draft
    forecast_cents: int
    assignments: Mapping[UUID, Assignment]


def outlook(team: Team, now: datetime, currency: str = "") -> Outlook:
    """Return what `month_to_date` and `forecast` say, in few more queries than one of them takes.

    `currency` is the team's, for who knows it already. The draft isn't marked: no statement is made of it.
    """
    currency = currency or currency_of(team)
    reading = read(team, months.month_of(now), currency)
    in_hand = credits_in_hand(team, currency, reading.month)
    draft = draft_of(team, reading, currency, at=UNMARKED, in_hand=in_hand)
    _go_on(reading, now)
    expected = draft_of(team, reading, currency, at=UNMARKED, in_hand=in_hand)
    return Outlook(draft=draft, forecast_cents=expected.total_cents, assignments=reading.assignments)


def _go_on(reading: Reading, now: datetime) -> None:
    """Add what is used from the last closed hour to the month's end."""
    count = len(reading.periods)
    for assignment in reading.assignments.values():
        if assignment.wish != Wish.ENABLED or assignment.status not in IN_USE:
            continue
        for slot in SLOTS:
            used = reading.used.setdefault((assignment.pk, slot), Used([0] * count, [0] * count, begin=now, end=now))
            _prolong(reading, used)


def _prolong(reading: Reading, used: Used) -> None:
    so_far, sent = sum(used.seconds), sum(used.traffic)
    since, end = used.end, reading.periods[-1].end
    for number, period in enumerate(reading.periods):
        rest = period.end - max(period.begin, since)
        used.seconds[number] += max(0, int(rest.total_seconds()))
    if so_far:
        used.traffic[-1] += sent * (sum(used.seconds) - so_far) // so_far
    used.end = end
