"""What exports hold, and that it adds up."""

import csv
import io
import json
import re
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from billing.exports import gather
from billing.exports.bills import BATCH
from billing.exports.selection import Format, Grain, Selection
from billing.exports.stream import Tally, write
from billing.models import StatementLine, UsageRecord
from egress.control.models import Cluster
from portal.accounts.models import Team
from tests.factories import make_app, make_cluster, make_team
from tests.integration.billing.exports_made import (
    BEGIN,
    END,
    HOUR,
    MONTH,
    assignment_of,
    every_hour,
    ledger,
    line,
    price,
    statement,
    usage_lines,
    whole_month,
)

pytestmark = pytest.mark.django_db

AMOUNTS = {Format.CSV: "amount", Format.JSONL: "amount", Format.FOCUS: "BilledCost"}


def exported(form: Format = Format.CSV, grain: Grain = Grain.HOUR, **selected: Any) -> list[dict[str, Any]]:
    text = b"".join(write(Selection(month=MONTH, **selected), form, grain)).decode()
    if form == Format.JSONL:
        return [json.loads(row, parse_float=Decimal) for row in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("grain", Grain)
@pytest.mark.parametrize("form", Format)
def test_sum_is_the_statements_to_the_cent(form: Format, grain: Grain) -> None:
    price()
    made = [whole_month() for _ in range(2)]

    rows = exported(form, grain)

    assert sum(Decimal(row[AMOUNTS[form]]) for row in rows) == Decimal(sum(each.total_cents for each in made)) / 100


@pytest.mark.parametrize("grain", Grain)
def test_each_line_adds_up_by_itself(grain: Grain) -> None:
    made = whole_month()

    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in exported(grain=grain):
        sums[row["line_id"]] += Decimal(row["amount"])

    assert sums == {str(each.pk): Decimal(each.cents) / 100 for each in made.lines.all()}


def test_days_are_the_sums_of_their_hours() -> None:
    price()
    whole_month(hours=60)

    days: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in exported(grain=Grain.HOUR):
        if row["kind"] == "usage":
            days[row["gateway"], row["begin"][:10]] += Decimal(row["amount"])

    by_day = [row for row in exported(grain=Grain.DAY) if row["kind"] == "usage"]
    assert {(row["gateway"], row["begin"][:10]): Decimal(row["amount"]) for row in by_day} == days
    assert [row["quantity"] for row in by_day] == ["86400", "86400", "43200"] * 2


def test_hours_cost_by_their_seconds() -> None:
    assignment = assignment_of(make_app())
    ledger(assignment, [(BEGIN, 900), (BEGIN + HOUR * 30, 2700)])
    statement(assignment.app.team, usage_lines(assignment, 10))

    rows = exported()

    assert [(row["begin"], row["end"], row["quantity"], row["amount"]) for row in rows if row["gateway"] == "A"] == [
        ("2026-10-01T00:00:00Z", "2026-10-01T01:00:00Z", "900", "0.025000"),
        ("2026-10-02T06:00:00Z", "2026-10-02T07:00:00Z", "2700", "0.075000"),
    ]


def test_corrections_booked_before_the_statement_count_and_later_ones_do_not() -> None:
    assignment = assignment_of(make_app())
    ledger(assignment, [(BEGIN, 3600), (BEGIN + HOUR, 3600), (BEGIN + HOUR * 2, 60)])
    corrected = UsageRecord(assignment=assignment, slot=0, hour=BEGIN, sequence=1, seconds=-1800)
    gone = UsageRecord(assignment=assignment, slot=0, hour=BEGIN + HOUR * 2, sequence=1, seconds=-60)
    UsageRecord.objects.bulk_create([corrected, gone])
    statement(assignment.app.team, usage_lines(assignment))
    UsageRecord.objects.create(assignment=assignment, slot=0, hour=BEGIN + HOUR, sequence=1, seconds=-3600)

    rows = [(row["quantity"], row["amount"]) for row in exported() if row["gateway"] == "A"]

    assert rows == [("1800", "4.166666"), ("3600", "8.333334")]


def test_a_charge_without_hours_is_one_row() -> None:
    assignment = assignment_of(make_app())
    statement(assignment.app.team, [line(app=assignment.app, assignment=assignment, slot=0, cents=5)])

    assert [(row["begin"], row["end"], row["amount"]) for row in exported()] == [
        ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", "0.050000")
    ]


def test_a_day_is_cut_where_the_list_price_changes() -> None:
    half_past = BEGIN + HOUR * 29.5
    price("0.01", ends_at=half_past)
    price("0.02", starts_at=half_past)
    whole_month(hours=50)

    rows = [row for row in exported(Format.FOCUS, Grain.DAY) if row["ResourceName"].endswith(" A")][:-1]

    assert [(row["ChargePeriodStart"], row["ListUnitPrice"], row["PricingQuantity"]) for row in rows] == [
        ("2026-10-01T00:00:00Z", "0.01", "24.0"),
        ("2026-10-02T00:00:00Z", "0.01", "6.0"),
        ("2026-10-02T06:00:00Z", "0.02", "18.0"),
        ("2026-10-03T00:00:00Z", "0.02", "2.0"),
    ]
    assert [row["ChargePeriodEnd"] for row in rows][:2] == ["2026-10-02T00:00:00Z", "2026-10-02T06:00:00Z"]


def test_a_clusters_own_list_price_comes_before_the_general_one() -> None:
    made = whole_month(hours=1)
    price("0.01")
    price("0.03", cluster=Cluster.objects.get())
    assert made.currency == "USD"
    price("9", currency="EUR")

    assert {row["ListUnitPrice"] for row in exported(Format.FOCUS) if row["SkuMeter"] == "Gateway Hours"} == {
        "0.03",
        "",
    }


def test_by_team_others_are_left_out() -> None:
    ours, _ = whole_month(), whole_month()

    assert {row["team"] for row in exported(team=ours.team)} == {ours.team.slug}


def test_by_cluster_what_belongs_to_none_is_left_out() -> None:
    team, one, other = make_team(), make_cluster(), make_cluster()
    pairs = [assignment_of(make_app(team, cluster)) for cluster in (one, other)]
    for pair in pairs:
        ledger(pair, every_hour(end=BEGIN + HOUR))
    made = [*usage_lines(pairs[0], 3), *usage_lines(pairs[1], 4), line(StatementLine.Kind.CREDIT, -5)]
    statement(team, made)

    assert sum(Decimal(row["amount"]) for row in exported(cluster=one)) == Decimal("0.06")
    assert {row["cluster"] for row in exported(cluster=other)} == {other.name}
    assert {row["cluster"] for row in exported()} == {one.name, other.name, ""}


def test_months_are_kept_apart() -> None:
    whole_month()

    assert list(write(Selection(month=MONTH.replace(month=9)), Format.JSONL, Grain.DAY)) == [b""]


def test_statements_in_two_currencies_are_both_there() -> None:
    made = whole_month()
    statement(made.team, [line(StatementLine.Kind.CORRECTION, 12)], currency="EUR")
    tally = Tally()

    list(write(Selection(month=MONTH), Format.CSV, Grain.DAY, tally))

    assert dict(tally.amounts) == {"USD": 12_800_000, "EUR": 120_000}
    assert tally.rows == 9


def test_unfinished_month_is_an_estimate_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = whole_month()
    assignment = assignment_of(make_app())
    ledger(assignment, every_hour(end=BEGIN + HOUR * 3))
    asked = []

    def month_to_date(team: Team, now: datetime) -> SimpleNamespace:
        asked.append((team, now))
        lines = [*usage_lines(assignment, 7), line(StatementLine.Kind.CREDIT, -1)]
        return SimpleNamespace(currency="USD", lines=lines, total_cents=13)

    monkeypatch.setattr(gather, "month_to_date", month_to_date)

    rows = exported()

    assert asked == [(assignment.app.team, END - timedelta(microseconds=1))]
    by_status = {status: [row for row in rows if row["status"] == status] for status in ("final", "estimate")}
    assert len(by_status["final"]) + len(by_status["estimate"]) == len(rows)
    assert sum(Decimal(row["amount"]) for row in by_status["estimate"]) == Decimal("0.13")
    assert {row["team"] for row in by_status["final"]} == {finished.team.slug}
    assert {(row["statement_id"], row["line_id"]) for row in by_status["estimate"]} == {("", "")}
    focus = exported(Format.FOCUS, team=assignment.app.team)
    assert {(row["x_Status"], row["InvoiceId"]) for row in focus} == {("Estimate", "")}


def test_memory_is_bounded_by_reading_few_lines_at_a_time(django_assert_max_num_queries: Any) -> None:
    team, cluster = make_team(), make_cluster()
    statement(team, [line(StatementLine.Kind.DISCOUNT, 1, app=make_app(team, cluster)) for _ in range(2 * BATCH)])
    chunks = write(Selection(month=MONTH), Format.CSV, Grain.HOUR)

    with django_assert_max_num_queries(2 + 2 + 3 * 2):
        rows = b"".join(chunks)

    assert rows.count(b"\r\n") == 1 + 2 * BATCH


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_no_cell_is_a_formula(name: str) -> None:
    made = whole_month()
    Team.objects.filter(pk=made.team_id).update(name=name)
    statement(made.team, [line(StatementLine.Kind.CREDIT, -2000, description=name)], currency="EUR")

    for form in (Format.CSV, Format.FOCUS):
        for row in exported(form, Grain.DAY):
            for column, cell in row.items():
                is_number = re.fullmatch(r"-?[0-9.]+", cell)
                assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), (column, cell)
        rows = exported(form, Grain.DAY)
        assert {row["team_name" if form == Format.CSV else "BillingAccountName"] for row in rows} == {f"'{name}"}
        assert min(Decimal(row[AMOUNTS[form]]) for row in rows) == -20, "negative amounts stay numbers"


def test_json_lines_keep_text_as_it_is() -> None:
    made = whole_month()
    Team.objects.filter(pk=made.team_id).update(name='=1"\n\u2028é')

    assert {row["team_name"] for row in exported(Format.JSONL)} == {'=1"\n\u2028é'}
