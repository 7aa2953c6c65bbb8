"""What a team's month costs so far, and by its end if nothing changes."""

from datetime import datetime

from billing.rating import months
from billing.rating.prices import currency_of
from egress.control.models import SLOTS, AssignmentStatus, Wish
from portal.accounts.models import Team

from .draft import Draft, draft_of
from .reading import Reading, read
from .usage import Used

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
