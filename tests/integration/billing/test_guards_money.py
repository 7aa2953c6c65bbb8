"""Spend limits and budgets: what is refused, what is told, how often; whoever dies or looks at once."""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import Settings

from billing.guards.budgets import look
from billing.guards.errors import SpendLimitReached
from billing.guards.limits import limits_change
from billing.models import BillingAccount, BudgetLook, Notice, NoticeMail
from egress.control import installation
from egress.control.models import App, Assignment, Wish
from egress.control.services import egress_disable, egress_enable
from portal.accounts.models import Membership, Role, Team, User
from tests.factories import make_app, make_cluster, make_team, make_user
from tests.integration.billing.dying import in_processes
from tests.integration.billing.statements.rows import book, go_to, make_assignment, make_price

pytestmark = pytest.mark.django_db
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def owner() -> User:
    return make_user()


@pytest.fixture
def team(owner: User) -> Team:
    return make_team(owner, role=Role.OWNER)


@pytest.fixture(autouse=True)
def price(db: None) -> None:
    """An app's hour costs 2 cents, its month 13.44 at most."""
    make_price("0.01")


def app_in(team: Team) -> App:
    return make_app(team, make_cluster())


# --- spend limit -----------------------------------------------------------------------------------------------------


def test_what_would_take_the_month_beyond_the_limit_is_refused(team: Team, owner: User, settings: Settings) -> None:
    go_to(settings, JUNE + 20 * DAY)
    limits_change(team=team, budget_cents=None, spend_limit_cents=479)
    # Ten days of two gateways: 480 hours of a cent.
    with pytest.raises(SpendLimitReached) as refused:
        egress_enable(app=app_in(team), actor=owner)
    assert "is $4.79 a month" in str(refused.value)
    assert "expected to come to $0.00 by the end of June" in str(refused.value)
    assert "would add up to $4.80" in str(refused.value)
    assert not Assignment.objects.exists()
    limits_change(team=team, budget_cents=None, spend_limit_cents=480)
    egress_enable(app=app_in(team), actor=owner)


def test_what_runs_and_what_is_to_come_counts(team: Team, owner: User, settings: Settings) -> None:
    go_to(settings, JUNE + 20 * DAY)
    runs = make_assignment(app=app_in(team))
    book(runs, JUNE + 19 * DAY, 24)
    # It came to 48 cents and goes on for 480; another adds 480, and so would a third.
    limits_change(team=team, budget_cents=None, spend_limit_cents=1100)
    egress_enable(app=app_in(team), actor=owner)
    with pytest.raises(SpendLimitReached):
        egress_enable(app=app_in(team), actor=owner)
    # Nothing that runs was touched.
    assert set(Assignment.objects.values_list("wish", flat=True)) == {Wish.ENABLED}
    egress_disable(app=runs.app, actor=owner)
    egress_enable(app=app_in(team), actor=owner)


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_no_more_than_the_limit_come_through(team: Team, owner: User, settings: Settings) -> None:
    go_to(settings, JUNE + 20 * DAY)
    # Else the quota's lock would do.
    settings.BILLING_QUOTA = 0
    limits_change(team=team, budget_cents=None, spend_limit_cents=1000)
    apps = [app_in(team) for _ in range(8)]

    def enable_all() -> None:
        first = os.getpid() % len(apps)
        for app in (*apps[first:], *apps[:first]):
            with suppress(SpendLimitReached):
                egress_enable(app=app, actor=owner)

    assert [ended.error for ended in in_processes(enable_all, count=4)] == [""] * 4
    assert Assignment.objects.count() == 2


def test_without_a_limit_nothing_is_refused(team: Team, owner: User) -> None:
    limits_change(team=team, budget_cents=1, spend_limit_cents=None)
    egress_enable(app=app_in(team), actor=owner)


# --- budgets ---------------------------------------------------------------------------------------------------------


def told() -> list[tuple[str, str]]:
    return [(notice.key, notice.subject) for notice in Notice.objects.filter(kind="budget").order_by("pk")]


def levels() -> list[int]:
    return [int(key.rpartition(":")[2]) for key, _ in told()]


def test_each_level_is_told_once_a_month_however_often_it_is_looked(
    team: Team, owner: User, settings: Settings
) -> None:
    go_to(settings, JUNE + 10 * DAY)
    limits_change(team=team, budget_cents=100, spend_limit_cents=None)
    used = make_assignment(app=app_in(team))
    seen = []
    # Hours are 2 cents: 48, 50, 78, 80, 98, 100, 148 cents.
    for begin, hours in ((0, 24), (24, 1), (25, 14), (39, 1), (40, 9), (49, 1), (50, 24)):
        book(used, JUNE + timedelta(hours=begin), hours)
        look()
        look()
        seen.append(levels())
    assert seen == [[], [50], [50], [50, 80], [50, 80], [50, 80, 100], [50, 80, 100]]
    assert [mail.user for mail in NoticeMail.objects.all()] == [owner] * 3
    last = Notice.objects.latest("pk")
    assert "has come to $1.00 in June 2026" in last.text
    assert "nothing is switched off" in last.text
    assert last.path == f"/teams/{team.slug}/billing/"

    go_to(settings, JUNE + 40 * DAY)
    book(used, JUNE + 30 * DAY, 30)
    look()
    assert levels() == [50, 80, 100, 50]


def test_of_several_levels_at_once_the_highest_is_told_alone(team: Team, settings: Settings) -> None:
    go_to(settings, JUNE + 10 * DAY)
    limits_change(team=team, budget_cents=50, spend_limit_cents=None)
    book(make_assignment(app=app_in(team)), JUNE, 48)
    look()
    assert levels() == [100]


def test_a_budget_that_is_changed_is_told_of_anew(team: Team, settings: Settings) -> None:
    go_to(settings, JUNE + 10 * DAY)
    book(make_assignment(app=app_in(team)), JUNE, 48)
    for budget in (90, 150, 90):
        limits_change(team=team, budget_cents=budget, spend_limit_cents=None)
        look()
    assert levels() == [100, 50]


def test_only_owners_get_the_mail(team: Team, owner: User, settings: Settings) -> None:
    go_to(settings, JUNE + 10 * DAY)
    Membership.objects.create(user=make_user(), team=team, role=Role.VIEWER)
    Membership.objects.create(user=make_user(), team=team, role=Role.MEMBER)
    limits_change(team=team, budget_cents=10, spend_limit_cents=None)
    book(make_assignment(app=app_in(team)), JUNE, 24)
    look()
    assert [mail.user for mail in NoticeMail.objects.all()] == [owner]


def test_nothing_is_told_while_the_installation_stands_still(team: Team, settings: Settings) -> None:
    go_to(settings, JUNE + 10 * DAY)
    limits_change(team=team, budget_cents=10, spend_limit_cents=None)
    book(make_assignment(app=app_in(team)), JUNE, 24)
    installation.hold(reason="a test")
    look()
    assert told() == []
    installation.resume()
    look()
    assert levels() == [100]


def test_a_month_that_cannot_be_rated_holds_up_no_other(team: Team, settings: Settings) -> None:
    go_to(settings, JUNE + 10 * DAY)
    other = make_team(make_user(), role=Role.OWNER)
    for each in (team, other):
        limits_change(team=each, budget_cents=10, spend_limit_cents=None)
        book(make_assignment(app=app_in(each)), JUNE, 24)
    # No price in this currency.
    BillingAccount.objects.filter(team=team).update(currency="EUR")
    look()
    assert [notice.team for notice in Notice.objects.all()] == [other]
    assert BudgetLook.objects.count() == 2


def test_each_budget_has_its_turn(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.guards.budgets.BATCH", 1)
    go_to(settings, JUNE + 10 * DAY)
    for _ in range(3):
        each = make_team(make_user(), role=Role.OWNER)
        limits_change(team=each, budget_cents=10, spend_limit_cents=None)
        book(make_assignment(app=app_in(each)), JUNE, 24)
    for number in range(1, 4):
        look()
        assert Notice.objects.count() == number


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(240)
def test_a_worker_killed_at_any_commit_costs_no_mail_and_doubles_none(team: Team, settings: Settings) -> None:
    go_to(settings, JUNE + 10 * DAY)
    limits_change(team=team, budget_cents=10, spend_limit_cents=None)
    book(make_assignment(app=app_in(team)), JUNE, 24)
    # Standing still is asked about, which makes its row in a new database.
    installation.why_still()
    [whole] = in_processes(look)
    # The notice with its mails, and the note that it was looked at.
    assert (whole.error, len(whole.passed)) == ("", 2)
    for number in (1, 2):
        for when in ("before", "after"):
            Notice.objects.all().delete()
            BudgetLook.objects.all().delete()
            assert in_processes(look, die_at=number, when=when)[0].killed
            for _ in range(2):
                assert in_processes(look)[0].error == ""
            assert levels() == [100]
            assert NoticeMail.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_several_that_look_at_once_one_tells(team: Team, settings: Settings) -> None:
    go_to(settings, JUNE + 10 * DAY)
    limits_change(team=team, budget_cents=10, spend_limit_cents=None)
    book(make_assignment(app=app_in(team)), JUNE, 24)
    assert [ended.error for ended in in_processes(look, count=4)] == [""] * 4
    assert levels() == [100]
    assert NoticeMail.objects.count() == 1
