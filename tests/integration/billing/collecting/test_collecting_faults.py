"""Stripe fails in every way that it can: nothing is lost, nothing doubled, and what needs a person is on the list."""

from datetime import date
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from billing.collecting import account_of, calls, collect, customers, door, invoicing, refusals
from billing.collecting.errors import NotDecidable, StripeUnavailable
from billing.collecting.pauses import MAX_ATTEMPTS, pause_after
from billing.collecting.seen import SeenInvoice
from billing.models import BillingAccount, Invoice, InvoiceStatus, Movement, Refusal, Statement
from egress.control import clock
from portal.accounts.models import Team
from tests.factories import make_user

from .rows import GOOD, check_collected, make_due, make_payer, make_statement
from .stripe_side import StripeSide

pytestmark = [pytest.mark.django_db, pytest.mark.costly, pytest.mark.timeout(300)]
WRITES = ("customers.create", "customers.update", "invoices.create", "invoice_items.create", "invoices.update",
          "invoices.finalize")  # fmt: skip


def try_until_collected(stripe_side: StripeSide, statement: Statement) -> int:
    """Return how many sweeps it took; each begins after the pause."""
    for number in range(1, 30):
        invoicing.sweep()
        if Invoice.objects.get(statement=statement).status == InvoiceStatus.OPEN:
            check_collected(stripe_side, statement)
            return number
        make_due(statement=statement)
    pytest.fail(str(vars(Invoice.objects.get(statement=statement))))


@pytest.mark.parametrize("kind", ["dropped", "dropped_before", "failed", "failed_before", "rate_limited"])
def test_each_request_may_fail_once_or_lose_its_answer(stripe_side: StripeSide, kind: str) -> None:
    statement = make_statement(make_payer(name="Example"), 1250, 730, -80)
    for operation in WRITES:
        stripe_side.fault(kind, operation)
    # What was done though its answer was lost isn't asked for again.
    sweeps = try_until_collected(stripe_side, statement)
    assert 1 < sweeps <= 2 * len(WRITES)
    assert not Refusal.objects.exists()
    assert not stripe_side.control("GET", "faults")["waiting"]


def test_an_error_that_stripe_keeps_under_a_key_is_got_over_by_a_new_key(
    stripe_side: StripeSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = customers.known(account_of(make_payer()))
    stripe_side.fault("failed", "invoices.create")
    for replayed in (False, True, True):
        with pytest.raises(StripeUnavailable) as error:
            calls.invoice_create(customer, currency="USD", about={}, key="kept")
        assert error.value.replayed is replayed
    create, keys = calls.invoice_create, list[str]()

    def answer_the_same_for_ever(*args: Any, key: str, **named: Any) -> SeenInvoice:
        keys.append(key)
        if key.endswith("-0"):
            raise StripeUnavailable(replayed=len(keys) > 1)
        return create(*args, key=key, **named)

    monkeypatch.setattr(calls, "invoice_create", answer_the_same_for_ever)
    statement = make_statement(make_payer(), 500)
    assert try_until_collected(stripe_side, statement) == 3
    assert [key[-2:] for key in keys] == ["-0", "-0", "-1"]


def collect_quietly(statement: Statement) -> None:
    with pytest.raises(StripeUnavailable):
        collect(statement)


def test_what_was_made_is_found_after_its_key_has_expired(stripe_side: StripeSide) -> None:
    statement = make_statement(make_payer(), 500, 300)
    for operation in ("invoices.create", "invoice_items.create"):
        stripe_side.fault("dropped", operation)
        invoicing.sweep()
        stripe_side.forward(days=2)
        make_due()
    try_until_collected(stripe_side, statement)


def test_a_customer_that_the_search_does_not_show_yet_is_made_once(stripe_side: StripeSide) -> None:
    stripe_side.control("POST", "settings", search_lag_seconds=600)
    try:
        statement = make_statement(make_payer(), 500)
        stripe_side.fault("dropped", "customers.create")
        invoicing.sweep()
        make_due()
        stripe_side.fault("dropped", "customers.update")
        invoicing.sweep()
        BillingAccount.objects.update(stripe_customer="")
        make_due()
        invoicing.sweep()
    finally:
        stripe_side.control("POST", "settings", search_lag_seconds=0)
    check_collected(stripe_side, statement)


def test_a_request_that_lands_after_we_gave_it_up_is_the_same_request(
    stripe_side: StripeSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "READ_SECONDS", 1.0)
    door._client.cache_clear()
    try:
        statement = make_statement(make_payer(), 500)
        stripe_side.fault("slow", "invoices.create", delay_seconds=3)
        collect_quietly(statement)
        assert Invoice.objects.get().error_code == "stripe_outcome_unknown"
        # Nothing is to be seen of it yet.
        assert not stripe_side.invoices(account_of(statement.team).stripe_customer)
        make_due()
        collect_quietly(statement)
    finally:
        door._client.cache_clear()
    try_until_collected(stripe_side, statement)


def test_a_day_without_stripe_loses_and_doubles_nothing(stripe_side: StripeSide) -> None:
    statements = [make_statement(make_payer(), 100 * number) for number in (1, 2, 3)]
    stripe_side.away()
    for _ in range(15):
        invoicing.sweep()
        make_due()
    rows = list(Invoice.objects.all())
    assert {row.status for row in rows} == {InvoiceStatus.WAITING}
    assert not Refusal.objects.exists()
    # The longest pause is an hour; one try is enough to know that Stripe is away.
    assert sum(row.attempts for row in rows) == 15
    stripe_side.away(is_away=False)
    invoicing.sweep()
    for statement in statements:
        check_collected(stripe_side, statement)


def test_tries_are_counted_and_end(stripe_side: StripeSide) -> None:
    statement = make_statement(make_payer(), 100)
    stripe_side.away()
    for attempts in (1, 2, 3):
        make_due()
        before = clock.unmoved()
        collect_quietly(statement)
        row = Invoice.objects.get()
        assert (row.attempts, row.error_code) == (attempts, "stripe_unavailable")
        assert row.due_at
        assert before + pause_after(attempts) <= row.due_at <= clock.unmoved() + pause_after(attempts)
    Invoice.objects.update(attempts=MAX_ATTEMPTS)
    make_due()
    collect(statement)
    row = Invoice.objects.get()
    assert (row.due_at, Refusal.objects.get().code) == (None, "tried_too_often")


def test_a_key_that_stripe_refuses_is_no_refusal_of_the_invoice(stripe_side: StripeSide, settings: Settings) -> None:
    statement = make_statement(make_payer(), 100)
    settings.STRIPE_SECRET_KEY = "sk_test_revoked"
    collect_quietly(statement)
    assert Invoice.objects.get().error_code == "stripe_key_refused"
    assert not Refusal.objects.exists()


def test_what_is_refused_for_good_waits_for_an_operator_and_goes_on_at_a_word(stripe_side: StripeSide) -> None:
    statement = make_statement(make_payer(), 900)
    stripe_side.fault("refused", "invoices.finalize", code="customer_tax_location_invalid", message="No such place.")
    collect(statement)
    refusal = Refusal.objects.get()
    assert (refusal.step, refusal.code) == ("invoice.finalize", "customer_tax_location_invalid")
    assert "No such place." in refusal.message
    assert refusal.request_id.startswith("req_")
    for _ in range(3):
        invoicing.sweep()
    assert Invoice.objects.get().due_at is None
    actor = make_user()
    refusals.retry(refusal=refusal, actor=actor)
    with pytest.raises(NotDecidable):
        refusals.retry(refusal=refusal, actor=actor)
    invoicing.sweep()
    check_collected(stripe_side, statement)
    refusal.refresh_from_db()
    assert (refusal.decision, refusal.decided_by) == ("retry", actor)


def test_giving_up_needs_a_reason_and_stops_stripe(stripe_side: StripeSide) -> None:
    statement = make_statement(make_payer(), 900)
    invoice = collect(statement)
    refusal = refusals.refuse(step="test", code="c", message="m", invoice=invoice)
    actor = make_user()
    with pytest.raises(NotDecidable):
        refusals.give_up(refusal=refusal, actor=actor, reason=" ")
    refusals.give_up(refusal=refusal, actor=actor, reason="written off")
    assert calls.invoice_see(invoice.stripe_id).status == "uncollectible"
    invoice.refresh_from_db()
    assert (invoice.status, invoice.due_at) == (InvoiceStatus.UNCOLLECTIBLE, None)


def test_a_draft_that_somebody_changed_is_not_finalized(stripe_side: StripeSide) -> None:
    statement = make_statement(make_payer(), 900)
    stripe_side.fault("dropped_before", "invoices.finalize")
    collect_quietly(statement)
    row = Invoice.objects.get()
    customer = account_of(statement.team).stripe_customer
    stray = {"customer": customer, "invoice": row.stripe_id, "amount": 1, "currency": "usd"}
    stripe_side.client.v1.invoice_items.create(stray)  # type: ignore[arg-type]
    make_due()
    collect(statement)
    assert Refusal.objects.get().code == "items_differ"
    assert calls.invoice_see(row.stripe_id).status == "draft"
    # The operator deletes the draft and retries: it is made anew, under other keys.
    stripe_side.client.v1.invoices.delete(row.stripe_id)
    refusals.retry(refusal=Refusal.objects.get(), actor=make_user())
    collect(statement)
    check_collected(stripe_side, statement)


def forget_collecting() -> None:
    Movement.objects.all().delete()
    Invoice.objects.all().delete()


def test_a_restored_database_finds_its_invoice_again(stripe_side: StripeSide) -> None:
    statement = make_statement(make_payer(), 900)
    collect(statement)
    forget_collecting()
    BillingAccount.objects.update(stripe_customer="", told_digest="")
    collect(statement)
    check_collected(stripe_side, statement)


def test_a_month_that_was_stated_anew_after_a_restore_is_not_invoiced_twice(stripe_side: StripeSide) -> None:
    team = make_payer()
    statement = make_statement(team, 900)
    collect(statement)
    forget_collecting()
    # As a restore of an older backup does, which no model and no trigger is asked about.
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL session_replication_role = 'replica'")
        statement.lines.all()._raw_delete("default")
        Statement.objects.filter(pk=statement.pk)._raw_delete("default")
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL session_replication_role = 'origin'")
    again = make_statement(team, 900)
    collect(again)
    assert Refusal.objects.get().code == "other_statement"
    assert len(stripe_side.invoices(account_of(team).stripe_customer)) == 1


def test_an_invoice_is_left_to_who_has_it(stripe_side: StripeSide) -> None:
    statement = make_statement(make_payer(), 900)
    invoice = invoicing.open_invoice(statement)
    assert invoicing._claim(invoice)
    collect(statement)
    assert account_of(statement.team).stripe_customer == ""
    row = Invoice.objects.get()
    work = invoicing._Work(row, clock.unmoved())
    with pytest.raises(invoicing.ClaimLost):
        work.note(status="open")
    assert Invoice.objects.get().status == InvoiceStatus.WAITING


def test_zero_makes_no_invoice_and_asks_nobody(stripe_side: StripeSide) -> None:
    stripe_side.away()
    row = collect(make_statement(make_payer(), 500, -500))
    assert (row.status, row.due_at) == (InvoiceStatus.NOTHING, None)


def test_what_is_negative_lowers_the_next_invoice_once(stripe_side: StripeSide) -> None:
    team: Team = make_payer(stripe_side, card=GOOD)
    negative = make_statement(team, 100, -400, month=date(2026, 9, 1))
    stripe_side.fault("dropped", "customer_balance_transactions.create")
    collect_quietly(negative)
    make_due()
    assert collect(negative).status == InvoiceStatus.CREDITED
    customer = account_of(team).stripe_customer
    assert stripe_side.client.v1.customers.retrieve(customer).balance == -300
    invoice = collect(make_statement(team, 1_000, month=date(2026, 10, 1)))
    assert (invoice.total_cents, invoice.due_cents) == (1_000, 700)


@pytest.mark.full
def test_more_lines_than_stripe_takes_still_equal_the_cent(stripe_side: StripeSide) -> None:
    statement = make_statement(make_payer(), *range(1, 300))
    for _ in range(10):
        invoicing.sweep()
        if Invoice.objects.get().status == InvoiceStatus.OPEN:
            break
        make_due()
    seen = calls.invoice_see(Invoice.objects.get().stripe_id)
    assert (seen.status, seen.net_cents) == ("open", statement.total_cents)
    items = stripe_side.items(seen.id)
    assert len(items) == 250
    assert sum(items.values()) == statement.total_cents


def test_taxes_come_on_top_of_the_statement(stripe_side: StripeSide, settings: Settings) -> None:
    settings.STRIPE_TAX = True
    address = {"line1": "Street 1", "city": "Berlin", "postal_code": "10115", "country": "DE"}
    invoice = collect(make_statement(make_payer(address=address), 1_000, 500, -250))
    assert (invoice.status, invoice.error_message) == (InvoiceStatus.OPEN, "")
    assert invoice.total_cents == 1_250
    assert invoice.tax_cents > 0
    assert invoice.due_cents == invoice.total_cents + invoice.tax_cents


def test_what_was_deleted_at_stripe_can_be_given_up(stripe_side: StripeSide) -> None:
    stripe_side.fault("refused", "invoices.finalize", message="Not that one.")
    invoice = collect(make_statement(make_payer(), 900))
    stripe_side.client.v1.invoices.delete(invoice.stripe_id)
    refusals.give_up(refusal=Refusal.objects.get(), actor=make_user(), reason="deleted there")
    invoice.refresh_from_db()
    assert (invoice.status, invoice.due_at) == (InvoiceStatus.UNCOLLECTIBLE, None)
