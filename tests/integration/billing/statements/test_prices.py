"""Prices, terms and credits: what is in force when, and what operators may change of it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from billing.models import BillingAccount, Credit, Price, Terms
from billing.models.append_only import AppendOnlyError
from billing.rating.errors import (
    CreditInvalid,
    CurrencyUnknown,
    PeriodOverlaps,
    PeriodPast,
    PriceInvalid,
    RatingError,
    TermsInvalid,
)
from billing.rating.prices import EVER, price_at
from billing.rating.services import credit_grant, price_end, price_set, price_withdraw, terms_set
from billing.statements.close import close_month
from egress.control.models import Event
from portal.accounts.models import Role, User
from tests.factories import make_app, make_cluster, make_team, make_user
from tests.integration.billing.statements.rows import FEBRUARY, JANUARY, at, book, go_to, make_assignment, make_price

pytestmark = [pytest.mark.costly, pytest.mark.django_db]
NOW = at(10)
SOON, LATER = at(15), at(20)


@pytest.fixture(autouse=True)
def _now(settings: Settings) -> None:
    go_to(settings, NOW)


@pytest.fixture
def actor() -> User:
    return make_user()


def set_price(amount: str = "0.05", starts_at: Any = SOON, **fields: Any) -> Price:
    return price_set(
        per_slot_hour=Decimal(amount), starts_at=starts_at, **{"reason": "dearer", "actor": None, **fields}
    )


def periods(**of: Any) -> list[tuple[str, Any, Any]]:
    rows = Price.objects.filter(**of).order_by("starts_at")
    return [(str(row.per_slot_hour.normalize()), row.starts_at, row.ends_at) for row in rows]


# --- which price ------------------------------------------------------------------------------------------------------


def test_without_any_row_the_settings_price_holds_in_its_currency_only() -> None:
    cluster = make_cluster()
    price = price_at(cluster, "USD", NOW)
    assert price is not None
    assert (price.pk, price.per_slot_hour, price.cap_hours) == (None, Decimal("0.01860119"), 672)
    assert price_at(cluster, "EUR", NOW) is None


def test_a_clusters_own_price_counts_before_that_of_all() -> None:
    cluster, other = make_cluster(), make_cluster()
    make_price("0.02")
    make_price("0.07", SOON, cluster=cluster, ends_at=LATER)
    amounts = [price_at(where, "USD", when) for where in (cluster, other) for when in (NOW, SOON, LATER)]
    assert [price and price.per_slot_hour for price in amounts] == list(
        map(Decimal, ["0.02", "0.07", "0.02", "0.02", "0.02", "0.02"])
    )


def test_a_price_holds_from_its_first_second_to_the_one_before_its_end() -> None:
    cluster, second = make_cluster(), timedelta(seconds=1)
    make_price("0.02", ends_at=SOON)
    make_price("0.03", SOON)
    found = [price_at(cluster, "USD", when) for when in (SOON - second, SOON, SOON + second)]
    assert [price and str(price.per_slot_hour) for price in found] == ["0.02000000", "0.03000000", "0.03000000"]


# --- setting one ------------------------------------------------------------------------------------------------------


def test_setting_a_price_ends_the_one_before_and_keeps_it(actor: User) -> None:
    first = set_price("0.05", SOON, actor=actor)
    set_price("0.06", LATER, actor=actor, included_gib=500, per_gib=Decimal("0.01"))
    assert periods() == [("0.01860119", EVER, SOON), ("0.05", SOON, LATER), ("0.06", LATER, None)]
    assert (first.reason, first.created_by) == ("dearer", actor)
    event = Event.objects.filter(subject="price.set").latest("id")
    assert (event.actor, event.old, event.new) == (actor, "0.05000000", "0.06")
    assert "dearer" in event.reason


def test_a_cluster_gets_a_price_of_its_own_for_a_while() -> None:
    cluster = make_cluster()
    set_price("0.05", SOON, cluster=cluster, ends_at=LATER)
    assert periods(cluster=cluster) == [("0.05", SOON, LATER)]
    assert Event.objects.get(subject="price.set").cluster == cluster


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"amount": "-0.01"}, PriceInvalid),
        ({"amount": "0.000000001"}, PriceInvalid),
        ({"amount": "1000000"}, PriceInvalid),
        ({"amount": "NaN"}, PriceInvalid),
        ({"per_gib": Decimal(-1)}, PriceInvalid),
        ({"included_gib": -1}, PriceInvalid),
        ({"cap_hours": -1}, PriceInvalid),
        ({"ends_at": SOON}, PriceInvalid),
        ({"ends_at": at(11)}, PriceInvalid),
        ({"reason": " "}, RatingError),
        ({"currency": "XXX"}, CurrencyUnknown),
        ({"currency": "usd"}, CurrencyUnknown),
        ({"currency": "JPY"}, CurrencyUnknown),
        ({"starts_at": NOW - timedelta(hours=1)}, PeriodPast),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_written(fields: dict[str, Any], error: type[RatingError]) -> None:
    with pytest.raises(error):
        set_price(**fields)
    assert not Price.objects.exists()
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("begin", "end"),
    [(at(15), None), (at(14), None), (at(14), at(16)), (at(17), at(18)), (at(17), at(21)), (at(25), at(26))],
)
def test_periods_that_overlap_are_refused(begin: Any, end: Any) -> None:
    set_price("0.05", SOON)
    set_price("0.06", LATER)
    before = periods()
    with pytest.raises(PeriodOverlaps, match=r"0\.0"):
        set_price("0.07", begin, ends_at=end)
    assert periods() == before


def test_the_rest_of_a_period_can_be_taken_over() -> None:
    set_price("0.05", SOON)
    set_price("0.06", LATER)
    set_price("0.07", at(17), ends_at=LATER)
    assert [row[0] for row in periods()] == ["0.01860119", "0.05", "0.07", "0.06"]


def test_another_currency_or_cluster_is_no_overlap() -> None:
    set_price("0.05", SOON)
    set_price("0.05", SOON, currency="EUR")
    set_price("0.05", SOON, cluster=make_cluster())
    assert Price.objects.count() == 4


def test_a_first_price_may_begin_in_the_past_where_nobody_was_told_one() -> None:
    set_price("0.05", JANUARY, currency="EUR")
    with pytest.raises(PeriodPast):
        set_price("0.06", at(2), currency="EUR", cluster=make_cluster())


def test_two_open_prices_are_refused_by_the_database_too() -> None:
    for cluster in (None, make_cluster()):
        make_price(cluster=cluster)
        with pytest.raises(IntegrityError), transaction.atomic():
            make_price(starts_at=NOW, cluster=cluster)


def test_a_clusters_price_is_ended_and_that_of_all_holds_again(actor: User) -> None:
    cluster = make_cluster()
    price = set_price("0.05", SOON, cluster=cluster)
    price_end(price=price, at=LATER, reason="fair", actor=actor)
    assert periods(cluster=cluster) == [("0.05", SOON, LATER)]
    with pytest.raises(PeriodPast):
        price_end(price=price, at=NOW - timedelta(seconds=5), reason="fair", actor=actor)
    with pytest.raises(PriceInvalid):
        price_end(price=price, at=at(25), reason="fair", actor=actor)


def test_a_price_that_has_not_begun_is_withdrawn_and_the_one_before_goes_on(settings: Settings, actor: User) -> None:
    price = set_price("0.05", SOON)
    price_withdraw(price=price, reason="a typo", actor=actor)
    assert periods() == [("0.01860119", EVER, None)]
    assert "a typo" in Event.objects.get(subject="price.withdraw").reason
    price = set_price("0.05", SOON)
    go_to(settings, SOON)
    with pytest.raises(PeriodPast):
        price_withdraw(price=price, reason="too late", actor=actor)


# --- terms and credits ------------------------------------------------------------------------------------------------


def test_terms_follow_on_each_other(actor: User) -> None:
    team = make_team()
    terms_set(team=team, starts_at=JANUARY, discount_percent=Decimal("12.5"), reason="friend", actor=actor)
    terms_set(team=team, starts_at=SOON, free_slot_hours=10, reason="less", actor=actor)
    rows = Terms.objects.filter(team=team)
    assert [(row.discount_percent, row.free_slot_hours, row.starts_at, row.ends_at) for row in rows] == [
        (Decimal("12.50"), 0, JANUARY, SOON), (Decimal(0), 10, SOON, None),
    ]  # fmt: skip
    with pytest.raises(PeriodOverlaps):
        terms_set(team=team, starts_at=SOON, reason="again", actor=actor)


@pytest.mark.parametrize(
    "fields",
    [{"discount_percent": Decimal("100.01")}, {"discount_percent": Decimal(-1)}, {"discount_percent": Decimal("0.001")},
     {"free_slot_hours": -1}, {"ends_at": SOON}],
)  # fmt: skip
def test_terms_that_can_not_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(TermsInvalid):
        terms_set(team=make_team(), starts_at=SOON, reason="friend", actor=None, **fields)


def test_terms_never_change_a_month_that_was_stated(settings: Settings) -> None:
    assignment = make_assignment()
    book(assignment, JANUARY, 1)
    go_to(settings, FEBRUARY + timedelta(days=1))
    close_month(JANUARY.date())
    team = assignment.app.team
    with pytest.raises(PeriodPast):
        terms_set(team=team, starts_at=at(31), reason="friend", actor=None)
    terms_set(team=team, starts_at=FEBRUARY, reason="friend", actor=None)


def test_a_credit_is_granted_and_never_changes(actor: User) -> None:
    credit = credit_grant(team=make_team(), cents=500, reason="outage of 3 May", actor=actor, expires_at=LATER)
    assert (credit.granted_by, credit.reason) == (actor, "outage of 3 May")
    credit.cents = 1
    for act in (credit.save, credit.delete, Credit.objects.all().delete):
        with pytest.raises(AppendOnlyError):
            act()


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"cents": 0}, CreditInvalid), ({"cents": -5}, CreditInvalid), ({"expires_at": NOW}, CreditInvalid),
     ({"currency": "XXX"}, CurrencyUnknown), ({"reason": ""}, RatingError)],
)  # fmt: skip
def test_a_credit_that_can_not_be_is_refused(fields: dict[str, Any], error: type[RatingError]) -> None:
    with pytest.raises(error):
        credit_grant(**{"team": make_team(), "cents": 5, "reason": "sorry", "actor": None, **fields})
    assert not Credit.objects.exists()


# --- the page before enabling -----------------------------------------------------------------------------------------


def test_the_page_before_enabling_shows_the_price_of_the_cluster_and_the_teams_currency(client: Client) -> None:
    user = make_user()
    app = make_app(make_team(user, role=Role.OWNER))
    client.force_login(user)

    def page() -> str:
        return client.get(reverse("web:enable", args=[app.pk])).content.decode()

    assert "$25.00" in page()
    make_price("0.02", cap_hours=100, cluster=app.cluster)
    assert "$4.00" in page()
    BillingAccount.objects.create(team=app.team, currency="EUR")
    assert "no price in your team" in page()
    make_price("0.02", currency="EUR", cap_hours=200)
    assert "EUR 8.00" in page()
    assert "EUR 0.0400" in client.get(reverse("web:app", args=[app.pk])).content.decode()
