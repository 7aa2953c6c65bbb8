"""Which of our rows an event of Stripe's is about: a pure function of its type and its object.

Only links are read from it, which never change; what became of the things that they lead to is asked of Stripe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AboutInvoice:
    """See this invoice anew."""

    invoice: str


@dataclass(frozen=True, slots=True)
class AboutPayment:
    """See the invoice anew that this payment intent pays."""

    intent: str


@dataclass(frozen=True, slots=True)
class AboutCustomer:
    """See this customer anew; `session` took down a payment method."""

    customer: str
    session: str = ""


Concern = AboutInvoice | AboutPayment | AboutCustomer

_CUSTOMER = ("customer.", "payment_method.", "setup_intent.", "cash_balance.", "customer_balance_transaction.")
_PAYMENT = ("refund.", "charge.", "payment_intent.")


def concern_of(kind: str, thing: Mapping[str, Any]) -> Concern | None:
    """Return what to look at for an event of the type `kind` about `thing`; None for what means nothing here."""
    match kind.partition(".")[0]:
        case "invoice":
            return _about_invoice(_link(thing.get("id")))
        case "credit_note" | "invoice_payment":
            return _about_invoice(_link(thing.get("invoice")))
        case "checkout":
            return _about_session(kind, thing)
    if kind.startswith(_PAYMENT):
        intent = _link(thing.get("id")) if kind.startswith("payment_intent.") else _link(thing.get("payment_intent"))
        return AboutPayment(intent) if intent else None
    if kind.startswith(_CUSTOMER):
        own = thing.get("object") == "customer"
        customer = _link(thing.get("id") if own else thing.get("customer"))
        return AboutCustomer(customer) if customer else None
    return None


def _about_invoice(invoice: str) -> AboutInvoice | None:
    return AboutInvoice(invoice) if invoice else None


def _about_session(kind: str, thing: Mapping[str, Any]) -> AboutCustomer | None:
    customer = _link(thing.get("customer"))
    if kind != "checkout.session.completed" or thing.get("mode") != "setup" or not customer:
        return None
    return AboutCustomer(customer, _link(thing.get("id")))


def _link(value: Any) -> str:
    """Return the id that `value` is, or has where Stripe sent the whole thing; "" for anything else."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) else ""
