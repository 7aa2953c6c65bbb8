"""How far closing is behind, as an alarm sees it: also where it never began, and so left no row to count."""

from datetime import timedelta

import pytest
from pytest_django import Settings

from billing import metrics
from billing.metering.close import close_hours
from billing.models import BillingAccount, MonthClose, Price
from billing.statements.close import close_months
from egress.wire.exposition import PLAIN, Metric
from tests.factories import make_team
from tests.integration.billing.metering.history import begin_use
from tests.integration.billing.statements.rows import FEBRUARY, JANUARY, book, go_to, make_assignment

pytestmark = [pytest.mark.django_db]
HOUR = timedelta(hours=1)
#: Tests' clocks go on by themselves.
SOON = 120


def shown(metric: Metric, key: str = "") -> float:
    return metrics.page()[metric][(key,) if key else PLAIN]


def test_nothing_is_behind_before_anything_was_used() -> None:
    assert (shown(metrics.UNMETERED), shown(metrics.UNCLOSED)) == (0, 0)


def test_hours_that_nobody_closes_are_counted_from_the_first_event_on(settings: Settings) -> None:
    go_to(settings, JANUARY + 5 * HOUR + timedelta(minutes=10))
    begin_use(make_assignment(make_team()), JANUARY + timedelta(minutes=20))
    # Metering never ran: the first hour ended four hours ago.
    assert 4 * 3600 + 600 <= shown(metrics.UNMETERED) < 4 * 3600 + 600 + SOON
    close_hours()
    assert shown(metrics.UNMETERED) == 0
    go_to(settings, JANUARY + 9 * HOUR)
    assert 3 * 3600 <= shown(metrics.UNMETERED) < 3 * 3600 + SOON


def test_a_month_whose_closing_never_began_is_behind_from_its_holds_end(settings: Settings) -> None:
    book(make_assignment(make_team()), JANUARY, 10)
    go_to(settings, FEBRUARY + 23 * HOUR)
    assert shown(metrics.UNCLOSED) == 0
    go_to(settings, FEBRUARY + 31 * HOUR)
    assert not MonthClose.objects.exists()
    assert 7 * 3600 <= shown(metrics.UNCLOSED) < 7 * 3600 + SOON
    close_months()
    assert shown(metrics.UNCLOSED) == 0


def test_one_team_without_a_price_holds_the_month_open_and_is_counted(settings: Settings) -> None:
    poor, rich = make_assignment(make_team()), make_assignment(make_team())
    BillingAccount.objects.create(team=poor.app.team, currency="EUR")
    for each in (poor, rich):
        book(each, JANUARY, 10)
    go_to(settings, FEBRUARY + 31 * HOUR)
    close_months()
    assert shown(metrics.CONCERNS, "unresolved") == 1
    assert shown(metrics.UNCLOSED) >= 7 * 3600
    Price.objects.create(currency="EUR", per_slot_hour="0.02", starts_at=JANUARY)
    close_months()
    assert (shown(metrics.CONCERNS, "unresolved"), shown(metrics.UNCLOSED)) == (0, 0)
