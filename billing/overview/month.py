"""A team's present month: what it came to so far, by app and by day, and where it leads."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from django.db.models import CharField, Max, Sum
from django.db.models.functions import Cast, Left

from billing.models import StatementLine, UsageRecord
from billing.rating import months
from billing.rating.money import to_cents
from billing.statements import month as statements
from egress.control.models import Assignment, AssignmentStatus, Wish
from portal.accounts.models import Team

from .days import chargeable_by_day, shared_out

Kind = StatementLine.Kind
HOUR = timedelta(hours=1)
HOUR_SECONDS = 3600
#: How an app stands; charged is what both gateways are ready for.
IN_USE, TO_COME, OFF = "in use", "not in use yet, so not charged", "off"
#: Of a date in ISO 8601.
_DATE_CHARACTERS = 10
#: Days of an assignment, by their number in the month from 0: its billable seconds, of one slot.
type_of_days = dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppCost:
    """What one app came to this month; times are of one gateway, amounts of both."""

    app_id: UUID
    name: str
    seconds: int
    outage_seconds: int
    cents: int
    #: What its hours may come to in this month at most.
    cap_cents: int
    capped: bool
    #: "in use", "not in use yet, so not charged" or "off".
    state: str

    @property
    def in_use(self) -> bool:
        """Whether it is charged now, up to its cap."""
        return self.state == IN_USE


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCost:
    """What one day's gateway hours came to, before discounts and credits."""

    day: date
    seconds: int
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What isn't of single days: traffic, discounts, credits, corrections, each kind in one sum."""

    label: str
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthSoFar:
    """The month. `days` and `rest` add up to `cents`; the lines of `apps` and the team's own do, too."""

    team: Team
    month: date
    currency: str
    #: Up to when hours are closed and counted; None before the first.
    counted_until: datetime | None
    cents: int
    forecast_cents: int
    #: What the hours of all apps may come to at most: their caps, and what those came to that are off again.
    cap_cents: int
    apps: tuple[AppCost, ...]
    days: tuple[DayCost, ...]
    rest: tuple[Rest, ...]

    @property
    def running(self) -> int:
        """How many apps are in use."""
        return sum(app.in_use for app in self.apps)


def month_so_far(team: Team, now: datetime, currency: str = "") -> MonthSoFar:
    """Put a team's month together, as of `now`. A handful of queries, whatever the number of apps.

    `currency` is the team's, for who knows it already. Raises RatingError.
    """
    outlook = statements.outlook(team, now, currency)
    draft = outlook.draft
    begin, end = months.begin_of(draft.month), months.end_of(draft.month)
    by_day, counted = _days_of(team, begin, end)
    usage = [line for line in draft.lines if line.kind == Kind.USAGE]
    apps = _apps(outlook.assignments.values(), usage)
    return MonthSoFar(
        team=team,
        month=draft.month,
        currency=draft.currency,
        counted_until=counted,
        cents=draft.total_cents,
        forecast_cents=outlook.forecast_cents,
        cap_cents=sum(app.cap_cents for app in apps),
        apps=apps,
        days=_costs(usage, by_day, draft.month, (end - begin).days),
        rest=_rest(draft.lines),
    )


def _days_of(team: Team, begin: datetime, end: datetime) -> tuple[Mapping[UUID, type_of_days], datetime | None]:
    """Return each assignment's days, and until when hours were counted."""
    # Of one slot: both always bill alike. Cut from the text, since SQLite would ask Python for each row's day.
    day = Left(Cast("hour", CharField()), _DATE_CHARACTERS)
    records = UsageRecord.objects.filter(assignment__app__team=team, hour__gte=begin, hour__lt=end, slot=0)
    rows = records.order_by().values_list("assignment_id", day).annotate(Sum("seconds"), Max("hour"))
    found: dict[UUID, type_of_days] = defaultdict(dict)
    last: datetime | None = None
    for assignment, text, seconds, hour in rows:
        found[assignment][date.fromisoformat(text).day - 1] = seconds
        last = max(last or hour, hour)
    return found, last + HOUR if last else None


def _apps(assignments: Collection[Assignment], usage: Sequence[StatementLine]) -> tuple[AppCost, ...]:
    """Return the apps, those that came to most first."""
    now = {row.pk: row for row in assignments if row.wish == Wish.ENABLED and row.status != AssignmentStatus.RELEASED}
    lines: dict[UUID | None, list[StatementLine]] = defaultdict(list)
    for line in usage:
        lines[line.app_id].append(line)
    names = {row.app_id: row.app.name for row in assignments if row.pk in now or row.app_id in lines}
    states = {row.app_id: IN_USE if row.status in statements.IN_USE else TO_COME for row in now.values()}
    apps = (_app(app, names[app], lines[app], now, states.get(app, OFF)) for app in names)
    return tuple(sorted(apps, key=lambda app: (-app.cents, app.name)))


def _app(app: UUID, name: str, lines: Sequence[Any], now: Collection[UUID], state: str) -> AppCost:
    first = [line for line in lines if line.slot == 0]
    still = [line for line in lines if line.assignment_id in now]
    return AppCost(
        app_id=app,
        name=name,
        seconds=sum(line.quantity for line in first),
        outage_seconds=sum(line.detail.get("outage_seconds", 0) for line in first),
        cents=sum(line.cents for line in lines),
        cap_cents=sum(cap_cents(line) if line.assignment_id in now else line.cents for line in lines),
        capped=bool(still) and all(is_capped(line) for line in still),
        state=state,
    )


def is_capped(line: Any) -> bool:
    """Say whether a line of usage is at its cap: further hours of this month cost nothing."""
    parts = line.detail.get("parts", [])
    under = sum(part["charged_seconds"] + part["free_seconds"] for part in parts)
    return bool(parts) and under >= parts[-1]["cap_seconds"]


def cap_cents(line: Any) -> int:
    """Return what a line of usage may come to at most, by the price in force last."""
    parts = line.detail.get("parts", [])
    if not parts:
        return int(line.cents)
    seconds = max(0, parts[-1]["cap_seconds"] - sum(part["charged_seconds"] + part["free_seconds"] for part in parts))
    more = Fraction(parts[-1]["per_slot_hour"]) * seconds / HOUR_SECONDS
    return to_cents(Fraction(line.exact) + more)


def _costs(usage: Iterable[Any], by_day: Mapping[UUID, type_of_days], month: date, length: int) -> tuple[DayCost, ...]:
    """Spread what lines of usage came to over the days that it was charged for: to the cent."""
    cents, seconds = [0] * length, [0] * length
    for line in usage:
        used = [by_day.get(line.assignment_id, {}).get(number, 0) for number in range(length)]
        parts = line.detail.get("parts", [])
        free = sum(part["free_seconds"] for part in parts)
        charged = sum(part["charged_seconds"] for part in parts)
        for number, share in enumerate(shared_out(line.cents, chargeable_by_day(used, free, charged) or used)):
            cents[number] += share
            seconds[number] += used[number] if line.slot == 0 else 0
    days = (month + timedelta(days=number) for number in range(length))
    return tuple(DayCost(day=day, seconds=seconds[n], cents=cents[n]) for n, day in enumerate(days))


def _rest(lines: Iterable[Any]) -> tuple[Rest, ...]:
    sums: dict[str, int] = defaultdict(int)
    for line in lines:
        if line.kind != Kind.USAGE:
            sums[line.kind] += line.cents
    return tuple(Rest(label=Kind(kind).label, cents=cents) for kind, cents in sums.items())
