"""Workers that close a month are killed by SIGKILL before and after each commit, or close it at once: one statement."""

from datetime import timedelta
from decimal import Decimal

import pytest
from pytest_django import Settings

from billing.models import Credit, MonthClose, Price, Statement, StatementLine, StatementProblem
from billing.rating.services import price_set
from billing.statements import close
from billing.statements.close import close_months
from egress.control import clock
from egress.control.models import Assignment
from tests.factories import make_team
from tests.integration.billing.dying import in_processes
from tests.integration.billing.statements.rows import (
    FEBRUARY,
    JANUARY,
    MARCH,
    book,
    cents,
    go_to,
    make_assignment,
    make_price,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
#: The month is begun, two statements, all teams looked at, the month closed.
LEAST_COMMITS = 5


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine takes longer than a run may.
    monkeypatch.setattr(close, "BUDGET_SECONDS", 600.0)


def two_teams() -> list[Assignment]:
    """Return what two teams used in January; one of them has a credit, of which not all is used up."""
    assignments = [make_assignment(make_team()) for _ in range(2)]
    Credit.objects.create(team=assignments[0].app.team, cents=5, reason="sorry")
    for assignment in assignments:
        book(assignment, JANUARY, 10)
    return assignments


def check(assignments: list[Assignment]) -> None:
    rich, poor = (Statement.objects.get(team=each.app.team) for each in assignments)
    assert (cents(rich), cents(poor)) == ([19, 19, -5], [19, 19])
    assert [made.total_cents for made in (rich, poor)] == [33, 38]
    assert MonthClose.objects.get().closed_at is not None
    assert Price.objects.count() == 1
    assert not StatementProblem.objects.exists()


def test_a_worker_killed_at_any_commit_leaves_what_the_next_makes_whole(settings: Settings, db: None) -> None:
    go_to(settings, FEBRUARY + timedelta(days=1))
    total = 0
    for when in ("before", "after"):
        number = 0
        while True:
            number += 1
            # The teams of earlier plays have their statements.
            MonthClose.objects.all().delete()
            assignments = two_teams()
            [ended] = in_processes(close_months, die_at=number, when=when)
            if not ended.killed:
                assert ended.error == ""
                check(assignments)
                break
            total += 1
            for _ in range(2):
                assert in_processes(close_months)[0].error == ""
            check(assignments)
    assert total >= 2 * LEAST_COMMITS


def test_several_workers_at_once_make_one_statement_each(settings: Settings, db: None) -> None:
    go_to(settings, FEBRUARY + timedelta(days=1))
    assignments = two_teams()
    assert [ended.error for ended in in_processes(close_months, count=4)] == [""] * 4
    check(assignments)
    assert StatementLine.objects.count() == 5


def test_two_months_closed_at_once_draw_a_credit_once(settings: Settings, db: None) -> None:
    make_price("0.10")
    team = make_team()
    assignment = make_assignment(team)
    Credit.objects.create(team=team, cents=250, reason="sorry", granted_at=JANUARY)
    for begin in (JANUARY, FEBRUARY):
        book(assignment, begin, 10)
    go_to(settings, MARCH + timedelta(days=1))
    assert [ended.error for ended in in_processes(close_months, count=3)] == [""] * 3
    assert [made.total_cents for made in Statement.objects.order_by("month")] == [0, 150]


def test_of_prices_set_at_once_one_is_refused(settings: Settings, db: None) -> None:
    starts_at = clock.now() + timedelta(days=1)

    def set_one() -> object:
        return price_set(per_slot_hour=Decimal(1), starts_at=starts_at, reason="new", actor=None, currency="EUR")

    errors = [ended.error[:14] for ended in in_processes(set_one, count=4)]
    assert sorted(errors) == ["", *["PeriodOverlaps"] * 3]
    assert Price.objects.filter(currency="EUR").count() == 1
