"""Time that passes in a demo: day by day, with all that falls due, and only while nothing is under way."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from billing.models import BillingAccount, Notice, Statement, UsageRecord
from egress.control import clock
from egress.control.models import Assignment, AssignmentStatus, Wish
from portal.demo import passing
from portal.demo.errors import StackError
from tests.integration.billing.metering.history import begin_use, make_assignment

pytestmark = [pytest.mark.costly, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _lab(settings: Settings, tmp_path: Path) -> None:
    """A demo that begins in the afternoon of the 20th of a February."""
    settings.CLOCK_OFFSET_FILE = str(tmp_path / "offset")
    settings.CLOCK_OFFSET_SECONDS = 0
    begin = datetime(2031, 2, 20, 15, 30, tzinfo=UTC)
    settings.CLOCK_OFFSET_SECONDS = int((begin - clock.now()).total_seconds())


@pytest.fixture
def used() -> Assignment:
    """A pair in use since that day's noon."""
    assignment = make_assignment()
    begin_use(assignment, datetime(2031, 2, 20, 12, 0, tzinfo=UTC))
    Assignment.objects.filter(pk=assignment.pk).update(status=AssignmentStatus.ACTIVE, wish=Wish.ENABLED)
    return assignment


def test_months_pass_day_by_day_and_each_is_stated_once(used: Assignment) -> None:
    BillingAccount.objects.create(team=used.app.team, budget_cents=2500)
    days = list(passing.months_pass(2))
    assert max(later.now - day.now for day, later in pairwise(days)) < timedelta(days=1, minutes=5)
    assert clock.now() >= datetime(2031, 4, 2, 0, 10, tzinfo=UTC)
    february, march = Statement.objects.order_by("month")
    # Two slots, 8.5 days of 24 hours, at 0.01860119 an hour.
    assert (february.total_cents, march.total_cents) == (758, 2500)
    assert UsageRecord.objects.filter(hour__lt=datetime(2031, 3, 1, tzinfo=UTC)).count() == 2 * (8 * 24 + 12)
    # What fell due on a day was done on that day.
    assert 20 <= Notice.objects.get(kind="budget", subject__contains="80").created_at.day <= 24
    news = [line for day in days for line in day.news]
    assert [line for line in news if "$25.00 for March 2031" in line]
    assert list(passing.months_pass(1))[-1].now >= datetime(2031, 5, 2, 0, 10, tzinfo=UTC)
    assert Statement.objects.count() == 3


def test_days_pass(used: Assignment) -> None:
    before = clock.now()
    assert len(list(passing.days_pass(3))) == 3
    assert timedelta(days=3) <= clock.now() - before < timedelta(days=3, minutes=1)


def test_nothing_passes_while_a_pair_is_set_up(used: Assignment, tmp_path: Path) -> None:
    Assignment.objects.update(status=AssignmentStatus.PROVISIONING)
    with pytest.raises(StackError, match=f"Wait until {used.app} is enabled or released"):
        list(passing.days_pass(1))
    assert not tmp_path.joinpath("offset").exists()


@pytest.mark.parametrize("number", ["0", "-1", "367", "soon"])
def test_only_a_number_of_days_can_pass(number: str) -> None:
    before = clock.offset()
    with pytest.raises(CommandError):
        call_command("lab", "pass-days", number)
    assert clock.offset() == before


def test_without_a_demo_the_time_is_left_alone(settings: Settings) -> None:
    settings.CLOCK_OFFSET_FILE = ""
    with pytest.raises(CommandError, match=r"Only a running demo's time can be moved: start \./dev demo first"):
        call_command("lab", "pass-months", "1")


def test_of_two_who_let_time_pass_one_is_refused(used: Assignment) -> None:
    first = passing.days_pass(2)
    next(first)
    with pytest.raises(StackError, match="Time is passing already"):
        next(passing.days_pass(1))
    assert len(list(first)) == 1
    assert len(list(passing.days_pass(1))) == 1
