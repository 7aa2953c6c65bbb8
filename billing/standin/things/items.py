"""Invoice items, and the lines of an invoice that they are."""

from collections.abc import Iterable
from typing import Any

from billing.standin.account import Account, Params
from billing.standin.errors import invalid
from billing.standin.listing import limit_of, listed, page_of
from billing.standin.store import Json, new_id

from . import customers, drafts
from .endpoint import PAGING, Endpoint, given, metadata

MAX_ITEMS = 250
MAX_AMOUNT_CENTS = 99_999_999
_FIELDS = "amount currency customer description discountable invoice metadata period tax_behavior"


def endpoints() -> list[Endpoint]:
    """Return the addresses of invoice items and lines."""
    every, one = "/v1/invoiceitems", "/v1/invoiceitems/{}"
    return [
        Endpoint("POST", every, "invoice_items.create", "InvoiceItemCreateParams", create, _FIELDS),
        Endpoint(
            "GET",
            every,
            "invoice_items.list",
            "InvoiceItemListParams",
            list_all,
            f"{PAGING} created customer invoice pending",
        ),
        Endpoint("GET", one, "invoice_items.retrieve", "InvoiceItemRetrieveParams", retrieve),
        Endpoint(
            "POST", one, "invoice_items.update", "InvoiceItemUpdateParams", update, "amount description metadata period"
        ),
        Endpoint("DELETE", one, "invoice_items.delete", "InvoiceItemDeleteParams", delete),
        Endpoint(
            "GET", "/v1/invoices/{}/lines", "invoices.lines.list", "InvoiceLineItemListParams", list_lines, PAGING
        ),
    ]


def create(account: Account, params: Params) -> Json:
    """Add an item to a draft invoice, or to the customer's next one."""
    for name in ("customer", "amount", "currency"):
        if name not in params:
            raise invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)
    if params.get("tax_behavior", "exclusive") != "exclusive":
        raise invalid("This stand-in puts tax on top only (exclusive).", param="tax_behavior")
    customers.living(account, params["customer"])
    invoice = drafts.get(account, params["invoice"], param="invoice") if "invoice" in params else None
    amount, currency = params["amount"], drafts.currency_of(params["currency"])
    _check(account, invoice, params["customer"], currency)
    now = account.now()
    row: Json = {
        "id": new_id("ii"),
        "object": "invoiceitem",
        "amount": _bounded(amount),
        "currency": currency,
        "customer": params["customer"],
        "date": now,
        "description": params.get("description"),
        "discountable": params.get("discountable", amount >= 0),
        "discounts": [],
        "invoice": invoice["id"] if invoice else None,
        "livemode": False,
        "metadata": metadata(params),
        "net_amount": amount,
        "parent": None,
        "period": params.get("period") or {"start": now, "end": now},
        "pricing": None,
        "proration": False,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }
    account.add(row, "invoiceitem.created")
    if invoice:
        drafts.add_up(account, invoice)
    return row


def retrieve(account: Account, _: Params, item_id: str) -> Json:
    """Show an item."""
    return account.store.get("invoiceitem", item_id)


def update(account: Account, params: Params, item_id: str) -> Json:
    """Change an item of a draft, or one that waits for an invoice."""
    row = account.store.get("invoiceitem", item_id)
    invoice = drafts.get(account, row["invoice"]) if row["invoice"] else None
    changes = given(params, "description", "period")
    if "amount" in params:
        changes |= {"amount": _bounded(params["amount"]), "net_amount": params["amount"]}
    if "metadata" in params:
        changes["metadata"] = metadata(params, row)
    # Stripe has no event for this; the invoice's tells it.
    row = account.change(row, changes)
    if invoice:
        drafts.add_up(account, invoice)
    return row


def delete(account: Account, _: Params, item_id: str) -> Json:
    """Take an item off its draft."""
    row = account.store.get("invoiceitem", item_id)
    invoice = drafts.get(account, row["invoice"]) if row["invoice"] else None
    account.store.delete(item_id)
    account.tell("invoiceitem.deleted", row)
    if invoice:
        drafts.add_up(account, invoice)
    return {"id": item_id, "object": "invoiceitem", "deleted": True}


def list_all(account: Account, params: Params) -> Json:
    """List items."""
    pending = params.get("pending")
    return page_of(
        account,
        "invoiceitem",
        params,
        "/v1/invoiceitems",
        customer=params.get("customer"),
        invoice=params.get("invoice"),
        keep=lambda row: pending is None or pending == (row["invoice"] is None),
    )


def list_lines(account: Account, params: Params, invoice_id: str) -> Json:
    """List an invoice's lines in the order in which they were added."""
    invoice = account.store.get("invoice", invoice_id)
    lines = lines_of(account, invoice)
    names = [line["id"] for line in lines]
    for name in ("starting_after", "ending_before"):
        if name in params and params[name] not in names:
            raise invalid(f"No such line item: '{params[name]}'", code="resource_missing", param=name)
    limit, url = limit_of(params), f"/v1/invoices/{invoice_id}/lines"
    if "ending_before" in params:
        end = names.index(params["ending_before"])
        return listed(lines[max(0, end - limit) : end], url, has_more=end > limit)
    begin = names.index(params["starting_after"]) + 1 if "starting_after" in params else 0
    return listed(lines[begin : begin + limit], url, has_more=len(lines) > begin + limit)


def lines_of(account: Account, invoice: Json) -> list[Json]:
    """Return all lines of an invoice."""
    items = list(account.store.rows("invoiceitem", invoice=invoice["id"], oldest_first=True))
    taxes = drafts.totals_of(invoice, items).taxes
    return [_line(invoice, item, tax) for item, tax in zip(items, taxes, strict=True)]


def pull_pending(account: Account, invoice: Json) -> None:
    """Put the customer's items that wait for an invoice on this one."""
    waiting: Iterable[Json] = list(account.store.rows("invoiceitem", customer=invoice["customer"], oldest_first=True))
    for item in waiting:
        if item["invoice"] is None and item["currency"] == invoice["currency"]:
            account.change(item, {"invoice": invoice["id"]})


def _line(invoice: Json, item: Json, tax: int) -> Json:
    details: Json = {"invoice_item": item["id"], "proration": False, "proration_details": None, "subscription": None}
    return {
        "id": f"il_{item['id'].partition('_')[2]}",
        "object": "line_item",
        "amount": item["amount"],
        "currency": item["currency"],
        "description": item["description"],
        "discount_amounts": [],
        "discountable": item["discountable"],
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": item["metadata"],
        "parent": {
            "type": "invoice_item_details",
            "invoice_item_details": details,
            "subscription_item_details": None,
        },
        "period": item["period"],
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "subscription": None,
        "subtotal": item["amount"],
        "taxes": drafts.tax_lines(tax, item["amount"]) if invoice["automatic_tax"]["enabled"] else [],
    }


def _check(account: Account, invoice: Json | None, customer_id: str, currency: str) -> None:
    if invoice is None:
        return
    if invoice["customer"] != customer_id:
        raise invalid("The invoice belongs to another customer.", param="invoice")
    if invoice["currency"] != currency:
        message = f"The invoice is in {invoice['currency']}: an item in {currency} can't be added."
        raise invalid(message, param="currency")
    if sum(1 for _ in account.store.rows("invoiceitem", invoice=invoice["id"])) >= MAX_ITEMS:
        raise invalid(f"An invoice has at most {MAX_ITEMS} items.", code="invoice_upcoming_none", param="invoice")


def _bounded(amount: Any) -> int:
    if abs(amount) > MAX_AMOUNT_CENTS:
        raise invalid(
            f"Invalid integer: amounts are at most {MAX_AMOUNT_CENTS} cents.", code="amount_too_large", param="amount"
        )
    return int(amount)
