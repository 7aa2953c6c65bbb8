"""A team that leaves gets a final invoice, and then its card is forgotten."""

from datetime import date

import pytest
from pytest_django import Settings

from billing import tasks
from billing.collecting import account_of, close_account, closing, collect
from billing.models import Invoice, InvoiceStatus, Refusal
from egress.control import clock
from egress.control.errors import NotAllowed
from egress.control.models import Assignment, AssignmentStatus, Wish
from egress.control.services import egress_enable
from tests.factories import make_app, make_user

from .rows import GOOD, make_due, make_payer, make_statement
from .stripe_side import StripeSide

pytestmark = [pytest.mark.django_db, pytest.mark.costly, pytest.mark.timeout(240)]


def test_closing_disables_bills_the_last_month_and_forgets_the_card(
    stripe_side: StripeSide, settings: Settings
) -> None:
    team = make_payer(stripe_side, card=GOOD)
    actor = team.members.get()
    egress_enable(app=make_app(team), actor=actor)
    for _ in range(2):
        account = close_account(team, actor=actor)
    assert account.closed_at
    assert not Assignment.objects.filter(wish=Wish.ENABLED).exists()
    month: date = account.closed_at.date().replace(day=1)
    invoice = collect(make_statement(team, 900, month=month))
    assert invoice.is_final
    stripe_side.forward(hours=2)
    for _ in range(2):
        make_due()
        tasks.collect()
    assert Invoice.objects.get().status == InvoiceStatus.PAID
    # Neither while addresses are being released, nor before late statements.
    settings.CLOCK_OFFSET_SECONDS = 40 * 86_400
    tasks.collect()
    assert account_of(team).payment_last4 == "4242"
    Assignment.objects.update(status=AssignmentStatus.RELEASED)
    settings.CLOCK_OFFSET_SECONDS = 0
    tasks.collect()
    assert account_of(team).payment_last4 == "4242"
    settings.CLOCK_OFFSET_SECONDS = 40 * 86_400
    for _ in range(2):
        tasks.collect()
    assert (account_of(team).payment_method, account_of(team).settled_at is None) == ("", False)
    assert not stripe_side.client.v1.customers.payment_methods.list(account.stripe_customer).data
    assert not Refusal.objects.exists()


def test_money_that_is_left_is_paid_back_by_a_person(stripe_side: StripeSide, settings: Settings) -> None:
    team = make_payer()
    account = close_account(team, actor=team.members.get())
    assert account.closed_at
    collect(make_statement(team, -700, month=account.closed_at.date().replace(day=1)))
    settings.CLOCK_OFFSET_SECONDS = 40 * 86_400
    for _ in range(2):
        closing.sweep()
    refusal = Refusal.objects.get()
    assert (refusal.code, refusal.account) == ("money_left", account)
    assert "700 cents" in refusal.message


def test_a_stranger_closes_nothing(stripe_side: StripeSide, settings: Settings) -> None:
    settings.BILLING_PAYMENT_METHOD_NEEDED = False
    team = make_payer()
    egress_enable(app=make_app(team), actor=team.members.get())
    with pytest.raises(NotAllowed):
        close_account(team, actor=make_user())
    assert account_of(team).closed_at is None
    assert clock.now()


def test_one_that_stripe_refuses_is_an_operators_and_holds_up_no_other(
    stripe_side: StripeSide, settings: Settings
) -> None:
    teams = [make_payer(stripe_side, card=GOOD) for _ in range(2)]
    for team in teams:
        close_account(team, actor=team.members.get())
    # Behind our back, by hand.
    stripe_side.client.v1.customers.delete(account_of(teams[0]).stripe_customer)
    settings.CLOCK_OFFSET_SECONDS = 40 * 86_400
    for _ in range(2):
        closing.sweep()
    assert [account_of(team).settled_at is None for team in teams] == [False, False]
    assert account_of(teams[1]).payment_method == ""
    refusal = Refusal.objects.get()
    assert (refusal.step, refusal.account) == ("account.close", account_of(teams[0]))
    assert "See to its cards" in refusal.message
