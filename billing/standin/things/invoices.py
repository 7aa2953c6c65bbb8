"""Invoices: made, edited and looked up here; `settling` brings them to their end."""

import time
from itertools import islice

from billing.standin.account import Account, Params
from billing.standin.errors import invalid
from billing.standin.listing import limit_of, listed, page_of
from billing.standin.search import matcher
from billing.standin.store import Json, new_id

from . import customers, drafts, items
from .endpoint import PAGING, Endpoint, given, metadata

HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400
FIRST_LINES = 10
MAX_CUSTOM_FIELDS = 4
MAX_FIELD_NAME = 40
MAX_FIELD_VALUE = 140
#: How long, by the machine's clock, a change can't be found by searching; set by the control API.
SEARCH_LAG = "search_lag_seconds"
_SEARCHABLE = frozenset({"created", "currency", "customer", "number", "status", "total"})
_EDITABLE = (
    "auto_advance automatic_tax collection_method custom_fields days_until_due default_payment_method description "
    "due_date footer metadata statement_descriptor"
)
#: What of a finalized invoice may still be changed.
_LASTING = frozenset({"auto_advance", "default_payment_method", "expand", "metadata"})


def endpoints() -> list[Endpoint]:
    """Return the addresses of invoices, but those that settle them."""
    every, one = "/v1/invoices", "/v1/invoices/{}"
    created = f"{_EDITABLE} currency customer pending_invoice_items_behavior"
    listing = f"{PAGING} collection_method created customer status"
    return [
        Endpoint("POST", every, "invoices.create", "InvoiceCreateParams", create, created),
        Endpoint("GET", every, "invoices.list", "InvoiceListParams", list_all, listing),
        Endpoint("GET", f"{every}/search", "invoices.search", "InvoiceSearchParams", search, "query limit page"),
        Endpoint("GET", one, "invoices.retrieve", "InvoiceRetrieveParams", retrieve),
        Endpoint("POST", one, "invoices.update", "InvoiceUpdateParams", update, _EDITABLE),
        Endpoint("DELETE", one, "invoices.delete", "InvoiceDeleteParams", delete),
        Endpoint(
            "GET",
            "/v1/customers/search",
            "customers.search",
            "CustomerSearchParams",
            search_customers,
            "query limit page",
        ),
    ]


def create(account: Account, params: Params) -> Json:
    """Make a draft."""
    if "customer" not in params:
        raise invalid("Missing required param: customer.", code="parameter_missing", param="customer")
    customer = customers.living(account, params["customer"])
    invoice = drafts.blank(account, new_id("in"), customer, drafts.currency_of(params.get("currency", "usd")))
    invoice |= _changes(account, invoice, params)
    account.store.insert(invoice)
    if params.get("pending_invoice_items_behavior", "exclude") == "include":
        items.pull_pending(account, invoice)
    invoice = account.store.save(invoice | drafts.amounts(account, invoice))
    account.tell("invoice.created", invoice)
    _schedule(account, invoice)
    return invoice


def retrieve(account: Account, _: Params, invoice_id: str) -> Json:
    """Show an invoice."""
    return account.store.get("invoice", invoice_id)


def update(account: Account, params: Params, invoice_id: str) -> Json:
    """Change a draft, or what is left to change of a finalized invoice."""
    invoice = account.store.get("invoice", invoice_id)
    if invoice["status"] != "draft" and set(params) - _LASTING:
        beyond = ", ".join(sorted(set(params) - _LASTING))
        raise invalid(f"Finalized invoices can't be updated in this way: {beyond}.", code="invoice_not_editable")
    changes = _changes(account, invoice, params)
    if invoice["status"] == "draft":
        changes |= drafts.amounts(account, invoice | changes)
    invoice = account.change(invoice, changes, "invoice.updated")
    _schedule(account, invoice)
    return invoice


def delete(account: Account, _: Params, invoice_id: str) -> Json:
    """Delete a draft, with its items."""
    invoice = drafts.get(account, invoice_id)
    for item in list(account.store.rows("invoiceitem", invoice=invoice_id)):
        account.store.delete(item["id"])
    account.store.delete(invoice_id)
    account.store.schedule(invoice_id, None)
    account.tell("invoice.deleted", invoice)
    return {"id": invoice_id, "object": "invoice", "deleted": True}


def list_all(account: Account, params: Params) -> Json:
    """List invoices."""
    wanted = [(name, params[name]) for name in ("status", "collection_method") if name in params]
    return page_of(
        account,
        "invoice",
        params,
        "/v1/invoices",
        customer=params.get("customer"),
        keep=lambda row: all(row[name] == value for name, value in wanted),
    )


def search(account: Account, params: Params) -> Json:
    """Find invoices. As at Stripe, what changed a moment ago may not be found yet."""
    return _found(account, "invoice", params, _SEARCHABLE)


def search_customers(account: Account, params: Params) -> Json:
    """Find customers. As at Stripe, what changed a moment ago may not be found yet."""
    return _found(account, "customer", params, frozenset({"created", "email", "name", "phone"}))


def _found(account: Account, kind: str, params: Params, fields: frozenset[str]) -> Json:
    test, limit = matcher(params["query"], fields), limit_of(params)
    before = time.time() - float(account.store.setting(SEARCH_LAG, "0"))
    page = params.get("page", "0")
    if not page.isdecimal():
        raise invalid(f"Invalid page: {page[:100]}", param="page")
    begin = int(page)
    rows = (row for row in account.store.settled(kind, before=before) if not row.get("deleted") and test(row))
    found = list(islice(rows, begin, begin + limit + 1))
    more = len(found) > limit
    answer = listed(found[:limit], f"/v1/{kind}s/search", has_more=more)
    return answer | {"object": "search_result", "next_page": str(begin + limit) if more else None}


def with_lines(account: Account, invoice: Json) -> Json:
    """Return an invoice as it is shown: with its first lines; the others are listed at their own address."""
    lines = items.lines_of(account, invoice)
    url = f"/v1/invoices/{invoice['id']}/lines"
    shown = listed(lines[:FIRST_LINES], url, has_more=len(lines) > FIRST_LINES)
    return invoice | {"lines": shown | {"total_count": len(lines)}}


def _changes(account: Account, invoice: Json, params: Params) -> Json:
    changes = given(params, "collection_method", "custom_fields", "description", "footer", "statement_descriptor")
    if "auto_advance" in params:
        changes["auto_advance"] = params["auto_advance"]
    if "metadata" in params:
        changes["metadata"] = metadata(params, invoice)
    if "default_payment_method" in params:
        changes["default_payment_method"] = _method(account, params["default_payment_method"], invoice["customer"])
    if "automatic_tax" in params:
        changes["automatic_tax"] = _tax(invoice, enabled=params["automatic_tax"]["enabled"])
    _check_fields(changes.get("custom_fields") or [])
    return changes | _due_date(account, invoice | changes, params)


def _due_date(account: Account, invoice: Json, params: Params) -> Json:
    days, date = params.get("days_until_due"), params.get("due_date")
    if invoice["collection_method"] == "charge_automatically":
        if days is not None or date is not None:
            message = "days_until_due and due_date belong to collection_method=send_invoice."
            raise invalid(message, param="due_date" if days is None else "days_until_due")
        return {"due_date": None}
    if days is None and date is None and invoice["due_date"] is None:
        message = "With collection_method=send_invoice, give days_until_due or due_date."
        raise invalid(message, code="parameter_missing", param="days_until_due")
    return {"due_date": date or (account.now() + days * DAY_SECONDS if days is not None else invoice["due_date"])}


def _tax(invoice: Json, *, enabled: bool) -> Json:
    if enabled and not (invoice["customer_address"] or {}).get("country"):
        message = (
            "The customer's location isn't recognized. Set a valid customer address in order to automatically "
            "calculate tax."
        )
        raise invalid(message, code="customer_tax_location_invalid", param="automatic_tax")
    liability = {"type": "self", "account": None} if enabled else None
    return {
        "disabled_reason": None,
        "enabled": enabled,
        "liability": liability,
        "provider": "stripe" if enabled else None,
        "status": "complete" if enabled else None,
    }


def _method(account: Account, method_id: str, customer_id: str) -> str | None:
    if not method_id:
        return None
    method = account.store.get("payment_method", method_id, param="default_payment_method")
    if method["customer"] != customer_id:
        raise invalid("The payment method isn't attached to the invoice's customer.", param="default_payment_method")
    return method_id


def _check_fields(fields: list[Json]) -> None:
    if len(fields) > MAX_CUSTOM_FIELDS:
        raise invalid(f"An invoice has at most {MAX_CUSTOM_FIELDS} custom fields.", param="custom_fields")
    for number, field in enumerate(fields):
        if len(field["name"]) > MAX_FIELD_NAME or len(field["value"]) > MAX_FIELD_VALUE:
            message = (
                f"A custom field's name has at most {MAX_FIELD_NAME} characters, its value at most {MAX_FIELD_VALUE}."
            )
            raise invalid(message, param=f"custom_fields[{number}]")


def _schedule(account: Account, invoice: Json) -> None:
    """Have a draft finalized an hour after its creation if it advances by itself."""
    if invoice["status"] != "draft":
        return
    at = invoice["created"] + HOUR_SECONDS if invoice["auto_advance"] else None
    account.store.schedule(invoice["id"], at)
    if invoice["automatically_finalizes_at"] != at:
        account.store.save(invoice | {"automatically_finalizes_at": at})
        invoice["automatically_finalizes_at"] = at
