"""What exports are made from: each team's lines of a month, from its statement, or from an estimate until there is one.

Lines are read some at a time by their position, and their ledger rows with them: nothing here is held for a month, and
no cursor or transaction stays open while a slow reader takes its time. Statements, and the ledger's rows that they
count, never change, so that many short reads see what a single long one would.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db.models import TextField
from django.db.models.functions import Cast

from billing.models import Statement, StatementLine, UsageRecord
from egress.control.models import App, Cluster
from portal.accounts.models import Team

from .selection import first_moment, next_month

#: Lines that are read at once: each has some 700 ledger rows.
BATCH = 32
#: When the hours of a slot begin, and its billable seconds in them.
type_of_hours = list[tuple[datetime, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A team's month in one currency. Without a statement it is an estimate: it has no id, and may still change."""

    team: Team
    currency: str
    begin: datetime
    end: datetime
    statement: UUID | None = None
    #: The ledger's rows up to this id are in it; None: all that there are.
    ledger_up_to: int | None = None
    #: An estimate's lines.
    lines: tuple[Any, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One line of a bill with what it is about; `hours` are those of its slot, for usage only."""

    bill: Bill
    #: The statement line's id; None of an estimate.
    line: UUID | None
    kind: StatementLine.Kind
    description: str
    quantity: int
    unit: str
    begin: datetime
    end: datetime
    cents: int
    exact: Decimal
    app: App | None
    assignment: UUID | None
    slot: int | None
    hours: type_of_hours = field(default_factory=list, repr=False)

    @property
    def cluster(self) -> Cluster | None:
        """Return the cluster that it belongs to, if any."""
        return self.app.cluster if self.app else None


def bill_of(statement: Statement) -> Bill:
    """Return a finished month's bill."""
    return Bill(
        team=statement.team,
        currency=statement.currency,
        begin=first_moment(statement.month),
        end=first_moment(next_month(statement.month)),
        statement=statement.pk,
        ledger_up_to=statement.ledger_up_to,
    )


def charges_of(bill: Bill) -> Iterator[list[Charge]]:
    """Yield the bill's charges in its lines' order, some at a time, with their hours."""
    for lines in _batches(bill):
        apps = App.objects.select_related("cluster").in_bulk({line.app_id for line in lines if line.app_id})
        hours = _hours(bill, {line.assignment_id for line in lines if line.kind == StatementLine.Kind.USAGE})
        yield [_charge(bill, line, apps, hours) for line in lines]


def _batches(bill: Bill) -> Iterator[list[Any]]:
    if bill.statement is None:
        for start in range(0, len(bill.lines), BATCH):
            yield list(bill.lines[start : start + BATCH])
        return
    lines = StatementLine.objects.filter(statement=bill.statement).order_by("position")
    batch = list(lines[:BATCH])
    while batch:
        yield batch
        batch = list(lines.filter(position__gt=batch[-1].position)[:BATCH])


def _charge(bill: Bill, line: Any, apps: Mapping[UUID, App], hours: Mapping[tuple[UUID, int], type_of_hours]) -> Charge:
    kind = StatementLine.Kind(line.kind)
    slot_hours = hours.get((line.assignment_id, line.slot), []) if kind == StatementLine.Kind.USAGE else []
    return Charge(
        bill=bill,
        line=line.id if bill.statement else None,
        kind=kind,
        description=line.description,
        quantity=line.quantity,
        unit=line.unit,
        begin=line.begin,
        end=line.end,
        cents=line.cents,
        exact=line.exact,
        app=apps.get(line.app_id),
        assignment=line.assignment_id,
        slot=line.slot,
        hours=slot_hours,
    )


def _hours(bill: Bill, assignments: Iterable[UUID]) -> dict[tuple[UUID, int], type_of_hours]:
    """Return the billable seconds of each slot and hour, corrections added; hours without any are left out.

    This is what takes an export's time, millions of rows. So hours come as text, of which a month has 744 that are read
    once each, and corrections, which are rare, are added here and not by a GROUP BY over all.
    """
    records = UsageRecord.objects.filter(assignment__in=assignments, hour__gte=bill.begin, hour__lt=bill.end)
    if bill.ledger_up_to is not None:
        records = records.filter(pk__lte=bill.ledger_up_to)
    rows = records.order_by("assignment_id", "slot", "hour").values_list(
        "assignment_id", "slot", Cast("hour", TextField()), "seconds"
    )
    found: dict[tuple[UUID, int], type_of_hours] = {}
    for key, of_slot in groupby(rows, itemgetter(0, 1)):
        hours = [(hour, sum(seconds for *_, seconds in same)) for hour, same in groupby(of_slot, itemgetter(2))]
        found[key] = [(_moment(hour), seconds) for hour, seconds in hours if seconds > 0]
    return found


@lru_cache(1024)
def _moment(text: str) -> datetime:
    """Return an hour that the database wrote as text; both engines keep UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
