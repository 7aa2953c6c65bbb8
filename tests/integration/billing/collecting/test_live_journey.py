"""A statement is invoiced, paid, declined, paid after all: against the stand-in, by `./dev test-live` against Stripe.

Cards come by Stripe's ready-made test methods, since no test may fill in Stripe's own pages.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import date

import pytest
from pytest_django import Settings

from billing.collecting import (
    account_of,
    calls,
    collect,
    customers,
    door,
    method_refresh,
    mirror,
    paying,
    setup_session,
)
from billing.collecting.errors import Refused
from billing.models import Invoice, InvoiceStatus, Statement
from portal.accounts.models import Team
from tests.live import LIVE

from .rows import make_payer, make_statement

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def stripe_itself_or_its_stand_in(request: pytest.FixtureRequest, settings: Settings) -> None:
    if LIVE in os.environ:
        settings.STRIPE_SECRET_KEY = os.environ["STRIPE_SECRET_KEY"]
        settings.STRIPE_API_URL = ""
    else:
        request.getfixturevalue("stripe_side")


@pytest.fixture
def team(stripe_itself_or_its_stand_in: None) -> Iterator[Team]:
    team = make_payer(name="Sluicegate's tests", address={"line1": "Street 1", "city": "Berlin", "country": "DE"})
    yield team
    if customer := account_of(team).stripe_customer:
        with door.asking(writes=True) as stripe:
            stripe.v1.customers.delete(customer)


def give_card(team: Team, name: str) -> None:
    customer = customers.known(account_of(team))
    with door.asking(writes=True) as stripe:
        method = stripe.v1.payment_methods.attach(name, {"customer": customer})
    calls.method_prefer(customer, method.id)
    method_refresh(team)


def bring(statement: Statement) -> Invoice:
    """Collect, and have the money taken now: Stripe itself may take it as late as in an hour."""
    invoice = collect(statement)
    with suppress(Refused):  # declined, or taken already
        calls.invoice_pay(invoice.stripe_id, f"{invoice.pk}-now")
    return mirror.refresh(invoice)


def items(invoice: Invoice) -> dict[str, int]:
    with door.asking() as stripe:
        lines = stripe.v1.invoices.line_items.list(invoice.stripe_id, {"limit": 100}).data
    return {str(line.metadata["line"]): line.amount for line in lines}


def test_a_statement_is_paid_the_next_declined_and_paid_with_another_card(team: Team) -> None:
    assert setup_session(team, ("https://portal.example/ok", "https://portal.example/no")).startswith("http")
    give_card(team, "pm_card_visa")
    assert account_of(team).payment_last4 == "4242"

    statement = make_statement(team, 1250, 701, -151)
    paid = bring(statement)
    assert (paid.status, paid.paid_cents, paid.due_cents) == (InvoiceStatus.PAID, 1800, 1800)
    assert items(paid) == {str(line.pk): line.cents for line in statement.lines.all()}

    give_card(team, "pm_card_chargeCustomerFail")
    failed = bring(make_statement(team, 2500, month=date(2026, 11, 1)))
    assert (failed.status, failed.paid_cents) == (InvoiceStatus.OPEN, 0)
    assert failed.failed_at

    give_card(team, "pm_card_mastercard")
    paying.pay_failed(account_of(team))
    failed.refresh_from_db()
    assert (failed.status, failed.paid_cents) == (InvoiceStatus.PAID, 2500)
