"""Exports of what rating makes of a ledger: the estimate, then the statement."""

import csv
import io
from decimal import Decimal

import pytest

from billing.exports.selection import Format, Grain, Selection
from billing.exports.stream import Tally, write
from billing.models import Credit, Statement, Terms
from billing.statements import close
from tests.factories import make_app, make_cluster, make_team
from tests.integration.billing.exports_made import BEGIN, HOUR, MONTH, assignment_of, every_hour, ledger
from tests.integration.billing.focus_rules import faults_of

pytestmark = pytest.mark.django_db


def exported(grain: Grain) -> tuple[Tally, list[dict[str, str]]]:
    tally = Tally()
    text = b"".join(write(Selection(month=MONTH), Format.FOCUS, grain, tally)).decode()
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = list(reader)
    assert faults_of(reader.fieldnames or (), rows) == []
    return tally, rows


def test_estimate_and_statement_of_a_capped_discounted_month_add_up_in_every_grain() -> None:
    team, cluster = make_team(), make_cluster()
    whole, part = (assignment_of(make_app(team, cluster)) for _ in range(2))
    ledger(whole, every_hour())
    ledger(part, every_hour(begin=BEGIN + HOUR * 100, seconds=1234))
    Credit.objects.create(team=team, cents=1500, reason="=welcome")
    Terms.objects.create(
        team=team, discount_percent=Decimal("12.5"), free_slot_hours=10, reason="pilot", starts_at=BEGIN - HOUR
    )

    so_far, estimates = exported(Grain.DAY)
    assert close.close_month(MONTH) == 1
    by_day, rows = exported(Grain.DAY)
    by_hour, _ = exported(Grain.HOUR)

    assert {row["x_Status"] for row in estimates} == {"Estimate"}
    assert {row["x_Status"] for row in rows} == {"Final"}
    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Adjustment", "Credit"}
    owed = Statement.objects.get().total_cents * 10_000
    assert so_far.amounts == by_day.amounts == by_hour.amounts == {"USD": owed}
    assert any(Decimal(row["ListUnitPrice"]) > 0 for row in rows if row["ChargeCategory"] == "Usage")
