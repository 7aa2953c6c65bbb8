"""Customers, and the ways in which they come to a card."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stripe

from tests.standin import (
    DECLINED,
    DECLINED_LATER,
    EXPIRED,
    WANTS_OWNER_ALWAYS,
    WANTS_OWNER_ONCE,
    WORKS,
    StandIn,
    customer_with_card,
    draft,
    stand_in,
)

BACK = "http://127.0.0.1:9/back?session={CHECKOUT_SESSION_ID}"


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(Path(tmp_path_factory.mktemp("standin"))) as running:
        yield running


@pytest.fixture(scope="module")
def client(standin: StandIn) -> stripe.StripeClient:
    return standin.client()


def set_up(client: stripe.StripeClient, customer: str = "", **more: Any) -> Any:
    customer = customer or client.v1.customers.create().id
    return client.v1.checkout.sessions.create(
        {
            "mode": "setup",
            "customer": customer,
            "currency": "usd",
            "success_url": BACK,
            "cancel_url": "http://127.0.0.1:9/no",
            **more,  # type: ignore[typeddict-item]
        }
    )


def test_a_customer_is_kept_as_given(client: stripe.StripeClient) -> None:
    made = client.v1.customers.create(
        {
            "name": "Acme & Söhne",
            "email": "pay@example.com",
            "address": {"line1": "Weg 1", "city": "Berlin", "postal_code": "10115", "country": "DE"},
            "metadata": {"team": "7"},
            "tax_id_data": [{"type": "eu_vat", "value": "DE123456789"}],
        }
    )
    found = client.v1.customers.retrieve(made.id, {"expand": ["tax_ids"]})
    assert (found.name, found.email, found.address.country) == ("Acme & Söhne", "pay@example.com", "DE")
    assert [tax.value for tax in found.tax_ids.data] == ["DE123456789"]
    changed = client.v1.customers.update(
        made.id, {"name": "", "metadata": {"team": "", "plan": "x"}, "address": {"country": "FR"}}
    )
    assert (changed.name, changed.metadata.to_dict(), changed.address.city) == (None, {"plan": "x"}, None)


def test_tax_ids_come_and_go(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create().id
    made = client.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "DE123456789"})
    assert (made.country, made.verification.status) == ("DE", "unverified")
    with pytest.raises(stripe.InvalidRequestError, match="already"):
        client.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "DE123456789"})
    client.v1.customers.tax_ids.delete(customer, made.id)
    assert client.v1.customers.tax_ids.list(customer).data == []
    with pytest.raises(stripe.InvalidRequestError, match=made.id):
        client.v1.customers.tax_ids.retrieve(customer, made.id)


def test_a_deleted_customer_is_shown_as_such_and_takes_nothing_more(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"metadata": {"gone": "1"}}).id
    client.v1.customers.delete(customer)
    assert client.v1.customers.retrieve(customer).deleted
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.v1.invoices.create({"customer": customer})
    assert (refusal.value.http_status, refusal.value.param) == (400, "customer")
    assert client.v1.customers.search({"query": "metadata['gone']:'1'"}).data == []


def test_a_session_saves_a_card_and_sends_the_visitor_back(standin: StandIn, client: stripe.StripeClient) -> None:
    session = set_up(client, setup_intent_data={"metadata": {"team": "7"}})
    status, page = standin.look(session.url)
    assert status == 200
    assert "stand-in for Stripe" in page
    status, headers, _ = standin.submit(session.url, card=WORKS)
    assert status == 303
    assert parse_qs(urlsplit(headers["location"]).query) == {"session": [session.id]}
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.payment_method"]})
    method = done.setup_intent.payment_method
    assert (done.status, done.setup_intent.status, method.card.last4) == ("complete", "succeeded", "4242")
    assert method.customer == session.customer
    assert done.setup_intent.metadata.to_dict() == {"team": "7"}
    listed = client.v1.customers.payment_methods.list(session.customer)
    assert [row.id for row in listed.data] == [method.id]
    assert client.v1.customers.retrieve(session.customer).invoice_settings.default_payment_method is None
    assert "is saved" in standin.look(session.url)[1]


@pytest.mark.parametrize("card", [WANTS_OWNER_ONCE, WANTS_OWNER_ALWAYS])
def test_three_d_secure_is_asked_and_answered(standin: StandIn, client: stripe.StripeClient, card: str) -> None:
    session = set_up(client)
    assert "3-D Secure" in standin.submit(session.url, card=card)[2]
    intent = client.v1.setup_intents.retrieve(session.setup_intent)
    assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
    assert "did not authenticate" in standin.submit(session.url, confirm="no")[2]
    intent = client.v1.setup_intents.retrieve(session.setup_intent)
    assert intent.status == "requires_payment_method"
    assert intent.last_setup_error.code == "setup_intent_authentication_failure"
    assert client.v1.customers.payment_methods.list(session.customer).data == []
    standin.submit(session.url, card=card)
    assert standin.submit(session.url, confirm="yes")[0] == 303
    assert client.v1.setup_intents.retrieve(session.setup_intent).status == "succeeded"


@pytest.mark.parametrize(("card", "code"), [(DECLINED, "card_declined"), (EXPIRED, "expired_card")])
def test_a_bad_card_is_not_saved_and_another_may_follow(
    standin: StandIn, client: stripe.StripeClient, card: str, code: str
) -> None:
    session = set_up(client)
    status, _, page = standin.submit(session.url, card=card)
    assert status == 200
    assert 'role="alert"' in page
    intent = client.v1.setup_intents.retrieve(session.setup_intent)
    assert (intent.status, intent.last_setup_error.code) == ("requires_payment_method", code)
    assert standin.submit(session.url, card=WORKS)[0] == 303


def test_a_visitor_may_leave(standin: StandIn, client: stripe.StripeClient) -> None:
    session = set_up(client)
    status, headers, _ = standin.submit(session.url, leave="1")
    assert (status, headers["location"]) == (303, "http://127.0.0.1:9/no")
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"


def test_a_session_expires_by_request_and_by_itself(standin: StandIn, client: stripe.StripeClient) -> None:
    asked, late = set_up(client), set_up(client)
    assert client.v1.checkout.sessions.expire(asked.id).status == "expired"
    standin.forward(86_400)
    for session in (asked, late):
        found = client.v1.checkout.sessions.retrieve(session.id)
        assert (found.status, found.url) == ("expired", None)
        assert client.v1.setup_intents.retrieve(session.setup_intent).status == "canceled"
        assert "expired" in standin.submit(f"/checkout/{session.id}", card=WORKS)[2]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(late.id)


@pytest.mark.parametrize(
    ("more", "param"),
    [({"mode": "payment"}, "mode"), ({"expires_at": 1}, "expires_at"), ({"customer": "cus_none"}, "customer")],
)
def test_a_session_that_cannot_be_is_refused(client: stripe.StripeClient, more: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        set_up(client, **more)
    assert refusal.value.param == param


def test_a_default_must_be_the_customers_own_and_goes_with_it(client: stripe.StripeClient) -> None:
    mine, other = customer_with_card(client), client.v1.customers.create()
    card = mine.invoice_settings.default_payment_method
    with pytest.raises(stripe.InvalidRequestError, match="attached"):
        client.v1.customers.update(other.id, {"invoice_settings": {"default_payment_method": card}})
    with pytest.raises(stripe.InvalidRequestError, match="already been attached"):
        client.v1.payment_methods.attach(card, {"customer": other.id})
    client.v1.payment_methods.detach(card)
    assert client.v1.customers.retrieve(mine.id).invoice_settings.default_payment_method is None


def test_a_declined_card_cannot_be_attached(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create().id
    with pytest.raises(stripe.CardError) as refusal:
        client.v1.payment_methods.attach("pm_card_visa_chargeDeclined", {"customer": customer})
    assert (refusal.value.http_status, refusal.value.code) == (402, "card_declined")
    assert client.v1.payment_methods.list({"customer": customer}).data == []


def test_the_portal_keeps_cards_and_shows_invoices(standin: StandIn, client: stripe.StripeClient) -> None:
    customer = customer_with_card(client)
    invoice = client.v1.invoices.finalize_invoice(draft(client, customer.id, 500).id)
    session = client.v1.billing_portal.sessions.create(
        {"customer": customer.id, "return_url": "http://127.0.0.1:9/back"}
    )
    status, page = standin.look(session.url)
    assert status == 200
    assert invoice.number in page
    assert "http://127.0.0.1:9/back" in page
    assert 'role="alert"' in standin.submit(session.url, card=DECLINED)[2]
    assert "3-D Secure" in standin.submit(session.url, card=WANTS_OWNER_ONCE)[2]
    assert standin.submit(session.url, card=WANTS_OWNER_ONCE, confirm="yes")[0] == 303
    cards = {row.card.last4: row.id for row in client.v1.customers.payment_methods.list(customer.id).data}
    assert set(cards) == {"4242", "3155"}
    assert client.v1.customers.retrieve(customer.id).invoice_settings.default_payment_method == cards["3155"]
    standin.submit(session.url, default=cards["4242"])
    standin.submit(session.url, remove=cards["3155"])
    assert client.v1.customers.retrieve(customer.id).invoice_settings.default_payment_method == cards["4242"]
    assert [row.card.last4 for row in client.v1.customers.payment_methods.list(customer.id).data] == ["4242"]


def test_the_portal_touches_no_other_customers_card(standin: StandIn, client: stripe.StripeClient) -> None:
    mine, other = customer_with_card(client), customer_with_card(client)
    session = client.v1.billing_portal.sessions.create({"customer": mine.id})
    foreign = other.invoice_settings.default_payment_method
    assert 'role="alert"' in standin.submit(session.url, remove=foreign)[2]
    assert client.v1.payment_methods.retrieve(foreign).customer == other.id


def test_a_link_into_the_portal_expires(standin: StandIn, client: stripe.StripeClient) -> None:
    session = client.v1.billing_portal.sessions.create({"customer": client.v1.customers.create().id})
    standin.forward(3_601)
    assert standin.look(session.url)[0] == 400


def test_a_card_may_be_saved_and_declined_later(standin: StandIn, client: stripe.StripeClient) -> None:
    session = set_up(client)
    assert standin.submit(session.url, card=DECLINED_LATER)[0] == 303
    method = client.v1.setup_intents.retrieve(session.setup_intent).payment_method
    invoice = draft(client, session.customer, 700)
    client.v1.invoices.finalize_invoice(invoice.id)
    with pytest.raises(stripe.CardError):
        client.v1.invoices.pay(invoice.id, {"payment_method": method})
