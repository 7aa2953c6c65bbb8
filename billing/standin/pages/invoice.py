"""The page of an invoice, on which it can be paid; invoices and credit notes as PDF."""

from collections.abc import Iterable
from datetime import UTC, datetime

from starlette.responses import RedirectResponse, Response

from billing.standin.account import Account
from billing.standin.errors import ApiError, invalid
from billing.standin.store import Json
from billing.standin.things import cards, items, payments, settling

from .html import Markup, button, card_choices, form, money, page, picked_card, table, tag
from .pdf import pdf

SEE_OTHER = 303


def show(account: Account, invoice_id: str) -> Response:
    """Show a finalized invoice."""
    return _page(account, _finalized(account, invoice_id))


def act(account: Account, invoice_id: str, fields: dict[str, str]) -> Response:
    """Pay an invoice with a card that the visitor picks, and confirms if that card wants it."""
    invoice = _finalized(account, invoice_id)
    if invoice["status"] not in ("open", "uncollectible"):
        return _page(account, invoice)
    try:
        if "confirm" in fields:
            if fields["confirm"] != "yes":
                return _page(account, invoice, error="The payment was not confirmed.")
            method, present = _asked(account, invoice), True
        else:
            card = picked_card(fields)
            method, present = cards.make(account, card) if card else None, False
        if method is None:
            return _page(account, invoice, error="Choose one of the cards.")
        settling.collect(account, invoice, method, present=present)
        cards.attached(account, method, invoice["customer"])
    except ApiError as error:
        asked = error.code == "invoice_payment_intent_requires_action"
        return _page(account, account.store.get("invoice", invoice_id), error="" if asked else error.message)
    return RedirectResponse(f"/invoice/{invoice_id}", SEE_OTHER)


def invoice_pdf(account: Account, invoice_id: str) -> Response:
    """Return an invoice as PDF."""
    invoice = _finalized(account, invoice_id)
    lines = [(line["description"] or "", line["amount"]) for line in items.lines_of(account, invoice)]
    sums = [*_sums(invoice), ("Amount due", invoice["amount_due"])]
    head = [f"Invoice {invoice['number']}", _day(invoice["effective_at"]), invoice["customer_name"] or ""]
    fields = [f"{field['name']}: {field['value']}" for field in invoice["custom_fields"] or []]
    return _pdf([*head, *fields], [*lines, *sums], invoice["currency"])


def note_pdf(account: Account, note_id: str) -> Response:
    """Return a credit note as PDF."""
    note = account.store.get("credit_note", note_id)
    lines = [(line["description"] or "", line["amount"]) for line in note["lines"]["data"]]
    head = [f"Credit note {note['number']}", _day(note["effective_at"])]
    return _pdf(head, [*lines, ("Total", note["total"])], note["currency"])


def _pdf(head: list[str], amounts: Iterable[tuple[str, int]], currency: str) -> Response:
    rows = [f"{text[:70]:<72}{money(cents, currency):>18}" for text, cents in amounts]
    notice = "From a stand-in for Stripe: no money moves."
    return Response(pdf([notice, "", *head, "", *rows]), media_type="application/pdf")


def _finalized(account: Account, invoice_id: str) -> Json:
    invoice = account.store.get("invoice", invoice_id)
    if invoice["status"] == "draft":
        raise invalid("This invoice is still a draft.")
    return invoice


def _intent(account: Account, invoice: Json) -> Json | None:
    payment = payments.payment_of(account, invoice["id"])
    return account.store.get("payment_intent", payment["payment"]["payment_intent"]) if payment else None


def _asked(account: Account, invoice: Json) -> Json | None:
    """Return the payment method whose owner is being asked, if that is so."""
    intent = _intent(account, invoice)
    waits = intent is not None and intent["status"] == "requires_action"
    return account.store.get("payment_method", intent["payment_method"]) if intent and waits else None


def _page(account: Account, invoice: Json, *, error: str = "") -> Response:
    currency = invoice["currency"]
    rows = [(line["description"] or "", money(line["amount"], currency)) for line in items.lines_of(account, invoice)]
    rows += [(text, money(cents, currency)) for text, cents in _sums(invoice)]
    facts = f"{invoice['status'].capitalize()}, of {_day(invoice['effective_at'])}"
    fields = [tag("p", f"{field['name']}: {field['value']}") for field in invoice["custom_fields"] or []]
    content = [
        tag("p", facts),
        *fields,
        table(("Description", "Amount"), rows, f"Due: {money(invoice['amount_remaining'], currency)}"),
        tag("p", tag("a", "Download as PDF", href=f"/invoice/{invoice['id']}/pdf")),
    ]
    if invoice["status"] in ("open", "uncollectible"):
        content.append(_payment(account, invoice))
    return page(f"Invoice {invoice['number']}", *content, error=error)


def _payment(account: Account, invoice: Json) -> Markup:
    action = f"/invoice/{invoice['id']}"
    if _asked(account, invoice):
        return form(
            action,
            tag("p", "The bank asks whether it is you (3-D Secure)."),
            tag("p", button("Yes, pay", "confirm", "yes"), button("No, refuse", "confirm", "no")),
        )
    return form(action, card_choices(), tag("p", tag("button", "Pay", type="submit")))


def _sums(invoice: Json) -> list[tuple[str, int]]:
    tax = sum(row["amount"] for row in invoice["total_taxes"])
    sums = [("Subtotal", invoice["subtotal"]), ("Tax", tax), ("Total", invoice["total"])]
    credited = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    return [*sums, ("Credited", -credited)] if credited else sums


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
