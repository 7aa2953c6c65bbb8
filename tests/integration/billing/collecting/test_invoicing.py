"""Statements become invoices at Stripe: by stripe-python over HTTP, with the stand-in as a process of its own."""

import pytest

from billing.collecting import account_of, collect, invoicing
from billing.models import Invoice, InvoiceStatus, Movement

from .rows import FAILS_LATER, GOOD, check_collected, make_payer, make_statement
from .stripe_side import StripeSide

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(240)]


def test_a_statement_becomes_one_paid_invoice(stripe_side: StripeSide) -> None:
    team = make_payer(
        stripe_side,
        card=GOOD,
        name="Example GmbH",
        address={"line1": "Street 1", "city": "Berlin", "postal_code": "10115", "country": "DE"},
        tax_ids=[{"type": "eu_vat", "value": "DE123456789"}],
        po_number="PO-77",
    )
    statement = make_statement(team, 1250, 1250, -500)
    collect(statement)
    stripe_side.forward(hours=2)
    for _ in range(2):
        Invoice.objects.update(due_at=Invoice.objects.get().created_at)
        invoicing.sweep()
    check_collected(stripe_side, statement)
    invoice = Invoice.objects.get(statement=statement)
    assert invoice.status == InvoiceStatus.PAID
    assert (invoice.due_cents, invoice.paid_cents, invoice.tries) == (2000, 2000, 1)
    assert invoice.hosted_url
    assert [(each.kind, each.cents, each.status) for each in Movement.objects.all()] == [("payment", 2000, "paid")]
    account = account_of(team)
    assert account.first_paid_at
    assert (account.payment_brand, account.payment_last4) == ("visa", "4242")
    seen = stripe_side.client.v1.invoices.retrieve(invoice.stripe_id)
    assert [(each.name, each.value) for each in seen.custom_fields or []] == [("PO number", "PO-77")]
    assert [each.value for each in seen.customer_tax_ids or []] == ["DE123456789"]
    assert seen.customer_address
    assert seen.customer_address.city == "Berlin"


def test_a_declined_card_leaves_an_open_invoice(stripe_side: StripeSide) -> None:
    team = make_payer(stripe_side, card=FAILS_LATER)
    invoice = collect(make_statement(team, 700))
    stripe_side.forward(hours=2)
    Invoice.objects.update(due_at=invoice.created_at)
    invoicing.sweep()
    invoice.refresh_from_db()
    assert (invoice.status, invoice.paid_cents) == (InvoiceStatus.OPEN, 0)
    assert invoice.failed_at
    assert account_of(team).first_paid_at is None
