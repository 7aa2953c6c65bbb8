"""Credit notes: what is taken off an open invoice, or given back of a paid one."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from billing.standin.account import Account, Params
from billing.standin.errors import invalid
from billing.standin.listing import listed, page_of, slice_of
from billing.standin.store import Json, new_id
from billing.standin.sums import Totals, percent_of, totals, without_tax

from . import drafts, items, payments, refunds, settling
from .endpoint import PAGING, Endpoint, metadata

MAX_LINES = 250
_FIELDS = "amount credit_amount effective_at invoice lines memo metadata out_of_band_amount reason refund_amount"
_WAYS = ("refund_amount", "credit_amount", "out_of_band_amount")


def endpoints() -> list[Endpoint]:
    """Return the addresses of credit notes."""
    every, one = "/v1/credit_notes", "/v1/credit_notes/{}"
    lines = f"{one}/lines"
    return [
        Endpoint("POST", every, "credit_notes.create", "CreditNoteCreateParams", create, _FIELDS),
        Endpoint(
            "GET", every, "credit_notes.list", "CreditNoteListParams", list_all, f"{PAGING} created customer invoice"
        ),
        Endpoint("GET", one, "credit_notes.retrieve", "CreditNoteRetrieveParams", retrieve),
        Endpoint("POST", one, "credit_notes.update", "CreditNoteUpdateParams", update, "memo metadata"),
        Endpoint("POST", f"{one}/void", "credit_notes.void", "CreditNoteVoidCreditNoteParams", void),
        Endpoint("GET", lines, "credit_notes.lines.list", "CreditNoteLineItemListParams", list_lines, PAGING),
    ]


@dataclass(frozen=True, slots=True)
class _Credited:
    """What a credit note comes to: its lines as asked for, their amounts without tax, and the sums, in cents."""

    lines: Sequence[Params]
    amounts: Sequence[int]
    sums: Totals


def create(account: Account, params: Params) -> Json:
    """Credit a finalized invoice.

    What isn't paid yet is taken off what is due; of what is paid, `refund_amount` goes back to the card,
    `credit_amount` to the customer's balance, `out_of_band_amount` elsewhere, and these must add up.
    """
    invoice = account.store.get("invoice", params["invoice"], param="invoice")
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        raise invalid(f"Credit notes are for finalized invoices, this one is {invoice['status']}.", param="invoice")
    credited = _credited(account, invoice, params)
    amount = credited.sums.total
    before = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    left = invoice["total"] - before
    if not 1 <= amount <= left:
        message = f"The credit note's total ({amount}) must be from 1 to what is left of the invoice's ({left})."
        raise invalid(message, param="amount" if "amount" in params else "lines")
    paid_part = max(amount - invoice["amount_remaining"], 0)
    _must_add_up(params, paid_part)
    note = _note(account, invoice, params, credited, paid_part)
    if params.get("refund_amount"):
        note["refunds"] = [_refund(account, invoice, params["refund_amount"])]
    account.add(note, "credit_note.created")
    _lower_customers_balance(account, invoice["customer"], params.get("credit_amount", 0))
    _lower(account, invoice, amount - paid_part, paid_part)
    return note


def retrieve(account: Account, _: Params, note_id: str) -> Json:
    """Show a credit note."""
    return account.store.get("credit_note", note_id)


def update(account: Account, params: Params, note_id: str) -> Json:
    """Change a credit note's memo and metadata."""
    row = account.store.get("credit_note", note_id)
    changes: Json = {"metadata": metadata(params, row)} if "metadata" in params else {}
    if "memo" in params:
        changes["memo"] = params["memo"]
    return account.change(row, changes, "credit_note.updated")


def void(account: Account, _: Params, note_id: str) -> Json:
    """Annul a credit note of an open invoice: what it took off is due again."""
    note = account.store.get("credit_note", note_id)
    invoice = account.store.get("invoice", note["invoice"])
    if note["status"] != "issued" or invoice["status"] != "open":
        raise invalid("Only an issued credit note of an open invoice can be voided.", code="resource_conflict")
    note = account.change(note, {"status": "void", "voided_at": account.now()}, "credit_note.voided")
    _lower(account, invoice, -note["pre_payment_amount"], 0)
    return note


def list_all(account: Account, params: Params) -> Json:
    """List credit notes."""
    return page_of(
        account,
        "credit_note",
        params,
        "/v1/credit_notes",
        customer=params.get("customer"),
        invoice=params.get("invoice"),
    )


def list_lines(account: Account, params: Params, note_id: str) -> Json:
    """List a credit note's lines."""
    lines = account.store.get("credit_note", note_id)["lines"]
    return slice_of(lines["data"], params, lines["url"])


def _credited(account: Account, invoice: Json, params: Params) -> _Credited:
    if ("amount" in params) == ("lines" in params):
        raise invalid("Give either amount or lines.", code="parameter_missing", param="amount")
    if "amount" in params:
        total = params["amount"]
        subtotal = without_tax(total, invoice["subtotal"], invoice["total"])
        line = {"type": "custom_line_item", "description": params.get("memo") or "Credit"}
        return _Credited([line], [subtotal], Totals(subtotal, (total - subtotal,), total - subtotal, total))
    lines = params["lines"]
    if len(lines) > MAX_LINES:
        raise invalid(f"A credit note has at most {MAX_LINES} lines.", param="lines")
    known = {line["id"]: line["amount"] for line in items.lines_of(account, invoice)}
    amounts = [_line_amount(line, known, number) for number, line in enumerate(lines)]
    percent = Decimal(0)
    if invoice["automatic_tax"]["enabled"]:
        percent = percent_of((invoice["customer_address"] or {}).get("country"), invoice["customer_tax_exempt"])
    return _Credited(lines, amounts, totals(amounts, percent))


def _line_amount(line: Params, known: Params, number: int) -> int:
    where = f"lines[{number}]"
    if line["type"] == "custom_line_item":
        if "unit_amount" not in line or "description" not in line:
            message = "Custom lines need description and unit_amount."
            raise invalid(message, code="parameter_missing", param=f"{where}[unit_amount]")
        return int(line["unit_amount"] * line.get("quantity", 1))
    if line.get("invoice_line_item") not in known:
        raise invalid("No such line of this invoice.", code="resource_missing", param=f"{where}[invoice_line_item]")
    whole: Any = known[line["invoice_line_item"]]
    amount = line.get("amount", whole)
    if abs(amount) > abs(whole):
        raise invalid(f"The line is {whole}: {amount} can't be credited.", param=f"{where}[amount]")
    return int(amount)


def _must_add_up(params: Params, paid_part: int) -> None:
    given = sum(params.get(way, 0) for way in _WAYS)
    if given != paid_part:
        message = (
            f"The sum of {', '.join(_WAYS)} ({given}) must equal the part of the credit note that is paid already "
            f"({paid_part})."
        )
        raise invalid(message, param="refund_amount")


def _refund(account: Account, invoice: Json, amount: int) -> Json:
    payment = payments.payment_of(account, invoice["id"])
    if payment is None or payment["status"] != "paid":
        raise invalid("The invoice wasn't paid by card: there is nothing to refund.", param="refund_amount")
    made = refunds.create(account, {"payment_intent": payment["payment"]["payment_intent"], "amount": amount})
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": made["id"], "type": "refund"}


def _lower(account: Account, invoice: Json, unpaid: int, paid: int) -> None:
    """Take `unpaid` off what an invoice still asks for, and note what was given back."""
    changes = {
        "amount_due": invoice["amount_due"] - unpaid,
        "amount_remaining": invoice["amount_remaining"] - unpaid,
        "pre_payment_credit_notes_amount": invoice["pre_payment_credit_notes_amount"] + unpaid,
        "post_payment_credit_notes_amount": invoice["post_payment_credit_notes_amount"] + paid,
    }
    invoice = account.change(invoice, changes, "invoice.updated")
    if not unpaid:
        return
    settling.ask_for(account, invoice)
    if invoice["amount_remaining"] == 0:
        settling.settle(account, invoice)


def _lower_customers_balance(account: Account, customer_id: str, credit: int) -> None:
    customer = account.store.get("customer", customer_id)
    settling.set_balance(account, customer, customer["balance"] - credit)


def _note(account: Account, invoice: Json, params: Params, credited: _Credited, paid_part: int) -> Json:
    note_id, sums = new_id("cn"), credited.sums
    sequence = account.store.count(f"credit notes of {invoice['id']}")
    unpaid = sums.total - paid_part
    kind = "mixed" if unpaid and paid_part else "post_payment" if paid_part else "pre_payment"
    taxed = invoice["automatic_tax"]["enabled"]
    lines = [
        _line(line, amount, drafts.tax_lines(tax, amount) if taxed else [])
        for line, amount, tax in zip(credited.lines, credited.amounts, sums.taxes, strict=True)
    ]
    return {
        "id": note_id,
        "object": "credit_note",
        "amount": sums.total,
        "amount_shipping": 0,
        "created": account.now(),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": params.get("effective_at", account.now()),
        "invoice": invoice["id"],
        "lines": listed(lines, f"/v1/credit_notes/{note_id}/lines"),
        "livemode": False,
        "memo": params.get("memo"),
        "metadata": metadata(params),
        "number": f"{invoice['number']}-CN-{sequence:02d}",
        "out_of_band_amount": params.get("out_of_band_amount"),
        "pdf": f"{account.base_url}/credit-note/{note_id}/pdf",
        "post_payment_amount": paid_part,
        "pre_payment_amount": unpaid,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": sums.subtotal,
        "subtotal_excluding_tax": sums.subtotal,
        "total": sums.total,
        "total_excluding_tax": sums.subtotal,
        "total_taxes": drafts.tax_lines(sums.tax, sums.subtotal) if taxed else [],
        "type": kind,
        "voided_at": None,
    }


def _line(line: Params, amount: int, taxes: list[Json]) -> Json:
    return {
        "id": new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": line.get("description"),
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": line.get("invoice_line_item"),
        "livemode": False,
        "metadata": metadata(line),
        "pretax_credit_amounts": [],
        "quantity": line.get("quantity", 1),
        "tax_rates": [],
        "taxes": taxes,
        "type": line["type"],
        "unit_amount": line.get("unit_amount", amount),
        "unit_amount_decimal": str(line.get("unit_amount", amount)),
    }
