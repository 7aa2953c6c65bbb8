"""Play a history day by day: what happens in a day, then what workers make of it. Goes on where it was interrupted.

A day's rows are one transaction with the note that they are written. What workers do after it may be done again:
closing hours and months and collecting are re-entrant.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from billing.collecting import invoicing
from billing.collecting.door import is_set_up
from billing.metering import close as hours
from billing.metering.evidence import hour_of
from billing.models import Invoice, Meter, MonthClose, Replay
from billing.rating import months
from billing.statements import close as statements
from egress.control import clock, installation
from portal.accounts.models import User

from . import stage
from .errors import ReplayDisturbed, ReplayRefused
from .play import play
from .plot import DAYS_BEGIN, days_of, month_after, plot_of
from .scenes import Plot, Scene

_DAY: Final = timedelta(days=1)
#: Rounds of collecting after a month's close; what is left then is the workers'.
MOST_ROUNDS: Final = 1_000
_BROKER: Final = "CELERY_BROKER_URL"


def replay(
    *,
    seed: int,
    count: int,
    apps: int,
    first: date | None = None,
    owner: User | None = None,
    say: Callable[[datetime], None] = lambda _: None,
) -> Replay:
    """Play `count` months of so many apps, the last ones that are over or those from `first` on.

    `owner`: who enables, and owns the teams; a user without a password is made else. `say` is told of each day that is
    done. Raises ReplayRefused where that mustn't be, ReplayDisturbed if another meters in the same database.
    """
    stage.require_a_lab()
    if reason := installation.why_still():
        raise ReplayRefused(reason)
    first = (first or stage.first_month(count)).replace(day=1)
    stage.check(first=first, count=count, apps=apps)
    plot = plot_of(seed=seed, first=first, count=count, apps=apps)
    row = stage.set_up(plot, seed=seed, first=first, count=count, owner=owner)
    if row.finished_at is None:
        with _among_itself():
            _play_all(row, plot, say)
            with clock.playing(row.played_until):
                stage.take_down(row)
        row.finished_at = clock.unmoved()
        row.save(update_fields=["finished_at"])
    return row


def _play_all(row: Replay, plot: Plot, say: Callable[[datetime], None]) -> None:
    scenes = iter(plot.scenes)
    ahead = next(scenes, None)
    for day in _days(plot):
        todays: list[Scene] = []
        while ahead is not None and ahead.at <= day:
            todays.append(ahead)
            ahead = next(scenes, None)
        if day < row.played_until:
            continue
        if day > row.played_until:
            _write(row, todays, day)
        with clock.playing(day):
            _work(row, day)
        say(day)


def _days(plot: Plot) -> Iterator[datetime]:
    """Yield the days, and some more until the last month can be closed."""
    yield from days_of(plot.begin, plot.end)
    held = timedelta(hours=settings.BILLING_HOLD_HOURS)
    day = plot.end + DAYS_BEGIN
    while day < plot.end + held:
        day += _DAY
        yield day


def _write(row: Replay, scenes: list[Scene], until: datetime) -> None:
    """Write what happens up to `until`, once."""
    with transaction.atomic():
        mine = Replay.objects.filter(pk=row.pk, played_until=row.played_until)
        if not mine.update(played_until=until):
            raise ReplayDisturbed("Another process plays the same history.")
        for scene in scenes:
            play(row, scene)
    row.played_until = until


def _work(row: Replay, day: datetime) -> None:
    """Do what workers do, at the time that the clock shows."""
    hours.close_hours()
    closed = Meter.objects.values_list("closed_until", flat=True).first()
    if closed is None or not hour_of(day - hours.SETTLE) <= closed <= day:
        raise ReplayDisturbed(f"Hours up to {closed} are closed on {day}: workers meter here, too.")
    for month in _due(row, day):
        statements.close_month(month)
        if not MonthClose.objects.filter(month=month, closed_at__isnull=False).exists():
            raise ReplayDisturbed(f"{month:%Y-%m} could not be closed: see the admin's list of statement problems.")
        _collect()


def _due(row: Replay, day: datetime) -> Iterator[date]:
    closed = set(MonthClose.objects.exclude(closed_at=None).values_list("month", flat=True))
    held = timedelta(hours=settings.BILLING_HOLD_HOURS)
    for number in range(row.months):
        month = month_after(row.first_month, number)
        if month not in closed and months.end_of(month) + held <= day:
            yield month


def _collect() -> None:
    """Bring the statements to Stripe, as far as it is there; what is left, workers go on with."""
    for _ in range(MOST_ROUNDS if is_set_up() else 0):
        invoicing.sweep()
        due = Invoice.objects.filter(due_at__lte=clock.unmoved())
        if not due.exists():
            break


@contextmanager
def _among_itself() -> Iterator[None]:
    """Ask no policy, for who may enable now says nothing of then; and wake no worker: messages stay in this process."""
    asked, settings.EGRESS_ADMISSION = settings.EGRESS_ADMISSION, []
    # Celery takes it from there first.
    broker, os.environ[_BROKER] = os.environ.get(_BROKER), "memory://localhost"
    try:
        yield
    finally:
        settings.EGRESS_ADMISSION = asked
        del os.environ[_BROKER]
        if broker is not None:
            os.environ[_BROKER] = broker
