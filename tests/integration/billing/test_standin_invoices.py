"""Invoices from draft to their end, and what is given back of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.standin import StandIn, customer_with_card, draft, eventually, stand_in

DAY = 86_400


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(Path(tmp_path_factory.mktemp("standin"))) as running:
        yield running


@pytest.fixture(scope="module")
def client(standin: StandIn) -> stripe.StripeClient:
    return standin.client()


@pytest.fixture
def customer(client: stripe.StripeClient) -> Any:
    return customer_with_card(client)


def told(client: stripe.StripeClient, of: str) -> list[str]:
    """Return the types of the events that tell of an invoice, in the order in which they were made."""
    return [event.type for event in client.v1.events.list({"limit": 100}).data if event.data.object.id == of][::-1]


def paid_charge(client: stripe.StripeClient, invoice: str) -> Any:
    found = client.v1.invoice_payments.list({"invoice": invoice, "status": "paid"}).data[0]
    intent = client.v1.payment_intents.retrieve(found.payment.payment_intent, {"expand": ["latest_charge"]})
    return intent.latest_charge


def test_an_invoice_says_what_it_was_made_of(client: stripe.StripeClient, customer: Any) -> None:
    made = client.v1.invoices.create(
        {
            "customer": customer.id,
            "auto_advance": False,
            "collection_method": "charge_automatically",
            "pending_invoice_items_behavior": "exclude",
            "description": "August",
            "metadata": {"statement": "7"},
            "custom_fields": [{"name": "PO number", "value": "4711"}],
        }
    )
    item = client.v1.invoice_items.create(
        {
            "customer": customer.id,
            "invoice": made.id,
            "amount": 1_234,
            "currency": "usd",
            "description": "Gateway hours",
            "metadata": {"line": "1"},
            "period": {"start": 1, "end": 2},
        }
    )
    found = client.v1.invoices.retrieve(made.id)
    assert (found.status, found.total, found.amount_due, found.currency) == ("draft", 1_234, 1_234, "usd")
    assert (found.description, found.metadata.to_dict()) == ("August", {"statement": "7"})
    assert [(field.name, field.value) for field in found.custom_fields] == [("PO number", "4711")]
    (line,) = found.lines.data
    assert (line.amount, line.description, line.metadata.to_dict()) == (1_234, "Gateway hours", {"line": "1"})
    assert line.parent.invoice_item_details.invoice_item == item.id
    assert (line.period.start, line.period.end) == (1, 2)


def test_an_invoice_is_finalized_and_paid(standin: StandIn, client: stripe.StripeClient, customer: Any) -> None:
    made = draft(client, customer.id, 1_000, -250)
    final = client.v1.invoices.finalize_invoice(made.id)
    assert (final.status, final.subtotal, final.total, final.amount_remaining) == ("open", 750, 750, 750)
    assert final.number == f"{client.v1.customers.retrieve(customer.id).invoice_prefix}-0001"
    paid = client.v1.invoices.pay(made.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert (paid.status, paid.amount_paid, paid.amount_remaining, paid.attempt_count) == ("paid", 750, 0, 1)
    (payment,) = paid.payments.data
    assert (payment.status, payment.amount_paid, payment.payment.payment_intent.status) == ("paid", 750, "succeeded")
    charge = paid_charge(client, made.id)
    assert (charge.amount, charge.paid, charge.payment_method_details.card.last4) == (750, True, "4242")
    assert told(client, made.id) == [
        "invoice.created",
        *["invoice.updated"] * 2,
        "invoice.finalized",
        *["invoice.updated"] * 2,
        "invoice.payment_succeeded",
        "invoice.paid",
    ]
    status, page = standin.look(final.hosted_invoice_url)
    assert (status, "7.50 USD" in page) == (200, True)
    assert standin.request("GET", f"/invoice/{made.id}/pdf")[2].startswith(b"%PDF-")


def test_a_paid_or_finalized_invoice_is_closed(client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 900)
    client.v1.invoices.finalize_invoice(invoice.id)
    for refused in (
        lambda: client.v1.invoices.finalize_invoice(invoice.id),
        lambda: client.v1.invoices.update(invoice.id, {"description": "x"}),
        lambda: client.v1.invoices.delete(invoice.id),
        lambda: (
            draft(client, customer.id)
            and client.v1.invoice_items.create(
                {"customer": customer.id, "invoice": invoice.id, "amount": 1, "currency": "usd"}
            )
        ),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            refused()
        assert refusal.value.code == "invoice_not_editable"
    assert client.v1.invoices.update(invoice.id, {"metadata": {"a": "b"}}).metadata.to_dict() == {"a": "b"}
    client.v1.invoices.pay(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        client.v1.invoices.pay(invoice.id)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.void_invoice(invoice.id)


def test_more_than_ten_lines_come_in_pages(client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, *range(100, 113))
    shown = client.v1.invoices.retrieve(invoice.id).lines
    assert (len(shown.data), shown.has_more) == (10, True)
    pages = client.v1.invoices.line_items.list(invoice.id, {"limit": 5})
    assert [line.amount for line in pages.auto_paging_iter()] == list(range(100, 113))
    items = client.v1.invoice_items.list({"invoice": invoice.id, "limit": 4})
    assert [item.amount for item in items.auto_paging_iter()] == list(range(112, 99, -1))


def test_lists_are_paged_both_ways(client: stripe.StripeClient, customer: Any) -> None:
    made = [client.v1.invoices.create({"customer": customer.id}).id for _ in range(5)][::-1]
    first = client.v1.invoices.list({"customer": customer.id, "limit": 2})
    assert ([row.id for row in first.data], first.has_more) == (made[:2], True)
    rest = client.v1.invoices.list({"customer": customer.id, "limit": 3, "starting_after": made[1]})
    assert ([row.id for row in rest.data], rest.has_more) == (made[2:], False)
    back = client.v1.invoices.list({"customer": customer.id, "limit": 2, "ending_before": made[3]})
    assert ([row.id for row in back.data], back.has_more) == (made[1:3], True)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.invoices.list({"limit": 101})
    assert refusal.value.param == "limit"


def test_an_invoice_is_found_by_its_metadata_but_not_at_once(
    standin: StandIn, client: stripe.StripeClient, customer: Any
) -> None:
    invoice = draft(client, customer.id, 100, metadata={"statement": customer.id})
    query = {"query": f"metadata['statement']:'{customer.id}' AND customer:'{customer.id}'"}
    assert [row.id for row in client.v1.invoices.search(query).data] == [invoice.id]  # type: ignore[arg-type]
    standin.control("POST", "settings", search_lag_seconds=60)
    try:
        client.v1.invoices.update(invoice.id, {"description": "changed"})
        assert client.v1.invoices.search(query).data == []  # type: ignore[arg-type]
    finally:
        standin.control("POST", "settings", search_lag_seconds=0)


def test_items_that_wait_are_pulled_only_on_request(client: stripe.StripeClient, customer: Any) -> None:
    client.v1.invoice_items.create({"customer": customer.id, "amount": 300, "currency": "usd"})
    assert client.v1.invoices.create({"customer": customer.id}).total == 0
    taken = client.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    assert taken.total == 300
    assert client.v1.invoice_items.list({"customer": customer.id, "pending": True}).data == []


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"currency": "eur"}, "currency"),
        ({"currency": "doubloons"}, "currency"),
        ({"tax_behavior": "inclusive"}, "tax_behavior"),
        ({"amount": 100_000_000}, "amount"),
        ({"customer": "cus_none"}, "customer"),
        ({"invoice": "in_none"}, "invoice"),
    ],
)
def test_an_item_that_does_not_fit_is_refused(
    client: stripe.StripeClient, customer: Any, params: dict[str, Any], param: str
) -> None:
    invoice = draft(client, customer.id)
    item = {"customer": customer.id, "invoice": invoice.id, "amount": 100, "currency": "usd", **params}
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.invoice_items.create(item)  # type: ignore[arg-type]
    assert refusal.value.param == param
    assert client.v1.invoices.retrieve(invoice.id).lines.data == []


def test_an_item_changes_and_goes_while_it_is_a_draft(client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 100, 200)
    second, first = client.v1.invoice_items.list({"invoice": invoice.id}).data
    client.v1.invoice_items.update(first.id, {"amount": 150})
    client.v1.invoice_items.delete(second.id)
    assert client.v1.invoices.retrieve(invoice.id).total == 150


def test_tax_comes_on_top_where_the_customer_is(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"address": {"country": "DE"}})
    invoice = draft(client, customer.id, 1_003, 999, automatic_tax={"enabled": True})
    final = client.v1.invoices.finalize_invoice(invoice.id)
    assert [line.taxes[0].amount for line in final.lines.data] == [191, 190]
    assert (final.subtotal, final.total_taxes[0].amount, final.total) == (2_002, 381, 2_383)
    assert (final.total_excluding_tax, final.amount_due) == (2_002, 2_383)


def test_without_an_address_no_tax_can_be_known(client: stripe.StripeClient, customer: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.invoices.create({"customer": customer.id, "automatic_tax": {"enabled": True}})
    assert refusal.value.code == "customer_tax_location_invalid"
    assert client.v1.invoices.list({"customer": customer.id}).data == []


def test_small_change_is_carried_over_and_credit_used(client: stripe.StripeClient, customer: Any) -> None:
    small = client.v1.invoices.finalize_invoice(draft(client, customer.id, 30).id)
    assert (small.status, small.total, small.amount_due, small.ending_balance) == ("paid", 30, 0, 30)
    credit = client.v1.invoices.finalize_invoice(draft(client, customer.id, -500).id)
    assert (credit.status, credit.amount_due, credit.ending_balance) == ("paid", 0, -470)
    assert client.v1.customers.retrieve(customer.id).balance == -470
    larger = client.v1.invoices.finalize_invoice(draft(client, customer.id, 1_000).id)
    assert (larger.amount_due, larger.starting_balance, larger.ending_balance) == (530, -470, 0)
    client.v1.invoices.void_invoice(larger.id)
    assert client.v1.customers.retrieve(customer.id).balance == -470


def test_entries_in_the_balance_move_it_and_are_listed(client: stripe.StripeClient, customer: Any) -> None:
    for amount in (-500, 200):
        made = client.v1.customers.balance_transactions.create(
            customer.id, {"amount": amount, "currency": "usd", "metadata": {"amount": str(amount)}}
        )
    assert (made.amount, made.ending_balance) == (200, -300)
    assert client.v1.customers.retrieve(customer.id).balance == -300
    assert [row.amount for row in client.v1.customers.balance_transactions.list(customer.id).data] == [200, -500]
    assert client.v1.invoices.finalize_invoice(draft(client, customer.id, 1_000).id).amount_due == 700
    with pytest.raises(stripe.InvalidRequestError, match="zero"):
        client.v1.customers.balance_transactions.create(customer.id, {"amount": 0, "currency": "usd"})


def test_a_payment_is_found_by_its_intent(client: stripe.StripeClient, customer: Any) -> None:
    for _ in range(2):
        client.v1.invoices.pay(draft(client, customer.id, 700).id)
    intents = [row.id for row in client.v1.payment_intents.list({"customer": customer.id}).data]
    for intent in intents:
        found = client.v1.invoice_payments.list({"payment": {"type": "payment_intent", "payment_intent": intent}})
        assert [row.payment.payment_intent for row in found.data] == [intent]


def test_a_declined_card_leaves_an_open_invoice_that_another_pays(client: stripe.StripeClient) -> None:
    customer = customer_with_card(client, "pm_card_chargeCustomerFail")
    invoice = draft(client, customer.id, 2_000)
    client.v1.invoices.finalize_invoice(invoice.id)
    with pytest.raises(stripe.CardError) as refusal:
        client.v1.invoices.pay(invoice.id)
    assert (refusal.value.http_status, refusal.value.code) == (402, "card_declined")
    found = client.v1.invoices.retrieve(invoice.id)
    assert (found.status, found.attempted, found.attempt_count, found.amount_paid) == ("open", True, 1, 0)
    assert client.v1.customers.retrieve(customer.id).delinquent
    assert told(client, invoice.id)[-2:] == ["invoice.payment_failed", "invoice.updated"]
    charges = client.v1.charges.list({"customer": customer.id}).data
    assert [(charge.status, charge.failure_code) for charge in charges] == [("failed", "card_declined")]
    good = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    assert client.v1.invoices.pay(invoice.id, {"payment_method": good.id}).status == "paid"
    assert not client.v1.customers.retrieve(customer.id).delinquent


def test_a_payment_may_want_its_owner_who_answers_on_the_page(standin: StandIn, client: stripe.StripeClient) -> None:
    customer = customer_with_card(client, "pm_card_authenticationRequired")
    invoice = draft(client, customer.id, 2_000)
    url = client.v1.invoices.finalize_invoice(invoice.id).hosted_invoice_url
    with pytest.raises(stripe.CardError) as refusal:
        client.v1.invoices.pay(invoice.id)
    assert refusal.value.code == "invoice_payment_intent_requires_action"
    assert "invoice.payment_action_required" in told(client, invoice.id)
    assert "3-D Secure" in standin.look(url)[1]
    assert standin.submit(url, confirm="no")[0] == 200
    assert client.v1.invoices.retrieve(invoice.id).status == "open"
    assert standin.submit(url, confirm="yes")[0] == 303
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_an_invoice_is_paid_on_its_page_by_a_new_card(standin: StandIn, client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create()
    invoice = draft(client, customer.id, 2_000)
    url = client.v1.invoices.finalize_invoice(invoice.id).hosted_invoice_url
    with pytest.raises(stripe.InvalidRequestError, match="default payment method"):
        client.v1.invoices.pay(invoice.id)
    assert client.v1.invoices.retrieve(invoice.id).attempt_count == 0
    assert 'role="alert"' in standin.submit(url, confirm="yes")[2]
    assert 'role="alert"' in standin.submit(url, card="4000000000000341")[2]
    assert client.v1.customers.payment_methods.list(customer.id).data == []
    assert standin.submit(url, card="4242424242424242")[0] == 303
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_an_invoice_advances_by_itself(standin: StandIn, client: stripe.StripeClient) -> None:
    customer = customer_with_card(client, "pm_card_chargeCustomerFail")
    invoice = draft(client, customer.id, 2_000, auto_advance=True)
    standin.forward(3_600)
    found = client.v1.invoices.retrieve(invoice.id)
    assert (found.status, found.attempt_count) == ("open", 1)
    for days, attempts in ((3, 2), (5, 3), (7, 4)):
        now = standin.control("GET", "clock")["now"]
        assert now + (days - 1) * DAY < found.next_payment_attempt <= now + days * DAY
        standin.forward(days * DAY)
        found = client.v1.invoices.retrieve(invoice.id)
        assert (found.status, found.attempt_count) == ("open", attempts)
    assert found.next_payment_attempt is None
    standin.forward(60 * DAY)
    assert client.v1.invoices.retrieve(invoice.id).attempt_count == 4


def test_an_invoice_that_advances_to_nobodys_card_fails_and_waits(
    standin: StandIn, client: stripe.StripeClient
) -> None:
    customer, gone = client.v1.customers.create(), client.v1.customers.create()
    invoice, lost = (draft(client, who.id, 2_000, auto_advance=True) for who in (customer, gone))
    client.v1.customers.delete(gone.id)
    standin.forward(3_600)
    found = client.v1.invoices.retrieve(invoice.id)
    assert (found.status, found.attempt_count, found.attempted) == ("open", 1, True)
    assert told(client, invoice.id)[-2:] == ["invoice.payment_failed", "invoice.updated"]
    found = client.v1.invoices.retrieve(lost.id)
    assert (found.status, found.auto_advance, found.last_finalization_error.code) == (
        "draft",
        False,
        "resource_missing",
    )
    assert told(client, lost.id)[-1] == "invoice.finalization_failed"


def test_finalizing_an_invoice_that_advances_charges_it_soon(client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 2_000)
    client.v1.invoices.finalize_invoice(invoice.id, {"auto_advance": True})
    eventually(lambda: client.v1.invoices.retrieve(invoice.id).status == "paid")


def test_an_invoice_by_mail_has_a_due_date_and_is_not_charged(
    standin: StandIn, client: stripe.StripeClient, customer: Any
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="days_until_due"):
        client.v1.invoices.create({"customer": customer.id, "collection_method": "send_invoice"})
    invoice = draft(client, customer.id, 2_000, collection_method="send_invoice", days_until_due=14)
    sent = client.v1.invoices.send_invoice(invoice.id)
    assert (sent.status, sent.due_date) == ("open", sent.created + 14 * DAY)
    assert "invoice.sent" in told(client, invoice.id)
    standin.forward(30 * DAY)
    assert client.v1.invoices.retrieve(invoice.id).attempt_count == 0
    paid = client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, client.v1.charges.list({"customer": customer.id}).data) == ("paid", [])


def test_an_invoice_is_voided_or_written_off(client: stripe.StripeClient, customer: Any) -> None:
    first, second = draft(client, customer.id, 2_000), draft(client, customer.id, 3_000)
    for invoice in (first, second):
        client.v1.invoices.finalize_invoice(invoice.id)
    assert client.v1.invoices.void_invoice(first.id).status == "void"
    assert client.v1.payment_intents.list({"customer": customer.id}).data[1].status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.pay(first.id)
    assert client.v1.invoices.mark_uncollectible(second.id).status == "uncollectible"
    assert client.v1.invoices.pay(second.id).status == "paid"


def test_a_draft_may_be_deleted(client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 2_000)
    client.v1.invoices.delete(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match=invoice.id):
        client.v1.invoices.retrieve(invoice.id)
    assert client.v1.invoice_items.list({"customer": customer.id}).data == []


def test_a_charge_is_refunded_in_parts_and_no_further(client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 2_000)
    client.v1.invoices.pay(invoice.id)
    charge = paid_charge(client, invoice.id)
    part = client.v1.refunds.create({"charge": charge.id, "amount": 500, "metadata": {"why": "x"}})
    assert (part.status, part.amount, part.payment_intent) == ("succeeded", 500, charge.payment_intent)
    assert client.v1.charges.retrieve(charge.id).amount_refunded == 500
    with pytest.raises(stripe.InvalidRequestError, match="1500"):
        client.v1.refunds.create({"charge": charge.id, "amount": 1_501})
    client.v1.refunds.create({"payment_intent": charge.payment_intent})
    found = client.v1.charges.retrieve(charge.id, {"expand": ["refunds"]})
    assert (found.refunded, sorted(row.amount for row in found.refunds.data)) == (True, [500, 1_500])
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.refunds.create({"charge": charge.id})
    assert refusal.value.code == "charge_already_refunded"
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_a_credit_note_lowers_an_open_invoice_until_it_is_voided(client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 2_000)
    client.v1.invoices.finalize_invoice(invoice.id)
    note = client.v1.credit_notes.create({"invoice": invoice.id, "amount": 300, "memo": "Sorry"})
    assert (note.type, note.total, note.number.endswith("-CN-01")) == ("pre_payment", 300, True)
    found = client.v1.invoices.retrieve(invoice.id)
    assert (found.total, found.amount_due, found.amount_remaining) == (2_000, 1_700, 1_700)
    client.v1.credit_notes.void_credit_note(note.id)
    assert client.v1.invoices.retrieve(invoice.id).amount_remaining == 2_000
    client.v1.credit_notes.create({"invoice": invoice.id, "amount": 300})
    assert client.v1.invoices.pay(invoice.id).amount_paid == 1_700
    assert paid_charge(client, invoice.id).amount == 1_700


def test_a_credit_note_over_all_settles_an_invoice(client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 2_000, 1_000)
    lines = client.v1.invoices.finalize_invoice(invoice.id).lines.data
    client.v1.credit_notes.create(
        {"invoice": invoice.id, "lines": [{"type": "invoice_line_item", "invoice_line_item": row.id} for row in lines]}
    )
    found = client.v1.invoices.retrieve(invoice.id)
    assert (found.status, found.amount_paid, found.pre_payment_credit_notes_amount) == ("paid", 0, 3_000)


def test_a_credit_note_gives_back_what_was_paid(standin: StandIn, client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 2_000)
    client.v1.invoices.pay(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="must equal"):
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 500, "refund_amount": 400})
    note = client.v1.credit_notes.create(
        {"invoice": invoice.id, "amount": 500, "refund_amount": 400, "credit_amount": 100}
    )
    assert (note.type, note.refunds[0].amount_refunded) == ("post_payment", 400)
    assert client.v1.refunds.retrieve(str(note.refunds[0].refund)).amount == 400
    assert client.v1.customers.retrieve(customer.id).balance == -100
    found = client.v1.invoices.retrieve(invoice.id)
    assert (found.status, found.post_payment_credit_notes_amount) == ("paid", 500)
    with pytest.raises(stripe.InvalidRequestError, match="1500"):
        client.v1.credit_notes.create({"invoice": invoice.id, "amount": 1_501, "credit_amount": 1_501})
    assert standin.request("GET", f"/credit-note/{note.id}/pdf")[2].startswith(b"%PDF-")


def test_a_taxed_invoice_is_credited_with_its_tax(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"address": {"country": "DE"}})
    invoice = draft(client, customer.id, 1_000, automatic_tax={"enabled": True})
    (line,) = client.v1.invoices.finalize_invoice(invoice.id).lines.data
    note = client.v1.credit_notes.create(
        {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 500}],
        }
    )
    assert (note.subtotal, note.total_taxes[0].amount, note.total) == (500, 95, 595)
    rest = client.v1.credit_notes.create({"invoice": invoice.id, "amount": 595})
    assert (rest.subtotal, rest.total_taxes[0].amount, rest.total) == (500, 95, 595)
    assert client.v1.invoices.retrieve(invoice.id).amount_remaining == 0


@pytest.mark.parametrize(("end", "events"), [("won", ["closed", "funds_reinstated"]), ("lost", ["closed"])])
def test_a_dispute_is_opened_and_decided_on_demand(
    standin: StandIn, client: stripe.StripeClient, customer: Any, end: str, events: list[str]
) -> None:
    invoice = draft(client, customer.id, 2_000)
    client.v1.invoices.pay(invoice.id)
    opened = standin.control("POST", "disputes", invoice=invoice.id)
    charge = paid_charge(client, invoice.id)
    found = client.v1.disputes.retrieve(opened["id"])
    assert (found.status, found.amount, found.charge, charge.disputed) == ("needs_response", 2_000, charge.id, True)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.refunds.create({"charge": charge.id})
    assert refusal.value.code == "charge_disputed"
    with pytest.raises(ValueError, match="again"):
        standin.control("POST", "disputes", charge=charge.id)
    standin.control("POST", "disputes/decide", dispute=found.id, status=end)
    assert client.v1.disputes.retrieve(found.id).status == end
    expected = ["created", "funds_withdrawn", *events]
    assert told(client, found.id) == [f"charge.dispute.{word}" for word in expected]


def test_a_dispute_may_be_accepted(standin: StandIn, client: stripe.StripeClient, customer: Any) -> None:
    invoice = draft(client, customer.id, 2_000)
    client.v1.invoices.pay(invoice.id)
    dispute = standin.control("POST", "disputes", invoice=invoice.id)["id"]
    assert client.v1.disputes.close(dispute).status == "lost"
