"""Closing a month: what a statement says, that it is made once, and what becomes known later."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import ProtectedError
from pytest_django import Settings

from billing.models import (
    BillingAccount,
    Credit,
    MonthClose,
    Price,
    Statement,
    StatementLine,
    StatementProblem,
    Terms,
    UsageRecord,
)
from billing.models.append_only import AppendOnlyError
from billing.rating.errors import EarlierMonthOpen, MonthOpen
from billing.statements import close, draft, metered
from billing.statements.close import close_month, close_months
from billing.tasks import close_months as task
from egress.control import installation
from egress.control.models import Assignment
from portal.accounts.models import Team
from tests.factories import make_app, make_cluster, make_team
from tests.integration.billing.statements.rows import (
    FEBRUARY,
    JANUARY,
    MARCH,
    at,
    book,
    cents,
    go_to,
    make_assignment,
    make_price,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
JAN, FEB, MAR = date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def assignment(team: Team) -> Assignment:
    return make_assignment(team)


@pytest.fixture
def after_january(settings: Settings) -> None:
    go_to(settings, FEBRUARY + DAY)


def statement(team: Team, month: date = JAN) -> Statement:
    return Statement.objects.get(team=team, month=month)


@pytest.mark.usefixtures("after_january")
def test_a_full_month_at_the_settings_price_is_25_dollars(team: Team, assignment: Assignment) -> None:
    book(assignment, JANUARY, 744)
    assert close_month(JAN) == 1
    made = statement(team)
    assert (made.total_cents, made.currency, cents(made)) == (2500, "USD", [1250, 1250])
    line = made.lines.first()
    assert line is not None
    assert (line.app, line.assignment, line.slot, line.quantity, line.unit) == (
        assignment.app,
        assignment,
        0,
        744 * 3600,
        "second",
    )
    assert (line.begin, line.end, line.exact) == (JANUARY, FEBRUARY, Decimal("12.49999968"))
    assert MonthClose.objects.get().closed_at is not None


@pytest.mark.usefixtures("after_january")
def test_the_first_close_keeps_the_settings_price_as_a_row(assignment: Assignment, settings: Settings) -> None:
    book(assignment, JANUARY, 10)
    close_month(JAN)
    assert [(row.per_slot_hour, row.cap_hours, row.ends_at) for row in Price.objects.all()] == [
        (Decimal("0.01860119"), 672, None)
    ]
    settings.BILLING_PRICE_PER_SLOT_HOUR = "9"
    go_to(settings, MARCH + DAY)
    book(assignment, FEBRUARY, 100)
    close_month(FEB)
    assert cents(statement(assignment.app.team, FEB)) == [186, 186]


def test_nothing_is_stated_before_the_hold_is_over(team: Team, assignment: Assignment, settings: Settings) -> None:
    book(assignment, JANUARY, 10)
    go_to(settings, FEBRUARY + DAY - timedelta(seconds=30))
    with pytest.raises(MonthOpen, match="2026-02-02 00:00"):
        close_month(JAN)
    assert close_months() == 0
    assert not Statement.objects.exists()
    go_to(settings, FEBRUARY + DAY)
    assert close_months() == 1


def test_a_future_month_is_refused(settings: Settings) -> None:
    go_to(settings, JANUARY)
    with pytest.raises(MonthOpen):
        close_month(date(2027, 1, 1))


@pytest.mark.usefixtures("after_january")
def test_closing_twice_makes_one_statement(team: Team, assignment: Assignment) -> None:
    book(assignment, JANUARY, 10)
    task()
    first = statement(team)
    task()
    assert close_month(JAN) == 0
    assert statement(team).pk == first.pk
    assert StatementLine.objects.count() == 2


@pytest.mark.usefixtures("after_january")
def test_a_team_that_used_nothing_gets_no_statement(assignment: Assignment) -> None:
    make_assignment()
    book(assignment, JANUARY, 1)
    assert close_month(JAN) == 1


def test_months_are_closed_in_order_after_a_long_outage(team: Team, assignment: Assignment, settings: Settings) -> None:
    for begin in (JANUARY, MARCH):
        book(assignment, begin, 10)
    go_to(settings, at(2, month=4))
    with pytest.raises(EarlierMonthOpen, match="2026-01"):
        close_month(MAR)
    assert close_months() == 2
    assert list(Statement.objects.values_list("month", flat=True)) == [MAR, JAN]
    assert MonthClose.objects.exclude(closed_at=None).count() == 3


@pytest.mark.usefixtures("after_january")
def test_nothing_is_stated_while_hours_are_not_metered(assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    book(assignment, JANUARY, 10)
    asked: list[Any] = []

    def behind(until: Any, _seconds: float) -> bool:
        asked.append(until)
        return False

    monkeypatch.setattr(metered, "close_hours", behind)
    assert close_months() == 0
    with pytest.raises(MonthOpen, match="metered"):
        close_month(JAN)
    assert asked == [FEBRUARY, FEBRUARY]
    assert not MonthClose.objects.exists()


@pytest.mark.usefixtures("after_january")
def test_nothing_is_stated_while_the_installation_stands_still(assignment: Assignment) -> None:
    book(assignment, JANUARY, 10)
    installation.hold(reason="a backup was restored")
    assert close_months() == 0
    installation.resume()
    assert close_months() == 1


@pytest.mark.usefixtures("after_january")
def test_a_run_that_has_no_time_left_is_gone_on_with(assignment: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    book(assignment, JANUARY, 10)
    assert close_month(JAN, ends_at=0.0) == 0
    assert MonthClose.objects.get().looked_at is None
    assert close_months() == 1


# --- immutable --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("after_january")
def test_a_statement_and_its_lines_refuse_to_change_or_go(team: Team, assignment: Assignment) -> None:
    book(assignment, JANUARY, 10)
    close_month(JAN)
    made = statement(team)
    line = made.lines.get(position=1)
    for act in (
        made.save, made.delete, line.save, line.delete, Statement.objects.all().delete,
        lambda: StatementLine.objects.update(cents=1), lambda: made.lines.update(cents=1),
        lambda: StatementLine.objects.bulk_update([line], ["cents"]),
    ):  # fmt: skip
        with pytest.raises(AppendOnlyError):
            act()
    with pytest.raises(ProtectedError):
        team.delete()
    assert statement(team).total_cents == made.total_cents


# --- prices, terms, traffic -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("after_january")
def test_a_price_change_in_mid_month_and_a_clusters_own_price(team: Team) -> None:
    own = make_cluster()
    make_price("0.01", ends_at=at(11))
    make_price("0.02", at(11))
    make_price("0.05", cluster=own)
    plain, special = make_assignment(team), make_assignment(app=make_app(team, own))
    book(plain, at(10), 48)
    book(special, at(10), 48)
    close_month(JAN)
    assert cents(statement(team)) == [24 + 48, 24 + 48, 240, 240]


def _used(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, int]) -> list[Any]:
    """Let metering tell what each slot used of parts of hours, by when these begin."""
    asked: list[Any] = []

    def tell(assignments: Any, begin: Any, end: Any) -> dict[tuple[Any, int], int]:
        asked.append((begin, end))
        return {(each, slot): seconds.get(f"{begin:%H:%M}", 0) for each in assignments for slot in (0, 1)}

    monkeypatch.setattr(metered, "seconds_between", tell)
    return asked


@pytest.mark.usefixtures("after_january")
def test_in_an_hour_with_a_price_change_each_second_counts_at_its_own_price(
    team: Team, assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Used from 10:50 on: all of it after the change at 10:20, though the ledger only knows 600 s of the hour.
    asked = _used(monkeypatch, {"10:00": 0, "10:20": 600})
    make_price("1", ends_at=at(10, 10, 20))
    make_price("3", at(10, 10, 20))
    book(assignment, at(10, 10), seconds=600)
    book(assignment, at(10, 11))
    close_month(JAN)
    assert cents(statement(team)) == [350, 350]
    assert asked == [(at(10, 10), at(10, 10, 20)), (at(10, 10, 20), at(10, 11))]


@pytest.mark.usefixtures("after_january")
def test_a_whole_hour_with_a_price_change_needs_no_question(
    team: Team, assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _used(monkeypatch, {})
    make_price("1", ends_at=at(10, 10, 20))
    make_price("4", at(10, 10, 20), ends_at=at(10, 10, 50))
    make_price("7", at(10, 10, 50))
    book(assignment, at(10, 9), 3)
    close_month(JAN)
    # 1 + (20 min at 1, 30 min at 4, 10 min at 7) + 7
    assert cents(statement(team)) == [100 + 33 + 200 + 117 + 700, 1150]
    assert asked == []


@pytest.mark.usefixtures("after_january")
def test_where_metering_and_ledger_differ_the_ledger_is_shared_out(
    team: Team, assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    _used(monkeypatch, {"10:00": 600, "10:20": 300})
    make_price("1", ends_at=at(10, 10, 20))
    make_price("3", at(10, 10, 20))
    book(assignment, at(10, 10), seconds=1800)
    close_month(JAN)
    [part, other] = statement(team).lines.get(position=1).detail["parts"]
    assert (part["seconds"], other["seconds"]) == (1200, 600)


@pytest.mark.usefixtures("after_january")
def test_terms_give_a_discount_and_free_hours(team: Team, assignment: Assignment) -> None:
    make_price("0.01")
    Terms.objects.create(team=team, discount_percent=10, free_slot_hours=30, reason="trial", starts_at=JANUARY)
    book(assignment, JANUARY, 100)
    close_month(JAN)
    assert cents(statement(team)) == [70, 100, -17]
    assert statement(team).total_cents == 153


@pytest.mark.usefixtures("after_january")
def test_an_outage_lowers_the_cap(team: Team, assignment: Assignment) -> None:
    make_price("0.01", cap_hours=100)
    book(assignment, JANUARY, 600)
    book(assignment, at(26), 72, seconds=0, outage_seconds=3600)
    book(assignment, at(29), 2, seconds=2160, outage_seconds=1440)
    # 72.8 h of 744.
    close_month(JAN)
    assert statement(team).lines.get(position=1).exact == Decimal("0.902150000000")


@pytest.mark.usefixtures("after_january")
def test_the_cap_hangs_on_the_assignment_not_on_the_apps_name(team: Team, assignment: Assignment) -> None:
    make_price("0.01", cap_hours=10)
    book(assignment, JANUARY, 8)
    assignment.app.name = "renamed"
    assignment.app.save()
    book(assignment, at(2), 8)
    close_month(JAN)
    assert cents(statement(team)) == [10, 10]


# --- credits ----------------------------------------------------------------------------------------------------------


def _credit(team: Team, cents: int, **fields: Any) -> Credit:
    return Credit.objects.create(team=team, cents=cents, reason="sorry", granted_at=JANUARY, **fields)


def test_credits_are_drawn_oldest_first_until_they_are_used_up(
    team: Team, assignment: Assignment, settings: Settings
) -> None:
    make_price("1")
    expired = _credit(team, 5000, expires_at=JANUARY)
    old, new = _credit(team, 700, expires_at=FEBRUARY), _credit(team, 1000)
    foreign = _credit(team, 9000, currency="EUR")
    book(assignment, JANUARY, 5)
    book(assignment, FEBRUARY, 5)
    go_to(settings, MARCH + DAY)
    assert close_months() == 2
    assert [(line.credit, line.cents) for line in statement(team).lines.filter(kind="credit")] == [
        (old, -700),
        (new, -300),
    ]
    assert [(line.credit, line.cents) for line in statement(team, FEB).lines.filter(kind="credit")] == [(new, -700)]
    assert (statement(team).total_cents, statement(team, FEB).total_cents) == (0, 300)
    assert not expired.lines.exists()
    assert not foreign.lines.exists()


# --- corrections ------------------------------------------------------------------------------------------------------


def test_what_becomes_known_later_is_a_correction_at_the_old_months_price(
    team: Team, assignment: Assignment, settings: Settings
) -> None:
    make_price("0.10", ends_at=FEBRUARY)
    make_price("0.50", FEBRUARY)
    book(assignment, JANUARY, 10)
    go_to(settings, FEBRUARY + DAY)
    close_month(JAN)
    book(assignment, JANUARY, seconds=-1800, sequence=1, reason="told late")
    book(assignment, FEBRUARY, 4)
    go_to(settings, MARCH + DAY)
    close_month(FEB)
    made = statement(team, FEB)
    assert [(line.kind, line.cents, line.quantity) for line in made.lines.all()] == [
        ("usage", 200, 4 * 3600), ("usage", 200, 4 * 3600), ("correction", -5, -1800), ("correction", -5, -1800),
    ]  # fmt: skip
    assert (made.lines.get(position=3).begin, made.total_cents) == (JANUARY, 390)
    assert cents(statement(team)) == [100, 100]


def test_a_correction_is_stated_once(team: Team, assignment: Assignment, settings: Settings) -> None:
    make_price("0.10")
    book(assignment, JANUARY, 10)
    go_to(settings, FEBRUARY + DAY)
    close_month(JAN)
    book(assignment, JANUARY, seconds=-1800, sequence=1)
    go_to(settings, MARCH + DAY)
    # February had no use at all: its statement has only the corrections, and the money is kept as a credit.
    assert close_month(FEB) == 1
    made = statement(team, FEB)
    assert (cents(made, "correction"), cents(made, "credit"), made.total_cents) == ([-5, -5], [10], 0)
    assert Credit.objects.get().cents == 10
    book(assignment, MARCH, 10)
    go_to(settings, at(2, month=4))
    close_month(MAR)
    assert (cents(statement(team, MAR)), statement(team, MAR).total_cents) == ([100, 100, -10], 190)


def test_seconds_beyond_the_cap_are_corrected_at_no_price(
    team: Team, assignment: Assignment, settings: Settings
) -> None:
    make_price("0.10", cap_hours=5)
    book(assignment, JANUARY, 10)
    go_to(settings, FEBRUARY + DAY)
    close_month(JAN)
    book(assignment, at(3), seconds=1800)
    go_to(settings, MARCH + DAY)
    close_month(FEB)
    assert [(line.cents, line.quantity) for line in statement(team, FEB).lines.all()] == [(0, 1800), (0, 1800)]


def test_an_outage_told_late_lowers_the_old_months_cap(team: Team, assignment: Assignment, settings: Settings) -> None:
    make_price("1", cap_hours=100)
    book(assignment, JANUARY, 744)
    go_to(settings, FEBRUARY + DAY)
    close_month(JAN)
    book(assignment, JANUARY, 372, seconds=-3600, outage_seconds=3600, sequence=1)
    go_to(settings, MARCH + DAY)
    close_month(FEB)
    assert cents(statement(team, FEB), "correction") == [-5000, -5000]


def test_a_late_first_row_of_a_team_without_a_statement_is_a_correction_too(
    team: Team, assignment: Assignment, settings: Settings
) -> None:
    make_price("0.10")
    book(make_assignment(), JANUARY, 1)
    go_to(settings, FEBRUARY + DAY)
    close_month(JAN)
    book(assignment, JANUARY, 10)
    go_to(settings, MARCH + DAY)
    close_month(FEB)
    assert cents(statement(team, FEB), "correction") == [100, 100]


def test_a_discount_is_corrected_with_what_it_was_on(team: Team, assignment: Assignment, settings: Settings) -> None:
    make_price("0.10")
    Terms.objects.create(team=team, discount_percent=50, reason="friend", starts_at=JANUARY, ends_at=FEBRUARY)
    book(assignment, JANUARY, 10)
    go_to(settings, FEBRUARY + DAY)
    close_month(JAN)
    assert cents(statement(team)) == [100, 100, -100]
    book(assignment, at(5), 2)
    go_to(settings, MARCH + DAY)
    close_month(FEB)
    assert cents(statement(team, FEB)) == [20, 20, -20]


def test_a_correction_stays_in_the_currency_that_was_stated(
    team: Team, assignment: Assignment, settings: Settings
) -> None:
    make_price("0.10")
    make_price("0.20", currency="EUR")
    book(assignment, JANUARY, 10)
    go_to(settings, FEBRUARY + DAY)
    close_month(JAN)
    BillingAccount.objects.create(team=team, currency="EUR")
    assert close_month(JAN) == 0
    book(assignment, at(5), 10)
    book(assignment, FEBRUARY, 10)
    go_to(settings, MARCH + DAY)
    assert close_month(FEB) == 2
    made = {each.currency: cents(each) for each in Statement.objects.filter(month=FEB)}
    assert made == {"EUR": [200, 200], "USD": [100, 100]}


def test_rows_that_come_while_the_ledger_is_read_are_in_the_statement_or_in_the_next(
    team: Team, assignment: Assignment, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_price("0.10")
    book(assignment, JANUARY, 10)
    real, calls = draft.read, []

    def read(*given: Any) -> Any:
        found = real(*given)
        calls.append(1)
        if len(calls) == 1:
            book(assignment, at(9))
        return found

    monkeypatch.setattr(draft, "read", read)
    go_to(settings, FEBRUARY + DAY)
    close_month(JAN)
    assert len(calls) == 2
    made = statement(team)
    assert cents(made) == [110, 110]
    assert made.ledger_up_to == UsageRecord.objects.latest("pk").pk


# --- problems ---------------------------------------------------------------------------------------------------------


def test_a_team_without_a_price_leaves_a_problem_and_holds_nobody_up(
    team: Team, assignment: Assignment, settings: Settings
) -> None:
    BillingAccount.objects.create(team=team, currency="EUR")
    other = make_assignment()
    for begin in (JANUARY, FEBRUARY):
        book(assignment, begin, 10)
        book(other, begin, 10)
    go_to(settings, MARCH + DAY)
    assert close_months() == 2
    problem, later = StatementProblem.objects.order_by("month")
    assert (problem.team, problem.month, problem.code) == (team, JAN, "price_missing")
    assert assignment.app.name in problem.message
    assert later.code == "earlier_month_open"
    assert not MonthClose.objects.exclude(closed_at=None).exists()
    make_price("0.10", currency="EUR")
    assert close_months() == 2
    assert not StatementProblem.objects.filter(resolved_at=None).exists()
    assert MonthClose.objects.exclude(closed_at=None).count() == 2
    assert [each.total_cents for each in Statement.objects.filter(team=team)] == [200, 200]


@pytest.mark.usefixtures("after_january")
def test_a_bug_in_one_teams_statement_is_seen_by_operators(
    team: Team, assignment: Assignment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    book(assignment, JANUARY, 10)
    real = close.drafts
    monkeypatch.setattr(close, "drafts", lambda *_: {}["lost"])
    assert close_months() == 0
    assert StatementProblem.objects.get().code == "bug"
    assert "no statement of 2026-01" in caplog.text
    monkeypatch.setattr(close, "drafts", real)
    assert close_months() == 1
