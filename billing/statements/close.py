"""Close months: one statement for each team and currency, made once, at earliest a day after the month's end.

Each team's statement is one transaction under the team's lock, so that a worker that dies, or a second one, changes
nothing: what is there already is passed over. A team whose statement can't be made leaves a `StatementProblem` and is
tried again at every look; the others don't wait for it.
"""

import logging
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef, QuerySet

from billing.models import Credit, MonthClose, Statement, StatementLine, StatementProblem, UsageRecord
from billing.rating import months
from billing.rating.errors import EarlierMonthOpen, MonthOpen
from billing.rating.services import price_of_settings_keep, prices_locked
from egress.control import clock, installation
from egress.control.errors import EgressError
from egress.control.models import SLOTS, Assignment
from portal.accounts.models import Team

from . import metered
from .draft import Draft, drafts
from .usage import mark

log = logging.getLogger(__name__)

#: A run goes on with no further team after this long: less than a task's time limit; the next run does.
BUDGET_SECONDS = 20.0
#: A month's lines are written so many at once.
LINES_AT_ONCE = 500


def close_months() -> int:
    """Close all months that are over and held long enough, the oldest first; returns how many statements were made.

    None while the installation stands still.
    """
    if installation.why_still():
        return 0
    ends_at = monotonic() + BUDGET_SECONDS
    made = 0
    for month in due_months():
        if monotonic() > ends_at:
            break
        try:
            made += close_month(month, ends_at)
        except MonthOpen as error:
            # Metering goes on, and the next look with it.
            log.warning("%s", error)
            break
    return made


def close_month(month: date, ends_at: float | None = None) -> int:
    """Make the statements of `month` that aren't made yet; returns how many. May run twice, or at once.

    `ends_at`: when, by the monotonic clock, no further team is begun. Raises MonthOpen before the month's hold is over
    or its last hour is metered, EarlierMonthOpen if one before it wasn't closed.
    """
    month = month.replace(day=1)
    _require_due(month)
    left = float("inf") if ends_at is None else ends_at - monotonic()
    if not metered.close_hours(months.end_of(month), left):
        raise MonthOpen(f"Not all hours of {month:%Y-%m} are metered yet; its statements are made once they are.")
    close = _begin(month)
    corrected = _corrected(close)
    made = 0
    for team_id in _teams(month, corrected):
        if ends_at is not None and monotonic() > ends_at:
            return made
        made += _try_team(team_id, month, corrected.get(team_id, ()))
    _finish(close)
    return made


def due_months() -> Iterator[date]:
    """Yield the months that can be closed and aren't, from the first in the ledger on."""
    first = UsageRecord.objects.order_by("hour").values_list("hour", flat=True).first()
    if first is None:
        return
    closed = set(MonthClose.objects.exclude(closed_at=None).values_list("month", flat=True))
    month = months.month_of(first)
    while open_until(month) <= clock.now():
        if month not in closed:
            yield month
        month = months.following(month)


def open_until(month: date) -> datetime:
    """Return from when on a month can be closed: what happened in it may become known late."""
    return months.end_of(month) + timedelta(hours=settings.BILLING_HOLD_HOURS)


def _require_due(month: date) -> None:
    if clock.now() < open_until(month):
        raise MonthOpen(
            f"Statements of {month:%Y-%m} can be made from {open_until(month):%Y-%m-%d %H:%M} UTC on: what happened in"
            " it may become known late."
        )
    looked_at = set(MonthClose.objects.exclude(looked_at=None).values_list("month", flat=True))
    if earlier := next((each for each in due_months() if each < month and each not in looked_at), None):
        raise EarlierMonthOpen(f"{earlier:%Y-%m} has no statements yet: close it before {month:%Y-%m}.")


def _begin(month: date) -> MonthClose:
    with prices_locked():
        # What was shown so far is kept, whatever the settings say later.
        price_of_settings_keep()
        usage, traffic = mark()
        marks = {"ledger_mark": usage, "traffic_mark": traffic}
        return MonthClose.objects.get_or_create(month=month, defaults={"began_at": clock.now(), **marks})[0]


def _finish(close: MonthClose) -> None:
    """Note that all teams were looked at; the month is closed when none has a problem left."""
    now = clock.now()
    rows = MonthClose.objects.filter(pk=close.pk)
    rows.filter(looked_at=None).update(looked_at=now)
    if not StatementProblem.objects.filter(month=close.month, resolved_at=None).exists():
        rows.filter(closed_at=None).update(closed_at=now)


def _corrected(close: MonthClose) -> dict[UUID, list[date]]:
    """Return of which teams something was recorded about earlier months since the last one was closed, and of which."""
    before = MonthClose.objects.filter(month__lt=close.month).order_by("month").last()
    found: dict[UUID, set[date]] = {}
    if before is None:
        return {}
    late: list[QuerySet[Any]] = [UsageRecord.objects.filter(pk__gt=before.ledger_mark)]
    late.append(metered.traffic_rows().filter(pk__gt=before.traffic_mark))
    for rows in late:
        old = rows.filter(hour__lt=months.begin_of(close.month)).order_by()
        for team_id, hour in old.values_list("assignment__app__team", "hour").distinct().iterator():
            found.setdefault(team_id, set()).add(months.month_of(hour))
    return {team_id: sorted(each) for team_id, each in found.items()}


def _teams(month: date, corrected: Iterable[UUID]) -> list[UUID]:
    """Return the teams that want a statement of `month` and have none."""
    hours = {"hour__gte": months.begin_of(month), "hour__lt": months.end_of(month)}
    ledgers: list[QuerySet[Any]] = [UsageRecord.objects.order_by(), metered.traffic_rows()]
    wanting = set(corrected)
    for rows in ledgers:
        used = Exists(rows.filter(assignment=OuterRef("pk"), slot__in=SLOTS, **hours))
        wanting |= set(Assignment.objects.filter(used).values_list("app__team", flat=True).order_by().distinct())
    wanting -= set(Statement.objects.filter(month=month).values_list("team", flat=True))
    return sorted(wanting)


def _try_team(team_id: UUID, month: date, corrected: Iterable[date]) -> int:
    try:
        return _close_team(team_id, month, corrected)
    except (DatabaseError, SoftTimeLimitExceeded):
        raise
    except Exception as error:  # whatever it is, other teams get their statements, and operators see it
        log.exception("no statement of %s for team %s", f"{month:%Y-%m}", team_id)
        _note_problem(team_id, month, error)
        return 0


def _close_team(team_id: UUID, month: date, corrected: Iterable[date]) -> int:
    with transaction.atomic():
        team = Team.objects.select_for_update(no_key=True).get(pk=team_id)
        if Statement.objects.filter(team=team, month__gte=month).exists():
            return 0
        earlier = StatementProblem.objects.filter(team=team, month__lt=month, resolved_at=None).first()
        if earlier is not None:
            raise EarlierMonthOpen(f"{earlier.month:%Y-%m} has no statement yet: {earlier.message}")
        found = drafts(team, month, corrected)
        for draft in found:
            _save(draft)
        StatementProblem.objects.filter(team=team, month=month, resolved_at=None).update(resolved_at=clock.now())
    return len(found)


def _save(draft: Draft) -> None:
    statement = Statement.objects.create(
        team=draft.team,
        month=draft.month,
        currency=draft.currency,
        total_cents=draft.total_cents,
        ledger_up_to=draft.mark.usage,
        traffic_up_to=draft.mark.traffic,
    )
    for line in draft.lines:
        line.statement = statement
        if line.kind == StatementLine.Kind.CREDIT and line.cents > 0:
            line.credit = Credit.objects.create(
                team=draft.team, currency=draft.currency, cents=line.cents, reason=f"given back for {draft.month:%Y-%m}"
            )
    StatementLine.objects.bulk_create(draft.lines, batch_size=LINES_AT_ONCE)


def _note_problem(team_id: UUID, month: date, error: Exception) -> None:
    code = error.code if isinstance(error, EgressError) else "bug"
    message = str(error) if isinstance(error, EgressError) else f"{type(error).__name__}: {error}"
    now = clock.now()
    StatementProblem.objects.update_or_create(
        team_id=team_id,
        month=month,
        defaults={"code": code, "message": message[:2000], "last_at": now, "resolved_at": None},
        create_defaults={"code": code, "message": message[:2000], "last_at": now, "noticed_at": now},
    )
