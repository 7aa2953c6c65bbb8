"""Tell the model what a plot is about, and hold what billing made of it against that."""

import csv
import io
import json
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db.models import Sum

from billing.exports.selection import Format, Grain, Selection
from billing.exports.stream import Tally, write
from billing.metering import check
from billing.models import Credit, Statement, StatementLine, TrafficRecord, UsageRecord
from billing.rating import months
from billing.replay.plot import month_after
from billing.replay.scenes import Kind, Plot, Scene
from egress.control import clock
from egress.control.models import Assignment
from tests.integration.billing.replay.model import (
    Life,
    Month,
    Node,
    Price,
    Terms,
    by_hour,
    due_cents,
    seconds_of,
    sent_by_hour,
)

MICROSECOND = timedelta(microseconds=1)
#: In which columns exports say which statement an amount belongs to.
_MONEY = {
    Format.CSV: ("statement_id", "amount"),
    Format.JSONL: ("statement_id", "amount"),
    Format.FOCUS: ("InvoiceId", "BilledCost"),
}
#: What a scene says of an assignment's use, and of who wants it.
IN_USE = {Kind.READY: True, Kind.REROUTE: True, Kind.DRAIN: False}
WANTED = {Kind.DISABLE: False, Kind.HOLD: False, Kind.RESUME: True}


class Told:
    """A plot, as the model takes it."""

    def __init__(self, plot: Plot) -> None:
        self.plot = plot
        self.length = self.at(plot.end) // 1_000_000
        self.lives: dict[tuple[int, int], Life] = {}
        self.prices: list[Price] = []
        self.terms: list[Terms] = []
        for scene in plot.scenes:
            self._tell(scene)

    def at(self, moment: datetime) -> int:
        return (moment - self.plot.begin) // MICROSECOND

    def month(self, month: date) -> Month:
        begin, end = (self.at(moment) // 1_000_000 for moment in (months.begin_of(month), months.end_of(month)))
        return Month(begin, end)

    def _tell(self, scene: Scene) -> None:
        at, given = self.at(scene.at), scene.given
        if scene.kind is Kind.ENABLE:
            team = self.plot.team_of(scene.app)
            self.lives[scene.app, scene.life] = Life(f"{scene.app}/{scene.life}", team, at)
        elif scene.kind in IN_USE:
            self.lives[scene.app, scene.life].moves.append((at, IN_USE[scene.kind]))
        elif scene.kind in WANTED:
            self.lives[scene.app, scene.life].wishes.append((at, WANTED[scene.kind]))
        elif scene.kind in {Kind.CARRY, Kind.REST}:
            self._carry(self.lives[scene.app, scene.life].nodes[scene.node], at, begun=scene.kind is Kind.CARRY)
        elif scene.kind is Kind.REPORT:
            for turn in scene.turns:
                self.lives[turn.app, turn.life].nodes[scene.node].turns.append(
                    (self.at(turn.at), turn.number, turn.out)
                )
        elif scene.kind is Kind.COUNT:
            self.lives[scene.app, scene.life].counters.append((at, scene.slot, scene.boot, scene.bytes))
        elif scene.kind is Kind.PRICE:
            amounts = Fraction(given["per_slot_hour"]), given["cap_hours"], Fraction(given["per_gib"])
            self.prices.append(Price(self.at(given["starts_at"]), *amounts, given["included_gib"]))
        elif scene.kind is Kind.TERMS:
            agreed = Fraction(given["discount_percent"]), given["free_slot_hours"]
            self.terms.append(Terms(scene.team, self.at(given["starts_at"]), *agreed))

    def _carry(self, node: Node, at: int, *, begun: bool) -> None:
        if begun:
            node.carried.append((at, 10**18))
        else:
            node.carried[-1] = (node.carried[-1][0], at)


def check_all(plot: Plot, first: date, count: int) -> None:
    """Check seconds, bytes, cents, statements and exports of a history that was played."""
    told = Told(plot)
    check_ledgers(told)
    for number in range(count):
        check_month(told, month_after(first, number))
    check_statements()
    with clock.playing(plot.end + timedelta(days=30)):
        assert [str(one) for one in check.findings(plot.begin, plot.end)] == []
        for number in range(count):
            check_exports(month_after(first, number))


def check_ledgers(told: Told) -> None:
    """Check each hour of each slot of each assignment, and that there is nothing else."""
    used = lost = 0
    for key, life in told.lives.items():
        billed, out = (by_hour(line) for line in seconds_of(life, told.length))
        expected = {hour: (billed.get(hour, 0), out.get(hour, 0)) for hour in {*billed, *out}}
        for slot in (0, 1):
            assert _booked(told, _assignment(*key), slot) == expected, life.name
            assert _bytes(told, _assignment(*key), slot) == sent_by_hour(life, slot), life.name
        used, lost = used + 2 * sum(billed.values()), lost + 2 * sum(out.values())
    totals = UsageRecord.objects.aggregate(used=Sum("seconds", default=0), lost=Sum("outage_seconds", default=0))
    assert totals == {"used": used, "lost": lost}


def check_month(told: Told, month: date) -> None:
    """Check what all statements together say of a month."""
    lines = StatementLine.objects.filter(begin__gte=months.begin_of(month), begin__lt=months.end_of(month))
    charges = lines.exclude(kind=StatementLine.Kind.CREDIT).order_by().values_list("statement__team__slug")
    said = dict(charges.annotate(Sum("cents")))
    for team in range(told.plot.teams):
        lives = [life for life in told.lives.values() if life.team == team]
        terms = [agreed for agreed in told.terms if agreed.team == team]
        due = due_cents(told.month(month), lives, told.prices, terms, told.length)
        assert said.pop(f"replay-{team + 1}", 0) == due
    assert not said


def check_statements() -> None:
    """Check that statements are the sums of their lines, and that credits are drawn as far as they go."""
    for statement in Statement.objects.all():
        assert statement.total_cents == sum(statement.lines.values_list("cents", flat=True)) >= 0
    for credit in Credit.objects.all():
        assert credit.cents + sum(line.cents for line in credit.lines.all() if line.cents < 0) >= 0


def check_exports(month: date) -> None:
    """Check that each format in each grain adds up to each statement of a month, to the cent."""
    stated = Statement.objects.filter(month=month)
    owed = {str(each.pk): Decimal(each.total_cents) / 100 for each in stated if each.lines.exists()}
    lines = StatementLine.objects.filter(statement__in=stated, kind=StatementLine.Kind.USAGE)
    used = {str(pk): seconds for pk, seconds in lines.values_list("pk", "quantity")}
    for form in Format:
        for grain in Grain:
            tally = Tally()
            text = b"".join(write(Selection(month=month), form, grain, tally)).decode()
            rows = _rows(form, text)
            assert _sums(rows, *_MONEY[form]) == owed
            if form is not Format.FOCUS:
                seconds = [row for row in rows if row["kind"] == "usage"]
                assert _sums(seconds, "line_id", "quantity") == used
            assert tally.amounts["USD"] == sum(each.total_cents for each in stated) * 10_000


def _rows(form: Format, text: str) -> list[dict[str, Any]]:
    if form is Format.JSONL:
        return [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _sums(rows: list[dict[str, Any]], by: str, amount: str) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row[by]] += Decimal(row[amount])
    return dict(sums)


def _assignment(app: int, life: int) -> Assignment:
    return Assignment.objects.filter(app__name=f"replay-app-{app + 1}").order_by("created_at")[life]


def _booked(told: Told, assignment: Assignment, slot: int) -> dict[int, tuple[int, int]]:
    rows = UsageRecord.objects.filter(assignment=assignment, slot=slot).order_by().values_list("hour")
    sums = rows.annotate(Sum("seconds"), Sum("outage_seconds"))
    found = {told.at(hour) // 3_600_000_000: (used, out) for hour, used, out in sums}
    return {hour: amounts for hour, amounts in found.items() if amounts != (0, 0)}


def _bytes(told: Told, assignment: Assignment, slot: int) -> dict[int, int]:
    rows = TrafficRecord.objects.filter(assignment=assignment, slot=slot).order_by().values_list("hour")
    return {told.at(hour) // 3_600_000_000: int(sent) for hour, sent in rows.annotate(Sum("sent_bytes"))}
