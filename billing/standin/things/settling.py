"""What ends an invoice: finalized, paid, void, uncollectible; and what happens by itself when its time has come."""

from collections.abc import Mapping

from billing.standin.account import Account, Params
from billing.standin.errors import ApiError, invalid
from billing.standin.store import Json
from billing.standin.sums import due

from . import customers, drafts, payments, setups
from .endpoint import Endpoint

DAY_SECONDS = 86_400
#: After which days a charge that failed by itself is tried again.
RETRY_DAYS = (3, 5, 7)
_ALREADY: Mapping[str, str] = {"paid": "Invoice is already paid"}


def endpoints() -> list[Endpoint]:
    """Return the addresses that settle invoices."""
    one = "/v1/invoices/{}"
    return [
        Endpoint(
            "POST", f"{one}/finalize", "invoices.finalize", "InvoiceFinalizeInvoiceParams", finalize, "auto_advance"
        ),
        Endpoint(
            "POST",
            f"{one}/pay",
            "invoices.pay",
            "InvoicePayParams",
            pay,
            "off_session paid_out_of_band payment_method",
        ),
        Endpoint("POST", f"{one}/void", "invoices.void", "InvoiceVoidInvoiceParams", void),
        Endpoint("POST", f"{one}/send", "invoices.send", "InvoiceSendInvoiceParams", send),
        Endpoint(
            "POST",
            f"{one}/mark_uncollectible",
            "invoices.mark_uncollectible",
            "InvoiceMarkUncollectibleParams",
            write_off,
        ),
    ]


def finalize(account: Account, params: Params, invoice_id: str) -> Json:
    """Close a draft and number it; what owes nothing is paid at once."""
    invoice = account.store.get("invoice", invoice_id)
    if invoice["status"] != "draft":
        message = "This invoice is already finalized, you can't re-finalize a non-draft invoice."
        raise invalid(message, code="invoice_not_editable")
    customer = customers.living(account, invoice["customer"])
    invoice |= {"auto_advance": params.get("auto_advance", invoice["auto_advance"])}
    invoice |= drafts.addressed(account, customer)
    invoice |= drafts.amounts(account, invoice)
    invoice = account.change(invoice, _numbered(account, invoice, customer), "invoice.finalized", "invoice.updated")
    set_balance(account, customer, invoice["ending_balance"])
    if invoice["amount_due"] == 0:
        return settle(account, invoice)
    payments.begin(account, invoice)
    if invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically":
        invoice = account.change(invoice, {"next_payment_attempt": account.now()})
        account.store.schedule(invoice["id"], account.now())
    else:
        account.store.schedule(invoice["id"], None)
    return invoice


def _numbered(account: Account, invoice: Json, customer: Json) -> Json:
    amount, balance = due(invoice["total"], customer["balance"])
    sequence, now = customer["next_invoice_sequence"], account.now()
    account.store.save(customer | {"next_invoice_sequence": sequence + 1, "currency": invoice["currency"]})
    customer["next_invoice_sequence"], customer["currency"] = sequence + 1, invoice["currency"]
    hosted = f"{account.base_url}/invoice/{invoice['id']}"
    return {
        "status": "open",
        "number": f"{customer['invoice_prefix']}-{sequence:04d}",
        "amount_due": amount,
        "amount_remaining": amount,
        "starting_balance": customer["balance"],
        "ending_balance": balance,
        "automatically_finalizes_at": None,
        "effective_at": now,
        "hosted_invoice_url": hosted,
        "invoice_pdf": f"{hosted}/pdf",
        "status_transitions": {**invoice["status_transitions"], "finalized_at": now},
    }


def pay(account: Account, params: Params, invoice_id: str) -> Json:
    """Pay an invoice by the card given, the invoice's or the customer's; a draft is finalized first.

    Raises ApiError, with what happened kept, when the card is declined.
    """
    invoice = account.store.get("invoice", invoice_id)
    if invoice["status"] == "draft":
        invoice = finalize(account, {}, invoice_id)
        if invoice["status"] == "paid":
            return invoice
    if invoice["status"] not in ("open", "uncollectible"):
        message = _ALREADY.get(invoice["status"], f"Invoice is {invoice['status']}: it can't be paid.")
        raise invalid(message, code="invoice_already_paid" if invoice["status"] == "paid" else "")
    if params.get("paid_out_of_band"):
        _cancel_payment(account, invoice)
        return settle(account, invoice | {"amount_paid_off_stripe": invoice["amount_remaining"]})
    return collect(account, invoice, _method(account, invoice, params.get("payment_method")))


def collect(account: Account, invoice: Json, method: Json, *, present: bool = False, automatic: bool = False) -> Json:
    """Charge an open invoice; return it paid. Raises ApiError, with what happened kept, when that fails."""
    payment = payments.payment_of(account, invoice["id"])
    assert payment is not None  # an open invoice has one
    intent = account.store.get("payment_intent", payment["payment"]["payment_intent"])
    declined = account.declines(invoice["customer"])
    try:
        payments.charge(account, intent, method, present=present, declined=declined)
    except ApiError as error:
        _failed(account, invoice, error, automatic=automatic)
        raise
    paid = {"status": "paid", "amount_paid": invoice["amount_remaining"]}
    paid["status_transitions"] = {"canceled_at": None, "paid_at": account.now()}
    account.change(payment, paid, "invoice_payment.paid")
    return settle(account, invoice)


def _method(account: Account, invoice: Json, method_id: str | None) -> Json:
    customer = customers.living(account, invoice["customer"])
    settings = customer["invoice_settings"]
    chosen = method_id or invoice["default_payment_method"] or settings["default_payment_method"]
    if not chosen:
        message = (
            "This customer has no attached payment source or default payment method. Please consider adding a default "
            "payment method."
        )
        raise invalid(message, code="resource_missing")
    method = account.store.get("payment_method", chosen, param="payment_method")
    if method["customer"] != customer["id"]:
        raise invalid("The payment method isn't attached to the invoice's customer.", param="payment_method")
    return method


def _failed(account: Account, invoice: Json, error: ApiError, *, automatic: bool) -> None:
    attempts = invoice["attempt_count"] + (automatic or invoice["attempt_count"] == 0)
    changes: Json = {"attempted": True, "attempt_count": attempts}
    if invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically":
        days = RETRY_DAYS[attempts - 1] if attempts <= len(RETRY_DAYS) else None
        changes["next_payment_attempt"] = None if days is None else account.now() + days * DAY_SECONDS
        account.store.schedule(invoice["id"], changes["next_payment_attempt"])
    events = ["invoice.payment_failed", "invoice.updated"]
    if error.code == "invoice_payment_intent_requires_action":
        events.insert(0, "invoice.payment_action_required")
    account.change(invoice, changes, *events)
    _set_delinquent(account, invoice["customer"], late=True)


def settle(account: Account, invoice: Json) -> Json:
    """Return an invoice paid, whatever is left of it."""
    remaining = invoice["amount_remaining"]
    changes = {
        "status": "paid",
        "attempted": True,
        "attempt_count": max(invoice["attempt_count"], 1 if remaining else 0),
        "amount_paid": invoice["amount_paid"] + remaining,
        "amount_paid_off_stripe": invoice["amount_paid_off_stripe"],
        "amount_remaining": 0,
        "next_payment_attempt": None,
        "status_transitions": {**invoice["status_transitions"], "paid_at": account.now()},
    }
    account.store.schedule(invoice["id"], None)
    _set_delinquent(account, invoice["customer"], late=False)
    return account.change(invoice, changes, "invoice.updated", "invoice.payment_succeeded", "invoice.paid")


def void(account: Account, _: Params, invoice_id: str) -> Json:
    """Annul an invoice that isn't paid; what it took from the customer's balance is given back."""
    invoice = _ending(account, invoice_id, ("open", "uncollectible"), "voided")
    customer = account.store.get("customer", invoice["customer"])
    set_balance(account, customer, customer["balance"] + invoice["starting_balance"] - invoice["ending_balance"])
    _cancel_payment(account, invoice)
    changes = {
        "status": "void",
        "amount_remaining": 0,
        "next_payment_attempt": None,
        "status_transitions": {**invoice["status_transitions"], "voided_at": account.now()},
    }
    return account.change(invoice, changes, "invoice.voided", "invoice.updated")


def write_off(account: Account, _: Params, invoice_id: str) -> Json:
    """Mark an open invoice as uncollectible; it can still be paid or voided."""
    invoice = _ending(account, invoice_id, ("open",), "marked uncollectible")
    changes = {
        "status": "uncollectible",
        "next_payment_attempt": None,
        "status_transitions": {**invoice["status_transitions"], "marked_uncollectible_at": account.now()},
    }
    return account.change(invoice, changes, "invoice.marked_uncollectible", "invoice.updated")


def send(account: Account, _: Params, invoice_id: str) -> Json:
    """Send an invoice; here that is an event, no mail. A draft is finalized first."""
    invoice = account.store.get("invoice", invoice_id)
    if invoice["status"] == "draft":
        invoice = finalize(account, {}, invoice_id)
    if invoice["collection_method"] != "send_invoice":
        raise invalid("Only invoices with collection_method=send_invoice are sent.", param="collection_method")
    account.tell("invoice.sent", invoice)
    return invoice


def advance(account: Account, object_id: str) -> None:
    """Do what is due: finalize a draft, charge an open invoice, let a Checkout session expire.

    Raises ApiError, with what happened kept, when a card is declined.
    """
    row = account.store.find(object_id)
    if row is None:
        return
    if row["object"] == "checkout.session" and row["status"] == "open":
        setups.lapse(account, row)
    elif row["object"] == "invoice" and row["status"] == "draft":
        _advance_draft(account, row)
    elif row["object"] == "invoice" and row["status"] == "open" and row["next_payment_attempt"] is not None:
        _advance_open(account, row)


def _advance_draft(account: Account, invoice: Json) -> None:
    try:
        with account.store.attempt():
            finalize(account, {}, invoice["id"])
    except ApiError as error:
        told = {"type": error.kind, "code": error.code, "message": error.message}
        account.change(invoice, {"auto_advance": False, "last_finalization_error": told}, "invoice.finalization_failed")


def _advance_open(account: Account, invoice: Json) -> None:
    try:
        method = _method(account, invoice, None)
    except ApiError as error:
        _failed(account, invoice, error, automatic=True)
        return
    collect(account, invoice, method, automatic=True)


def _ending(account: Account, invoice_id: str, allowed: tuple[str, ...], words: str) -> Json:
    invoice = account.store.get("invoice", invoice_id)
    if invoice["status"] not in allowed:
        message = f"You can only pass in open invoices. This invoice is {invoice['status']}: it can't be {words}."
        raise invalid(message, code="invoice_not_editable")
    account.store.schedule(invoice_id, None)
    return invoice


def _cancel_payment(account: Account, invoice: Json) -> None:
    payment = payments.payment_of(account, invoice["id"])
    if payment is None or payment["status"] != "open":
        return
    payments.cancel(account, account.store.get("payment_intent", payment["payment"]["payment_intent"]), "void_invoice")
    account.change(
        payment,
        {"status": "canceled", "status_transitions": {"canceled_at": account.now(), "paid_at": None}},
    )


def ask_for(account: Account, invoice: Json) -> None:
    """Have an open invoice's payment ask for what is left of it; nothing left: it is canceled."""
    payment = payments.payment_of(account, invoice["id"])
    if payment is None or payment["status"] != "open":
        return
    if invoice["amount_remaining"] == 0:
        _cancel_payment(account, invoice)
        return
    intent = account.store.get("payment_intent", payment["payment"]["payment_intent"])
    account.change(intent, {"amount": invoice["amount_remaining"]})
    account.change(payment, {"amount_requested": invoice["amount_remaining"]})


def set_balance(account: Account, customer: Json, balance: int) -> None:
    """Change a customer's balance, if it does."""
    if customer["balance"] != balance:
        account.change(customer, {"balance": balance}, "customer.updated")


def _set_delinquent(account: Account, customer_id: str, *, late: bool) -> None:
    customer = account.store.get("customer", customer_id)
    if customer["delinquent"] != late:
        account.change(customer, {"delinquent": late}, "customer.updated")
