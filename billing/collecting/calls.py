"""What is asked of Stripe, in our words: plain values in, plain values out. Each function is one kind of request.

Every list is bounded. Those that write take an idempotency key, and with the same key always send the same: what may
change is sent by requests of its own that set it, so that a repeated one does no harm. Raises what `door.asking` does.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from billing.models import MovementKind

from .door import asking
from .errors import Refused
from .plan import Item
from .seen import SeenCustomer, SeenInvoice, SeenItem, SeenMethod, SeenMovement

PAGE: Final = 100
#: More of one thing than this is nothing that we made.
MOST: Final = 1_000


def customer_find(team_id: str) -> str:
    """Return the id of the customer that was made for this team; "" without one.

    The search lags a minute or so behind: what is younger is found by its idempotency key.
    """
    with asking() as stripe:
        found = stripe.v1.customers.search({"query": f"metadata['team']:'{team_id}'", "limit": 2})
        ids = [customer.id for customer in found.data if not getattr(customer, "deleted", False)]
    if len(ids) > 1:
        raise Refused(f"Stripe has several customers for the team {team_id}: delete all but one.", reason="ambiguous")
    return ids[0] if ids else ""


def customer_create(team_id: str, key: str) -> str:
    """Make a customer that bears only the team's id; returns Stripe's."""
    with asking(writes=True) as stripe:
        return stripe.v1.customers.create({"metadata": {"team": team_id}}, {"idempotency_key": key}).id


def customer_describe(customer: str, *, name: str, email: str, address: Mapping[str, str]) -> None:
    """Set what invoices are addressed to."""
    with asking(writes=True) as stripe:
        wanted: Any = {"name": name, "email": email, "address": dict(address) or ""}
        stripe.v1.customers.update(customer, wanted)


def customer_tax_ids(customer: str, wanted: Iterable[tuple[str, str]]) -> None:
    """Bring a customer's tax ids, pairs of Stripe's type and the value, to these."""
    missing = set(wanted)
    with asking(writes=True) as stripe:
        for present in stripe.v1.customers.tax_ids.list(customer, {"limit": PAGE}).data:
            if (present.type, present.value) in missing:
                missing.remove((present.type, present.value))
            else:
                stripe.v1.customers.tax_ids.delete(customer, present.id)
        for kind, value in sorted(missing):
            create: Any = {"type": kind, "value": value}
            stripe.v1.customers.tax_ids.create(customer, create)


def customer_see(customer: str) -> SeenCustomer:
    """Return a customer with its default payment method."""
    with asking() as stripe:
        seen = stripe.v1.customers.retrieve(customer, {"expand": ["invoice_settings.default_payment_method"]})
        if getattr(seen, "deleted", False):
            raise Refused(f"The customer {customer} was deleted at Stripe.", reason="customer_deleted")
        method = seen.invoice_settings.default_payment_method if seen.invoice_settings else None
        if isinstance(method, str):
            method = stripe.v1.payment_methods.retrieve(method)
    return SeenCustomer(id=seen.id, method=_method(method) if method else None, balance_cents=seen.balance or 0)


def methods_of(customer: str) -> list[SeenMethod]:
    """Return a customer's payment methods, newest first."""
    with asking() as stripe:
        found = stripe.v1.customers.payment_methods.list(customer, {"limit": PAGE}).data
    return sorted(map(_method, found), key=lambda method: method.made_at, reverse=True)


def method_prefer(customer: str, method: str) -> None:
    """Let invoices of this customer be paid by this method."""
    with asking(writes=True) as stripe:
        stripe.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})


def method_forget(method: str) -> None:
    """Detach a payment method from its customer: it can't be used any more."""
    with asking(writes=True) as stripe:
        stripe.v1.payment_methods.detach(method)


def setup_page(customer: str, *, success_url: str, cancel_url: str, currency: str) -> str:
    """Return the address of a page of Stripe's that takes down a payment method; 3-D Secure happens there."""
    with asking(writes=True) as stripe:
        session = stripe.v1.checkout.sessions.create(
            {
                "mode": "setup",
                "customer": customer,
                "currency": currency.lower(),
                "success_url": success_url,
                "cancel_url": cancel_url,
            }
        )
    if not session.url:
        raise Refused("Stripe gave no address for the page.", reason="no_url")
    return session.url


def setup_method(session_id: str) -> SeenMethod | None:
    """Return the payment method that such a page took down; None if it didn't come to that."""
    with asking() as stripe:
        session = stripe.v1.checkout.sessions.retrieve(session_id)
        intent_id = session.setup_intent
        if not isinstance(intent_id, str):
            return None
        intent = stripe.v1.setup_intents.retrieve(intent_id)
        if intent.status != "succeeded" or not isinstance(intent.payment_method, str):
            return None
        return _method(stripe.v1.payment_methods.retrieve(intent.payment_method))


def portal_page(customer: str, *, return_url: str) -> str:
    """Return the address of Stripe's customer portal: cards and invoices."""
    with asking(writes=True) as stripe:
        return stripe.v1.billing_portal.sessions.create({"customer": customer, "return_url": return_url}).url


def invoice_find(customer: str, *, month: str, currency: str) -> SeenInvoice | None:
    """Return what was invoiced to this customer for this month ("2026-10").

    By the list, which shows at once what was made: a search lags. Whatever statement it was made from: a restored
    database may make another one of the same month. Raises Refused when there are several.
    """
    with asking() as stripe:
        listed = stripe.v1.invoices.list({"customer": customer, "limit": PAGE})
        found = [
            invoice
            for invoice in islice(listed.auto_paging_iter(), MOST)
            if _of(invoice.metadata, "month") == month
            and invoice.currency == currency.lower()
            and invoice.status != "void"
        ]
    if len(found) > 1:
        names = ", ".join(invoice.id for invoice in found)
        raise Refused(f"Stripe has several invoices for {month}: {names}. Void all but one.", reason="ambiguous")
    return _invoice(found[0]) if found else None


def invoice_see(invoice: str) -> SeenInvoice:
    """Return an invoice. Raises Gone for a draft that was deleted."""
    with asking() as stripe:
        return _invoice(stripe.v1.invoices.retrieve(invoice))


def invoice_create(customer: str, *, currency: str, about: Mapping[str, str], key: str) -> SeenInvoice:
    """Make an empty draft that stays one until we finalize it, without stray items of the customer's."""
    with asking(writes=True) as stripe:
        made = stripe.v1.invoices.create(
            {
                "customer": customer,
                "currency": currency.lower(),
                "collection_method": "charge_automatically",
                # Else Stripe finalizes it after an hour, with the items that it has by then.
                "auto_advance": False,
                "pending_invoice_items_behavior": "exclude",
                "metadata": dict(about),
            },
            {"idempotency_key": key},
        )
    return _invoice(made)


def items_of(invoice: str) -> list[SeenItem]:
    """Return a draft's items."""
    with asking() as stripe:
        listed = stripe.v1.invoice_items.list({"invoice": invoice, "limit": PAGE})
        return [SeenItem(_of(item.metadata, "line"), item.amount) for item in islice(listed.auto_paging_iter(), MOST)]


def item_create(customer: str, invoice: str, item: Item, *, currency: str, taxed: bool, key: str) -> None:
    """Put an item on a draft."""
    with asking(writes=True) as stripe:
        wanted: Any = {
            "customer": customer,
            "invoice": invoice,
            "amount": item.cents,
            "currency": currency.lower(),
            "description": item.description,
            # Nobody lowers by a discount at Stripe what a statement says.
            "discountable": False,
            # Stripe's periods end with their last second.
            "period": {"start": _stamp(item.begin), "end": max(_stamp(item.begin), _stamp(item.end) - 1)},
            "metadata": {"line": item.key, **({"lines": str(item.lines)} if item.lines > 1 else {})},
        }
        if taxed:
            wanted["tax_behavior"] = "exclusive"
        stripe.v1.invoice_items.create(wanted, {"idempotency_key": key})


def invoice_describe(invoice: str, *, description: str, po_number: str, taxed: bool, described: str) -> None:
    """Set a draft's words, the purchase order's number and whether Stripe computes taxes; `described` marks it done."""
    with asking(writes=True) as stripe:
        wanted: Any = {
            "description": description,
            "custom_fields": [{"name": "PO number", "value": po_number}] if po_number else "",
            "metadata": {"described": described},
        }
        if taxed:
            wanted["automatic_tax"] = {"enabled": True}
        stripe.v1.invoices.update(invoice, wanted)


def invoice_finalize(invoice: str, key: str) -> SeenInvoice:
    """Make a draft an invoice, which Stripe collects from here on."""
    with asking(writes=True) as stripe:
        done = stripe.v1.invoices.finalize_invoice(invoice, {"auto_advance": True}, {"idempotency_key": key})
    return _invoice(done)


def invoice_pay(invoice: str, key: str) -> SeenInvoice:
    """Try to take the money now, from the customer's default payment method. Raises Refused when it is declined."""
    with asking(writes=True) as stripe:
        return _invoice(stripe.v1.invoices.pay(invoice, {}, {"idempotency_key": key}))


def invoice_give_up(invoice: str) -> None:
    """Tell Stripe that nobody expects this money any more: it stops trying."""
    with asking(writes=True) as stripe:
        stripe.v1.invoices.mark_uncollectible(invoice)


def credit_find(customer: str, statement: str) -> str:
    """Return the id of the entry in the customer's balance that was made for a statement; "" without one."""
    with asking() as stripe:
        listed = stripe.v1.customers.balance_transactions.list(customer, {"limit": PAGE})
        entries = islice(listed.auto_paging_iter(), MOST)
        return next((entry.id for entry in entries if _of(entry.metadata, "statement") == statement), "")


def credit_create(customer: str, *, cents: int, currency: str, statement: str, description: str, key: str) -> str:
    """Put so many cents into the customer's hand: the next invoices are lowered by them. Returns the entry's id."""
    with asking(writes=True) as stripe:
        made = stripe.v1.customers.balance_transactions.create(
            customer,
            {
                "amount": -cents,
                "currency": currency.lower(),
                "description": description,
                "metadata": {"statement": statement},
            },
            {"idempotency_key": key},
        )
    return made.id


def movements_of(invoice: str) -> list[SeenMovement]:
    """Return all payments of an invoice with their refunds and disputes, and its credit notes."""
    with asking() as stripe:
        paid = stripe.v1.invoice_payments.list({"invoice": invoice, "limit": PAGE}).data
        notes = stripe.v1.credit_notes.list({"invoice": invoice, "limit": PAGE}).data
        seen = [_payment(payment) for payment in paid]
        for intent in sorted({payment.payment_intent for payment in seen} - {""}):
            refunds = stripe.v1.refunds.list({"payment_intent": intent, "limit": PAGE}).data
            disputes = stripe.v1.disputes.list({"payment_intent": intent, "limit": PAGE}).data
            seen += [_moved(refund, MovementKind.REFUND, intent) for refund in refunds]
            seen += [_moved(dispute, MovementKind.DISPUTE, intent) for dispute in disputes]
    return seen + [_note(note) for note in notes]


def disputes_since(since: datetime) -> list[SeenMovement]:
    """Return the disputes of all customers that were opened since then, the newest ones where there are very many."""
    with asking() as stripe:
        listed = stripe.v1.disputes.list({"created": {"gte": _stamp(since)}, "limit": PAGE})
        return [
            _moved(dispute, MovementKind.DISPUTE, _id(dispute.payment_intent))
            for dispute in islice(listed.auto_paging_iter(), MOST)
        ]


def invoice_of_payment(intent: str) -> str:
    """Return the id of the invoice that a payment intent pays; "" without one."""
    with asking() as stripe:
        found = stripe.v1.invoice_payments.list(
            {"payment": {"type": "payment_intent", "payment_intent": intent}, "limit": 1}
        ).data
    return _id(found[0].invoice) if found else ""


def _invoice(seen: Any) -> SeenInvoice:
    tax = sum(part.amount for part in seen.total_taxes or [])
    moved = seen.status_transitions
    trouble = seen.last_finalization_error
    return SeenInvoice(
        id=seen.id,
        statement=_of(seen.metadata, "statement"),
        described=_of(seen.metadata, "described"),
        status=seen.status or "",
        currency=seen.currency.upper(),
        net_cents=seen.total - tax,
        tax_cents=tax,
        due_cents=seen.amount_due,
        paid_cents=seen.amount_paid,
        credited_cents=seen.pre_payment_credit_notes_amount + seen.post_payment_credit_notes_amount,
        number=seen.number or "",
        hosted_url=seen.hosted_invoice_url or "",
        pdf_url=seen.invoice_pdf or "",
        tries=seen.attempt_count,
        next_try_at=_time(seen.next_payment_attempt),
        finalized_at=_time(moved.finalized_at),
        paid_at=_time(moved.paid_at),
        trouble=str(trouble.message or trouble.code or "") if trouble else "",
    )


def _method(seen: Any) -> SeenMethod:
    #: Its details are kept under the name of its type.
    details = getattr(seen, seen.type, None)
    return SeenMethod(
        id=seen.id,
        brand=str(getattr(details, "brand", None) or seen.type)[:32],
        last4=str(getattr(details, "last4", None) or "")[:4],
        made_at=_at(seen.created),
    )


def _payment(seen: Any) -> SeenMovement:
    return SeenMovement(
        id=seen.id,
        kind=MovementKind.PAYMENT,
        currency=seen.currency.upper(),
        cents=seen.amount_paid if seen.amount_paid is not None else seen.amount_requested,
        status=seen.status,
        happened_at=_time(seen.status_transitions.paid_at) or _at(seen.created),
        payment_intent=_id(getattr(seen.payment, "payment_intent", None)),
    )


def _moved(seen: Any, kind: MovementKind, intent: str) -> SeenMovement:
    return SeenMovement(
        id=seen.id,
        kind=kind,
        currency=seen.currency.upper(),
        cents=seen.amount,
        status=seen.status or "",
        happened_at=_at(seen.created),
        payment_intent=intent,
        reason=seen.reason or "",
    )


def _note(seen: Any) -> SeenMovement:
    return SeenMovement(
        id=seen.id,
        kind=MovementKind.CREDIT_NOTE,
        currency=seen.currency.upper(),
        cents=seen.total,
        status=seen.status,
        happened_at=_at(seen.created),
        reason=seen.reason or "",
        number=seen.number or "",
        pdf_url=seen.pdf or "",
    )


def _of(metadata: Any, name: str) -> str:
    return str(metadata[name]) if metadata and name in metadata else ""


def _id(link: Any) -> str:
    """Return the id of what may be a link or the thing itself."""
    return link if isinstance(link, str) else str(link.id) if link else ""


def _stamp(at: datetime) -> int:
    return int(at.timestamp())


def _at(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)


def _time(stamp: int | None) -> datetime | None:
    return None if stamp is None else _at(stamp)
