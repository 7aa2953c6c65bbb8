"""Month to date and forecast."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from billing.models import Credit, Price, Statement, Terms
from billing.statements.close import close_month
from billing.statements.month import forecast, month_to_date
from egress.control.models import Assignment, AssignmentStatus, Wish
from portal.accounts.models import Team
from tests.factories import make_team
from tests.integration.billing.statements.rows import (
    FEBRUARY,
    JANUARY,
    at,
    book,
    go_to,
    make_assignment,
    make_price,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def assignment(team: Team) -> Assignment:
    return make_assignment(team)


def test_month_to_date_says_what_a_statement_would(team: Team, assignment: Assignment, settings: Settings) -> None:
    make_price("0.10")
    Terms.objects.create(team=team, discount_percent=10, free_slot_hours=3, reason="trial", starts_at=JANUARY)
    Credit.objects.create(team=team, cents=50, reason="sorry")
    book(assignment, JANUARY, 10)
    draft = month_to_date(team, at(20))
    assert (draft.currency, draft.total_cents, draft.charges_cents) == ("USD", 103, 153)
    assert [(line.kind, line.cents, line.unit) for line in draft.lines] == [
        ("usage", 70, "second"), ("usage", 100, "second"), ("discount", -17, ""), ("credit", -50, ""),
    ]  # fmt: skip
    assert not Statement.objects.exists()
    go_to(settings, FEBRUARY + timedelta(days=1))
    close_month(date(2026, 1, 1))
    made = Statement.objects.get()
    assert made.total_cents == draft.total_cents
    fields = (
        "kind",
        "app",
        "assignment",
        "slot",
        "description",
        "quantity",
        "exact",
        "cents",
        "detail",
        "begin",
        "end",
    )
    for line, drafted in zip(made.lines.all(), draft.lines, strict=True):
        assert [getattr(line, name) for name in fields] == [getattr(drafted, name) for name in fields]


def test_month_to_date_of_a_team_that_used_nothing_is_nothing(team: Team) -> None:
    draft = month_to_date(team, at(20))
    assert (list(draft.lines), draft.total_cents) == ([], 0)


def test_last_months_hours_are_not_in_it(team: Team, assignment: Assignment) -> None:
    book(assignment, JANUARY, 10)
    assert month_to_date(team, at(1, month=2)).total_cents == 0


def test_its_queries_dont_grow_with_the_apps(team: Team) -> None:
    for _ in range(3):
        book(make_assignment(team), JANUARY, 5)
    with CaptureQueriesContext(
        connection,
    ) as few:
        month_to_date(team, at(20))
    for _ in range(10):
        book(make_assignment(team), JANUARY, 5)
    with CaptureQueriesContext(connection) as many:
        draft = month_to_date(team, at(20))
        assert len({line.app.name for line in draft.lines if line.app}) == 13
    assert len(many) == len(few) <= 11


def test_the_forecast_lets_what_is_in_use_go_on_to_the_months_end(team: Team, assignment: Assignment) -> None:
    make_price("0.01", cap_hours=744)
    book(assignment, at(30), 24)
    # 24 h are known; 24 h of the 31st are to come, also those between the last closed hour and now.
    assert forecast(team, at(31, 2, 40)) == 2 * 48


def test_the_forecast_stops_at_the_cap_and_knows_the_next_price(team: Team, assignment: Assignment) -> None:
    make_price("0.01", ends_at=at(31, 12), cap_hours=40)
    make_price("0.05", at(31, 12), cap_hours=40)
    book(assignment, at(30), 24)
    assert forecast(team, at(31)) == 2 * (24 + 12 + 4 * 5)


def test_the_forecast_begins_now_for_what_has_no_closed_hour_yet(team: Team, assignment: Assignment) -> None:
    make_price("0.01")
    assert forecast(team, at(31, 20)) == 2 * 4


@pytest.mark.parametrize(
    "fields",
    [{"wish": Wish.DISABLED}, {"status": AssignmentStatus.DRAINING}, {"status": AssignmentStatus.PROVISIONING}],
    ids=["disabled", "draining", "provisioning"],
)
def test_what_is_not_billed_now_is_not_forecast(team: Team, assignment: Assignment, fields: dict[str, str]) -> None:
    make_price("0.01")
    book(assignment, JANUARY, 10)
    Assignment.objects.update(**fields)
    assert forecast(team, at(20)) == 20


def test_the_settings_price_needs_no_row(team: Team, assignment: Assignment) -> None:
    book(assignment, JANUARY, 100)
    assert month_to_date(team, at(20)).total_cents == 2 * 186
    assert not Price.objects.exists()
    assert month_to_date(team, at(20)).lines[0].exact == Decimal("1.860119")
