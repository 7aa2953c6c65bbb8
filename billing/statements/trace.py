"""Follow a line of a statement back: app, slot, hours, the ledger's rows, and the events that these come from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Sum

from billing.models import StatementLine, UsageRecord
from billing.rating import months
from egress.control.models import Event

from . import metered

#: What begins and ends billable time.
METERED = ("assignment.status", "egress.enable", "egress.disable")
#: A slot's month has at most 744 hours and few corrections; an assignment is switched a few times.
ROWS_SHOWN = 2_000
EVENTS_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What a line hangs on. `rows` are of the ledger that its unit names; a line of an amount alone has none."""

    line: StatementLine
    begin: datetime
    end: datetime
    rows: Sequence[Any]
    events: Sequence[Event]
    #: What the ledger has of the slot's month as far as the statement goes, and what lines up to this one say of it.
    booked: int
    stated: int

    @property
    def adds_up(self) -> bool:
        """Say whether the ledger and the lines agree."""
        return self.booked == self.stated


def trace(line: StatementLine) -> Trace:
    """Return what `line` comes from: rows up to its statement's end of the ledger. Six queries."""
    statement = line.statement
    month = months.month_of(line.begin)
    begin, end = months.begin_of(month), months.end_of(month)
    column, ledger, up_to = _ledger(line)
    rows: list[Any] = []
    booked = 0
    if ledger is not None and line.assignment_id is not None:
        of_month = ledger.filter(assignment=line.assignment_id, slot=line.slot, hour__gte=begin, hour__lt=end)
        every = of_month.filter(pk__lte=up_to)
        booked = int(every.aggregate(sum=Sum(column, default=0))["sum"])
        since = _up_to_before(line) if line.kind == StatementLine.Kind.CORRECTION else 0
        rows = list(every.filter(pk__gt=since).order_by("hour", "sequence")[:ROWS_SHOWN])
    events: list[Event] = []
    if line.assignment_id is not None:
        told = Event.objects.filter(assignment=line.assignment_id, subject__in=METERED, at__lt=end)
        events = list(told.order_by("at", "id")[:EVENTS_SHOWN])
    alike = StatementLine.objects.filter(
        assignment=line.assignment_id, slot=line.slot, unit=line.unit, begin__gte=begin, begin__lt=end,
        statement__team=statement.team_id, statement__month__lte=statement.month,
    )  # fmt: skip
    return Trace(
        line=line,
        begin=begin,
        end=end,
        rows=rows,
        events=events,
        booked=booked,
        stated=int(alike.aggregate(sum=Sum("quantity", default=0))["sum"]) if line.unit else 0,
    )


def in_words(found: Trace) -> Iterator[str]:
    """Yield what a trace says, line by line."""
    line, statement = found.line, found.line.statement
    yield f"{line.description}"
    yield f"  {line.cents} cents {statement.currency} (exactly {line.exact}); {line.get_kind_display()}"
    yield f"  line {line.position} of statement {statement.pk}: {statement.team}, {statement.month:%Y-%m}"
    for part in line.detail.get("parts", ()):
        yield "  " + ", ".join(f"{name} {value}" for name, value in part.items())
    if line.assignment_id is None:
        yield "It is an amount alone: it hangs on the other lines of its statement."
        return
    yield f"App {line.app} ({line.app_id}), assignment {line.assignment_id}, gateway {'AB'[line.slot or 0]}"
    yield f"Ledger, {len(found.rows)} rows from {found.begin:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC:"
    yield from (f"  #{row.pk} {row.hour:%Y-%m-%d %H}h #{row.sequence}: {_amount(row)}" for row in found.rows)
    verdict = (
        "they add up" if found.adds_up else "THEY DON'T ADD UP: rows were recorded while it was made, or are missing"
    )
    yield f"The ledger has {found.booked}, the statements up to this one say {found.stated} {line.unit}s: {verdict}."
    yield "Events:"
    yield from (
        f"  #{event.pk} {event.at:%Y-%m-%d %H:%M:%S.%f} {event} {event.reason}".rstrip() for event in found.events
    )


def _amount(row: Any) -> str:
    if isinstance(row, UsageRecord):
        out = f", {row.outage_seconds} s of outage" if row.outage_seconds else ""
        return f"{row.seconds} s{out}" + (f" ({row.reason})" if row.reason else "")
    return f"{row.sent_bytes} bytes" + (f" ({row.reason})" if row.reason else "")


def _ledger(line: StatementLine) -> tuple[str, Any, int]:
    """Return the column, the rows and the end of the ledger that a line's unit names; without rows for an amount."""
    if line.unit == "second":
        return "seconds", UsageRecord.objects.order_by(), line.statement.ledger_up_to
    if line.unit == "byte":
        return "sent_bytes", metered.traffic_rows(), line.statement.traffic_up_to
    return "", None, 0


def _up_to_before(line: StatementLine) -> int:
    """Return how far the ledger went when the line's month was last stated; what a correction is about came later."""
    month = months.month_of(line.begin)
    before = StatementLine.objects.filter(
        statement__team=line.statement.team_id, statement__month__lt=line.statement.month, unit=line.unit,
        begin__gte=months.begin_of(month), begin__lt=months.end_of(month),
    )  # fmt: skip
    name = "traffic_up_to" if line.unit == "byte" else "ledger_up_to"
    last: int | None = before.order_by("-statement__month").values_list(f"statement__{name}", flat=True).first()
    return last or 0
