"""What Stripe has, as plain values: the rest of billing never holds one of its library's objects."""

from dataclasses import dataclass
from datetime import datetime

from billing.models import MovementKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenInvoice:
    """An invoice at Stripe."""

    id: str
    #: Of the statement that it was made for, from its metadata.
    statement: str
    #: What of its words was set last, as a digest; "" before.
    described: str = ""
    #: "draft", "open", "paid", "uncollectible" or "void".
    status: str
    currency: str
    #: The items' sum, less discounts, without tax.
    net_cents: int
    tax_cents: int = 0
    #: What the customer has to pay in all, and what was paid, and what is open.
    due_cents: int = 0
    paid_cents: int = 0
    credited_cents: int = 0
    number: str = ""
    hosted_url: str = ""
    pdf_url: str = ""
    tries: int = 0
    next_try_at: datetime | None = None
    finalized_at: datetime | None = None
    paid_at: datetime | None = None
    #: Why Stripe doesn't finalize it by itself, such as a tax that can't be computed.
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class SeenItem:
    """One item of an invoice at Stripe."""

    #: Ours, from its metadata; "" for what somebody else put there.
    key: str
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMovement:
    """A payment, refund, credit note or dispute at Stripe."""

    id: str
    kind: MovementKind
    currency: str
    cents: int
    status: str
    happened_at: datetime
    payment_intent: str = ""
    reason: str = ""
    number: str = ""
    pdf_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenMethod:
    """A payment method, and what of it may be shown."""

    id: str
    brand: str
    last4: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCustomer:
    """A customer at Stripe."""

    id: str
    #: None without a default.
    method: SeenMethod | None
    #: In cents; below zero is the customer's money in hand.
    balance_cents: int
