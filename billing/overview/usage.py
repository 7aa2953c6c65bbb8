"""One app's month, to the hour and the event: what a line of a statement rests on."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import CharField, QuerySet, Sum
from django.db.models.functions import Cast, Left

from billing.models import Statement, StatementLine, UsageRecord
from billing.rating.prices import currency_of
from billing.statements.draft import drafts
from billing.statements.month import IN_USE
from egress.control.models import App, Event

#: Of a date in ISO 8601.
_DATE_CHARACTERS = 10
#: Of a day, corrections among them, and of an app's month.
RECORDS_SHOWN, EVENTS_SHOWN = 500, 200
#: Events that begin or end billable time, or explain an outage.
SUBJECTS = ("egress.enable", "egress.disable", "assignment.status", "assignment.standing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of an app; seconds are of one gateway, the other's are the same."""

    day: date
    seconds: int
    outage_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """An hour's close, or one correction of it: the rows of gateway A and gateway B."""

    rows: tuple[UsageRecord, ...]

    @property
    def first(self) -> UsageRecord:
        """What is the same of both."""
        return self.rows[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """An app's lines of a month: of its statement, or of what one would say now."""

    lines: tuple[Any, ...]
    currency: str
    statement: Statement | None = None

    @property
    def cents(self) -> int:
        """What they come to, before what is taken off the team's month as a whole."""
        return sum(line.cents for line in self.lines)

    @property
    def parts(self) -> tuple[dict[str, Any], ...]:
        """The first gateway's periods, each with its price; the second one's are the same."""
        found = (part for line in self._usage() for part in line.detail.get("parts", ()))
        return tuple({**part, "begin": _time(part["begin"]), "end": _time(part["end"])} for part in found)

    @property
    def outage_seconds(self) -> int:
        """Time with both gateways down."""
        return sum(line.detail.get("outage_seconds", 0) for line in self._usage())

    def _usage(self) -> list[Any]:
        return [line for line in self.lines if line.kind == StatementLine.Kind.USAGE and line.slot == 0]


def days_of(app: App, begin: datetime, end: datetime) -> list[Day]:
    """Return the days of a month on which hours were counted, in order; of one slot, since both bill alike."""
    # Cut from the text: SQLite would ask Python for each row's day.
    day = Left(Cast("hour", CharField()), _DATE_CHARACTERS)
    rows = _records(app, begin, end).filter(slot=0).annotate(day=day).order_by("day").values_list("day")
    sums = rows.annotate(Sum("seconds"), Sum("outage_seconds"))
    return [Day(day=date.fromisoformat(text), seconds=used, outage_seconds=out) for text, used, out in sums]


def hours_of(app: App, day: date) -> list[Hour]:
    """Return the ledger's rows of one day as they were written, both gateways side by side."""
    begin = datetime.combine(day, time(), UTC)
    rows = _records(app, begin, begin + timedelta(days=1)).order_by("hour", "sequence", "assignment", "slot")
    found: dict[tuple[Any, ...], list[UsageRecord]] = {}
    for row in rows[:RECORDS_SHOWN]:
        found.setdefault((row.hour, row.sequence, row.assignment_id), []).append(row)
    return [Hour(rows=tuple(rows)) for rows in found.values()]


def events_of(app: App, begin: datetime, end: datetime) -> list[Event]:
    """Return the events of a month by which is billed, oldest first."""
    rows = _events(app).filter(at__gte=begin, at__lt=end).select_related("actor", "gateway")
    return list(rows.order_by("at", "pk")[:EVENTS_SHOWN])


def billed_at(app: App, begin: datetime) -> bool:
    """Say whether the app was billed when `begin` came, by the last event before it."""
    last = _events(app).filter(at__lt=begin).exclude(subject="assignment.standing").order_by("-at", "-pk").first()
    return last is not None and last.new in IN_USE


def turns(events: Iterable[Event], *, billed: bool) -> dict[int, str]:
    """Return which events began ("begin") and ended ("end") billable time, by their number. Pure."""
    found = {}
    for event in events:
        begins = event.subject == "assignment.status" and event.new in IN_USE
        ends = event.subject == "egress.disable" or (event.subject == "assignment.status" and not begins)
        if (begins and not billed) or (ends and billed):
            billed = begins
            found[event.pk] = "begin" if begins else "end"
    return found


def bill_of(app: App, month: date) -> Bill:
    """Return what an app's month came to: by its statement, or as it stands while there is none. Raises RatingError."""
    rows = StatementLine.objects.filter(app=app, statement__month=month).select_related("statement")
    stated = list(rows.order_by("position"))
    if stated:
        return Bill(lines=tuple(stated), currency=stated[0].statement.currency, statement=stated[0].statement)
    draft = next((each for each in drafts(app.team, month) if each.lines), None)
    if draft is None:
        return Bill(lines=(), currency=currency_of(app.team))
    return Bill(lines=tuple(line for line in draft.lines if line.app_id == app.pk), currency=draft.currency)


def _records(app: App, begin: datetime, end: datetime) -> QuerySet[UsageRecord]:
    return UsageRecord.objects.filter(assignment__app=app, hour__gte=begin, hour__lt=end)


def _events(app: App) -> QuerySet[Event]:
    return Event.objects.filter(app=app, subject__in=SUBJECTS)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
