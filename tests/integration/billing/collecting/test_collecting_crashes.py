"""A worker that collects is killed by SIGKILL at each commit and each call that changes something at Stripe.

However often, and wherever: one customer, one invoice, with exactly its items.
"""

from datetime import date

import pytest

from billing.models import BillingAccount, Invoice, Statement
from egress.control import installation

from .killed import do
from .rows import check_collected, make_due, make_payer, make_statement
from .stripe_side import StripeSide

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.costly, pytest.mark.timeout(600)]
MOST = 60
#: All that lasts in a run that does everything: what comes new shows here, and is killed at without further ado.
POINTS = [
    "invoicing.open_invoice:commit",
    "invoicing._claim:write",
    "calls.customer_create:post",
    "customers.known:write",
    "calls.customer_describe:post",
    "calls.customer_tax_ids:post",
    "customers.known:write",
    "calls.invoice_create:post",
    "invoicing.note:write",
    "calls.item_create:post",
    "calls.item_create:post",
    "calls.item_create:post",
    "calls.invoice_describe:post",
    "calls.invoice_finalize:post",
    "mirror._keep:commit",
    "invoicing.note:write",
]


def statement_of_a_new_team() -> Statement:
    # Makes its row in a new database.
    installation.why_still()
    team = make_payer(name="Example", tax_ids=[{"type": "eu_vat", "value": "DE123456789"}])
    return make_statement(team, 1250, 730, -80, month=date(2026, 10, 1))


def finish(statement: Statement) -> None:
    make_due(statement=statement)
    done = do("collect")
    assert (done.killed, done.error) == (False, "")


def test_the_points_are_those_that_are_listed(stripe_side: StripeSide) -> None:
    statement = statement_of_a_new_team()
    done = do("collect")
    assert done.error == ""
    check_collected(stripe_side, statement)
    assert done.passed == POINTS


def kill_at_each(stripe_side: StripeSide, when: str) -> None:
    for number in range(1, MOST):
        statement = statement_of_a_new_team()
        done = do("collect", die_at=number, when=when)
        if not done.killed:
            assert number == len(POINTS) + 1
            return
        finish(statement)
        check_collected(stripe_side, statement)
        # Others don't distract the next worker.
        Invoice.objects.update(due_at=None)
    pytest.fail(f"more than {MOST} points")


def test_killed_before_each_point_it_ends_in_one_invoice(stripe_side: StripeSide) -> None:
    kill_at_each(stripe_side, "before")


@pytest.mark.full
def test_killed_after_each_point_it_ends_in_one_invoice(stripe_side: StripeSide) -> None:
    kill_at_each(stripe_side, "after")


@pytest.mark.full
def test_dying_again_and_again_it_ends_in_one_invoice(stripe_side: StripeSide) -> None:
    statement = statement_of_a_new_team()
    for _ in range(3 * len(POINTS)):
        make_due()
        # The first is its claim: it gets on by one thing each time.
        if not do("collect", die_at=2, when="after").killed:
            break
    finish(statement)
    check_collected(stripe_side, statement)
    assert BillingAccount.objects.get().stripe_customer
