"""All that the stand-in shows has the fields that stripe-python's classes have, and of their types."""

import json
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

import pytest
import stripe

from tests.standin import StandIn, customer_with_card, draft, stand_in

CLASSES: dict[str, Any] = {
    "billing_portal.session": stripe.billing_portal.Session,
    "charge": stripe.Charge,
    "checkout.session": stripe.checkout.Session,
    "credit_note": stripe.CreditNote,
    "credit_note_line_item": stripe.CreditNoteLineItem,
    "customer": stripe.Customer,
    "customer_balance_transaction": stripe.CustomerBalanceTransaction,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "invoice": stripe.Invoice,
    "invoice_payment": stripe.InvoicePayment,
    "invoiceitem": stripe.InvoiceItem,
    "line_item": stripe.InvoiceLineItem,
    "payment_intent": stripe.PaymentIntent,
    "payment_method": stripe.PaymentMethod,
    "refund": stripe.Refund,
    "setup_intent": stripe.SetupIntent,
    "tax_id": stripe.TaxId,
    "webhook_endpoint": stripe.WebhookEndpoint,
}
#: What a list has beside stripe-python's own fields of it.
LISTS = {"object", "data", "has_more", "url", "total_count"}


def faults_of(value: Any, hint: Any, where: str) -> Iterator[str]:
    """Yield what of `value` isn't as `hint` says."""
    kind = value.get("object") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in CLASSES:
        yield from faults_of_fields(value, CLASSES[kind], where)
    elif kind == "list":
        yield from (f"{where}: {key} in a list" for key in set(value) - LISTS)
        for number, row in enumerate(value["data"]):
            yield from faults_of(row, Any, f"{where}.data[{number}]")
    elif not any(fits(value, member) for member in members_of(hint)):
        yield f"{where}: {value!r} is no {hint}"
    elif isinstance(value, list):
        below = next((get_args(member)[0] for member in members_of(hint) if get_origin(member) is list), Any)
        for number, row in enumerate(value):
            yield from faults_of(row, below, f"{where}[{number}]")
    elif isinstance(value, dict):
        for member in members_of(hint):
            if isinstance(member, type) and issubclass(member, stripe.StripeObject):
                yield from faults_of_fields(value, member, where)


def faults_of_fields(row: dict[str, Any], declared: Any, where: str) -> Iterator[str]:
    hints = {name: hint for name, hint in declared.__annotations__.items() if get_origin(hint) is not typing.ClassVar}
    yield from (f"{where}: unknown field {name}" for name in set(row) - set(hints))
    for name, hint in hints.items():
        if name in row:
            yield from faults_of(row[name], hint, f"{where}.{name}")
        elif not fits(None, hint) and not any(fits(None, member) for member in members_of(hint)):
            yield f"{where}: {name} is missing"


def members_of(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return [below for member in get_args(hint) for below in members_of(member)]
    return [hint]


def fits(value: Any, hint: Any) -> bool:
    if hint is Any or isinstance(hint, ForwardRef | str):
        return not isinstance(value, str | int | list) or hint is Any
    origin = get_origin(hint)
    if hint is type(None):
        return value is None
    if origin is Literal:
        return value in get_args(hint)
    if hint is Decimal:
        return isinstance(value, str)
    if hint in (str, int, bool, float):
        return type(value) is hint
    if origin is list:
        return isinstance(value, list)
    return isinstance(value, dict)


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(Path(tmp_path_factory.mktemp("standin"))) as running:
        yield running


@pytest.fixture(scope="module")
def shown(standin: StandIn) -> dict[str, list[dict[str, Any]]]:
    """Play something of everything, and return what each list shows of it."""
    client = standin.client()
    customer = customer_with_card(client, "pm_card_authenticationRequired").id
    client.v1.customers.update(customer, {"address": {"country": "DE"}})
    client.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "DE123456789"})
    card = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    session = client.v1.checkout.sessions.create(
        {"mode": "setup", "customer": customer, "currency": "usd", "success_url": "http://127.0.0.1:9/"}
    )
    standin.submit(session.url or "", card="4000000000000002")
    client.v1.checkout.sessions.create(
        {"mode": "setup", "customer": customer, "currency": "usd", "success_url": "http://127.0.0.1:9/"}
    )
    client.v1.billing_portal.sessions.create({"customer": customer})
    client.v1.customers.balance_transactions.create(customer, {"amount": -1, "currency": "usd"})
    client.v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/", "enabled_events": ["price.created"]})
    first, second, third = (
        draft(
            client, customer, 2_000, 500, automatic_tax={"enabled": True}, custom_fields=[{"name": "PO", "value": "1"}]
        )
        for _ in range(3)
    )
    client.v1.invoices.finalize_invoice(first.id)
    for method in ("", card):
        try:
            client.v1.invoices.pay(first.id, {"payment_method": method} if method else {})
        except stripe.CardError:
            assert not method
    client.v1.credit_notes.create({"invoice": first.id, "amount": 100, "refund_amount": 100})
    client.v1.invoices.pay(second.id, {"payment_method": card})
    dispute = standin.control("POST", "disputes", invoice=second.id)["id"]
    client.v1.disputes.close(dispute)
    standin.fault("declined", customer=customer)
    client.v1.invoices.finalize_invoice(third.id)
    with pytest.raises(stripe.CardError):
        client.v1.invoices.pay(third.id, {"payment_method": card})
    paths = {
        "customers": "/v1/customers",
        "tax ids": f"/v1/customers/{customer}/tax_ids",
        "balances": f"/v1/customers/{customer}/balance_transactions",
        "payment methods": f"/v1/customers/{customer}/payment_methods",
        "sessions": "/v1/checkout/sessions",
        "setup intents": "/v1/setup_intents",
        "invoices": "/v1/invoices?expand[]=data.payments",
        "items": "/v1/invoiceitems",
        "lines": f"/v1/invoices/{first.id}/lines",
        "payments": "/v1/invoice_payments",
        "intents": "/v1/payment_intents",
        "charges": "/v1/charges",
        "refunds": "/v1/refunds",
        "credit notes": "/v1/credit_notes",
        "disputes": "/v1/disputes",
        "endpoints": "/v1/webhook_endpoints",
        "events": "/v1/events?limit=100",
    }
    return {name: rows(standin, path) for name, path in paths.items()}


def rows(standin: StandIn, path: str) -> list[dict[str, Any]]:
    status, _, body = standin.request("GET", path)
    assert status == 200, urlsplit(path).path
    data: list[dict[str, Any]] = json.loads(body)["data"]
    return data


@pytest.mark.parametrize(
    "name",
    [
        *("customers", "tax ids", "payment methods", "sessions", "setup intents", "invoices", "items", "lines"),
        *("balances", "payments", "intents", "charges", "refunds", "credit notes", "disputes", "endpoints", "events"),
    ],
)
def test_objects_have_the_fields_of_stripe_pythons_classes(shown: dict[str, list[dict[str, Any]]], name: str) -> None:
    assert shown[name]
    found = {fault for row in shown[name] for fault in faults_of(row, Any, row["object"])}
    assert not found, "\n".join(sorted(found))


def test_a_field_that_is_wrong_missing_or_unknown_would_be_seen(shown: dict[str, list[dict[str, Any]]]) -> None:
    invoice = shown["invoices"][0]
    for spoilt in (
        {**invoice, "paid": True},
        {**invoice, "total": "100"},
        {**invoice, "status": 1},
        {**invoice, "automatic_tax": {**invoice["automatic_tax"], "rate": 19}},
        {key: value for key, value in invoice.items() if key != "amount_due"},
    ):
        assert list(faults_of(spoilt, Any, "invoice"))
    assert not list(faults_of(invoice, Any, "invoice"))
