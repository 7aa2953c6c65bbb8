"""Statements become invoices at Stripe: by stripe-python over HTTP, with the stand-in as a process of its own."""

import threading
from collections.abc import Callable

import pytest
from django.db import connections
from pytest_django import Settings

from billing import tasks
from billing.collecting import (
    Urls,
    account_of,
    calls,
    collect,
    customers,
    details_change,
    invoicing,
    mirror,
    portal_session,
    setup_session,
)
from billing.collecting.errors import NotSetUp, Refused
from billing.collecting.seen import SeenInvoice
from billing.models import Invoice, InvoiceStatus, Movement
from egress.control import installation
from tests.integration.billing.dying import in_processes
from tests.integration.control.processes import wait_for

from .killed import watch_all
from .rows import FAILS_LATER, GOOD, check_collected, make_due, make_payer, make_statement
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


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_make_one_invoice_each(stripe_side: StripeSide) -> None:
    statements = [make_statement(make_payer(name=f"Team {number}"), 100, 200) for number in range(3)]
    stripe_side.fault("slow", delay_seconds=0.05, left=100)
    assert [ended.error for ended in in_processes(tasks.collect, count=2, watch=watch_all)] == ["", ""]
    for statement in statements:
        check_collected(stripe_side, statement)


@pytest.mark.django_db(transaction=True)
def test_an_invoice_at_which_stripe_hangs_holds_up_no_other(stripe_side: StripeSide, settings: Settings) -> None:
    settings.STRIPE_AT_ONCE = 4
    hangs, *others = (make_statement(make_payer(name=f"Team {number}"), 100, 200) for number in range(6))
    for statement in (hangs, *others):
        customers.known(account_of(statement.team))
    customer = account_of(hangs.team).stripe_customer
    # Until faults are cleared.
    stripe_side.fault("slow", "invoices.create", customer=customer, delay_seconds=600)
    sweep = threading.Thread(target=in_thread, args=(tasks.collect,))
    sweep.start()
    try:
        finalized = Invoice.objects.exclude(finalized_at=None)
        wait_for(lambda: finalized.count() == len(others), "the other invoices")
    finally:
        stripe_side.control("DELETE", "faults")
        sweep.join()
    for statement in (hangs, *others):
        check_collected(stripe_side, statement)


@pytest.mark.django_db(transaction=True)
def test_when_stripe_is_away_each_thread_asks_once_and_the_next_sweep_goes_on(
    stripe_side: StripeSide, settings: Settings
) -> None:
    settings.STRIPE_AT_ONCE = 2
    statements = [make_statement(make_payer(name=f"Team {number}"), 100) for number in range(5)]
    stripe_side.away()
    tasks.collect()
    assert 1 <= Invoice.objects.filter(attempts=1).count() <= 2
    stripe_side.away(is_away=False)
    make_due()
    tasks.collect()
    for statement in statements:
        check_collected(stripe_side, statement)


def in_thread(task: Callable[[], None]) -> None:
    try:
        task()
    finally:
        connections.close_all()


def test_refunds_credit_notes_and_disputes_are_mirrored_as_they_stand(stripe_side: StripeSide) -> None:
    team = make_payer(stripe_side, card=GOOD)
    invoice = collect(make_statement(team, 1_000))
    stripe_side.forward(hours=2)
    mirror.refresh(invoice)
    intent = Movement.objects.get(invoice=invoice).payment_intent
    stripe_side.client.v1.refunds.create({"payment_intent": intent, "amount": 300, "reason": "requested_by_customer"})
    stripe_side.client.v1.credit_notes.create({"invoice": invoice.stripe_id, "amount": 200, "credit_amount": 200})
    for _ in range(2):
        mirror.refresh(invoice)
        shown = {(each.kind, each.cents, each.status) for each in Movement.objects.filter(invoice=invoice)}
        assert shown == {("payment", 1_000, "paid"), ("refund", 300, "succeeded"), ("credit_note", 200, "issued")}
    assert (invoice.credited_cents, invoice.status) == (200, InvoiceStatus.PAID)


def test_of_two_looks_at_once_the_older_one_writes_nothing(
    stripe_side: StripeSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice = collect(make_statement(make_payer(stripe_side, card=GOOD), 1_000))
    stripe_side.forward(hours=2)
    see, slow = calls.invoice_see, [True]

    def see_while_another_looks(stripe_id: str) -> SeenInvoice:
        seen = see(stripe_id)
        if slow and slow.pop():
            # Credited, and seen by another, before this one writes.
            stripe_side.client.v1.credit_notes.create({"invoice": stripe_id, "amount": 200, "credit_amount": 200})
            mirror.refresh(Invoice.objects.get())
        return seen

    monkeypatch.setattr(calls, "invoice_see", see_while_another_looks)
    mirror.refresh(invoice)
    assert Invoice.objects.get().credited_cents == 200


def test_two_pages_of_stripes_are_opened_for_a_team(stripe_side: StripeSide) -> None:
    team = make_payer()
    setup = setup_session(team, Urls("https://portal.example/ok", "https://portal.example/no"))
    assert setup.startswith(stripe_side.url)
    assert portal_session(team, "https://portal.example/").startswith(stripe_side.url)


def test_details_that_stripe_refuses_are_not_kept(stripe_side: StripeSide) -> None:
    team = make_payer(stripe_side, card=GOOD, name="Before")
    stripe_side.fault("refused", "tax_ids.create", code="tax_id_invalid", message="Invalid value for eu_vat.")
    with pytest.raises(Refused, match="Invalid value for eu_vat") as refused:
        details_change(team, name="After", tax_ids=[{"type": "eu_vat", "value": "DE1"}])
    assert refused.value.reason == "tax_id_invalid"
    account = account_of(team)
    assert account.name == "Before"
    # What Stripe took before it refused is set back before anything else is asked of it.
    assert stripe_side.client.v1.customers.retrieve(account.stripe_customer).name == "After"
    customers.known(account)
    assert stripe_side.client.v1.customers.retrieve(account.stripe_customer).name == "Before"
    details_change(team, name="After", email="billing@example.com", po_number="PO-1")
    seen = stripe_side.client.v1.customers.retrieve(account_of(team).stripe_customer)
    assert (seen.name, seen.email) == ("After", "billing@example.com")


def test_without_a_key_nothing_is_asked_and_rows_stay_as_they_are(settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY = ""
    statement = make_statement(make_payer(), 100)
    invoicing.sweep()
    assert not Invoice.objects.exists()
    with pytest.raises(NotSetUp):
        setup_session(statement.team, ("https://portal.example/ok", "https://portal.example/no"))


def test_an_installation_that_stands_still_collects_nothing(stripe_side: StripeSide) -> None:
    make_statement(make_payer(), 100)
    installation.hold(reason="a backup was restored", actor=None)
    tasks.collect()
    tasks.remind()
    assert not Invoice.objects.exists()
