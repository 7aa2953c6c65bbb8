"""The test cards, and payment methods made of them. What befalls a card hangs on its last four digits, as at Stripe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billing.standin.account import Account, Params
from billing.standin.errors import ApiError, invalid
from billing.standin.listing import page_of
from billing.standin.store import Json, new_id

from . import customers
from .endpoint import PAGING, Endpoint, metadata, whole

EXPIRES = (12, 2044)


@dataclass(frozen=True, slots=True)
class Card:
    """One of Stripe's test cards.

    `token` is its ready-made payment method. `setup` and `charge`: what befalls it when it is saved and when it is
    charged with nobody present: "" (it goes well), "authentication", or the decline's code.
    """

    number: str
    token: str
    title: str
    brand: str = "visa"
    setup: str = ""
    charge: str = ""


CARDS = (
    Card("4242424242424242", "pm_card_visa", "works"),
    Card("5555555555554444", "pm_card_mastercard", "works (Mastercard)", brand="mastercard"),
    Card("4000002500003155", "pm_card_authenticationRequiredOnSetup", "3-D Secure when saved", setup="authentication"),
    Card(
        "4000002760003184",
        "pm_card_authenticationRequired",
        "3-D Secure at every payment",
        setup="authentication",
        charge="authentication",
    ),
    Card(
        "4000000000000002",
        "pm_card_visa_chargeDeclined",
        "declined",
        setup="generic_decline",
        charge="generic_decline",
    ),
    Card(
        "4000000000009995",
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "declined, no funds",
        setup="insufficient_funds",
        charge="insufficient_funds",
    ),
    Card(
        "4000000000000069", "pm_card_chargeDeclinedExpiredCard", "expired", setup="expired_card", charge="expired_card"
    ),
    Card(
        "4000000000000341", "pm_card_chargeCustomerFail", "saved, but declined when charged", charge="generic_decline"
    ),
)
_BY_TOKEN: Mapping[str, Card] = {card.token: card for card in CARDS}
_BY_DIGITS: Mapping[str, Card] = {card.number[-4:]: card for card in CARDS}
_WORDS: Mapping[str, str] = {
    "generic_decline": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
}


def endpoints() -> list[Endpoint]:
    """Return the addresses of payment methods."""
    every, one, theirs = "/v1/payment_methods", "/v1/payment_methods/{}", "/v1/customers/{}/payment_methods"
    return [
        Endpoint("GET", every, "payment_methods.list", "PaymentMethodListParams", list_all, f"{PAGING} customer type"),
        Endpoint("GET", one, "payment_methods.retrieve", "PaymentMethodRetrieveParams", retrieve),
        Endpoint(
            "POST",
            one,
            "payment_methods.update",
            "PaymentMethodUpdateParams",
            update,
            "billing_details metadata",
        ),
        Endpoint("POST", f"{one}/attach", "payment_methods.attach", "PaymentMethodAttachParams", attach, "customer"),
        Endpoint("POST", f"{one}/detach", "payment_methods.detach", "PaymentMethodDetachParams", detach),
        Endpoint("GET", theirs, "payment_methods.list", "CustomerPaymentMethodListParams", list_of, f"{PAGING} type"),
    ]


def card_of(method: Json) -> Card:
    """Return the test card that a payment method was made of."""
    return _BY_DIGITS[method["card"]["last4"]]


def decline(decline_code: str, *, more: Mapping[str, Any] | None = None) -> ApiError:
    """Return the refusal of a card. What was tried stays on record."""
    code = decline_code if decline_code in ("expired_card", "authentication_required") else "card_declined"
    message = _WORDS.get(decline_code, f"Your card was declined ({decline_code}).")
    told: dict[str, Any] = {"decline_code": decline_code, **(more or {})}
    return ApiError(402, "card_error", message, code=code, more=told, kept=True)


def make(account: Account, card: Card, details: Json | None = None) -> Json:
    """Make a payment method of a card, attached to nobody."""
    month, year = (1, 2020) if card.setup == "expired_card" else EXPIRES
    billing = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None, **(details or {})}
    billing["address"] = whole(billing["address"] or {}, *customers.ADDRESS)
    return account.add(
        {
            "id": new_id("pm"),
            "object": "payment_method",
            "allow_redisplay": "unspecified",
            "billing_details": billing,
            "card": {
                "brand": card.brand,
                "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
                "country": "US",
                "display_brand": card.brand,
                "exp_month": month,
                "exp_year": year,
                "fingerprint": f"standin{card.number[-4:]}",
                "funding": "credit",
                "generated_from": None,
                "last4": card.number[-4:],
                "networks": {"available": [card.brand], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
            "created": account.now(),
            "customer": None,
            "livemode": False,
            "metadata": {},
            "type": "card",
        }
    )


def retrieve(account: Account, _: Params, method_id: str) -> Json:
    """Show a payment method."""
    return account.store.get("payment_method", method_id)


def update(account: Account, params: Params, method_id: str) -> Json:
    """Change a payment method's billing details and metadata."""
    row = account.store.get("payment_method", method_id)
    changes: Json = {}
    if "metadata" in params:
        changes["metadata"] = metadata(params, row)
    if params.get("billing_details"):
        changes["billing_details"] = {**row["billing_details"], **params["billing_details"]}
    return account.change(row, changes, "payment_method.updated")


def attach(account: Account, params: Params, method_id: str) -> Json:
    """Attach a payment method, or a new one made of a test card's token, to a customer."""
    customer = customers.living(account, params.get("customer", ""))
    card = _BY_TOKEN.get(method_id)
    row = make(account, card) if card else account.store.get("payment_method", method_id)
    if row["customer"] not in (None, customer["id"]):
        raise invalid("The payment method you provided has already been attached to a customer.")
    if card_of(row).setup not in ("", "authentication"):
        raise decline(card_of(row).setup)
    return attached(account, row, str(customer["id"]))


def attached(account: Account, row: Json, customer_id: str) -> Json:
    """Return a payment method attached to a customer."""
    if row["customer"] == customer_id:
        return row
    return account.change(row, {"customer": customer_id}, "payment_method.attached")


def detach(account: Account, _: Params, method_id: str) -> Json:
    """Detach a payment method; it is no customer's default any more, and can't be used again."""
    row = account.store.get("payment_method", method_id)
    if row["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer = account.store.get("customer", row["customer"])
    if customer["invoice_settings"]["default_payment_method"] == method_id:
        settings = {**customer["invoice_settings"], "default_payment_method": None}
        account.change(customer, {"invoice_settings": settings}, "customer.updated")
    return account.change(row, {"customer": None}, "payment_method.detached")


def list_all(account: Account, params: Params) -> Json:
    """List a customer's payment methods."""
    if "customer" not in params:
        raise invalid("Missing required param: customer.", code="parameter_missing", param="customer")
    customers.living(account, params["customer"])
    return _listed(account, params, params["customer"], "/v1/payment_methods")


def list_of(account: Account, params: Params, customer_id: str) -> Json:
    """List a customer's payment methods, by the customer's address."""
    customers.living(account, customer_id, param="id")
    return _listed(account, params, customer_id, f"/v1/customers/{customer_id}/payment_methods")


def _listed(account: Account, params: Params, customer_id: str, url: str) -> Json:
    kind = params.get("type", "card")
    return page_of(
        account, "payment_method", params, url, customer=customer_id, keep=lambda row: bool(row["type"] == kind)
    )
