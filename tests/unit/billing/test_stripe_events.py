import pytest

from billing.collecting.events import AboutCustomer, AboutInvoice, AboutPayment, Concern, concern_of

SESSION = {"id": "cs_1", "object": "checkout.session", "customer": "cus_1", "mode": "setup"}


@pytest.mark.parametrize(("kind", "thing", "expected"), [
    ("invoice.paid", {"id": "in_1", "object": "invoice"}, AboutInvoice("in_1")),
    ("invoice.payment_failed", {"id": "in_1"}, AboutInvoice("in_1")),
    ("invoice_payment.paid", {"id": "inpay_1", "invoice": "in_1"}, AboutInvoice("in_1")),
    ("credit_note.created", {"id": "cn_1", "invoice": "in_1"}, AboutInvoice("in_1")),
    ("credit_note.created", {"id": "cn_1", "invoice": {"id": "in_1"}}, AboutInvoice("in_1")),
    ("refund.created", {"id": "re_1", "payment_intent": "pi_1"}, AboutPayment("pi_1")),
    ("charge.dispute.closed", {"id": "dp_1", "payment_intent": "pi_1"}, AboutPayment("pi_1")),
    ("charge.refunded", {"id": "ch_1", "payment_intent": "pi_1"}, AboutPayment("pi_1")),
    ("payment_intent.succeeded", {"id": "pi_1"}, AboutPayment("pi_1")),
    ("customer.updated", {"id": "cus_1", "object": "customer"}, AboutCustomer("cus_1")),
    ("customer.tax_id.updated", {"id": "txi_1", "object": "tax_id", "customer": "cus_1"}, AboutCustomer("cus_1")),
    ("payment_method.attached", {"id": "pm_1", "customer": "cus_1"}, AboutCustomer("cus_1")),
    ("checkout.session.completed", SESSION, AboutCustomer("cus_1", "cs_1")),
    # What means nothing here, or says nothing.
    ("checkout.session.completed", {**SESSION, "mode": "payment"}, None),
    ("checkout.session.expired", SESSION, None),
    ("payment_method.detached", {"id": "pm_1", "customer": None}, None),
    ("charge.succeeded", {"id": "ch_1", "payment_intent": None}, None),
    ("invoiceitem.created", {"id": "ii_1", "invoice": "in_1"}, None),
    ("product.created", {"id": "prod_1"}, None),
    ("invoice.paid", {}, None),
    ("invoice.paid", {"id": 7}, None),
    ("", {}, None),
])  # fmt: skip
def test_an_event_says_only_where_to_look(kind: str, thing: dict[str, object], expected: Concern | None) -> None:
    assert concern_of(kind, thing) == expected
