"""Customers and their tax ids."""

from billing.standin.account import Account, Params
from billing.standin.errors import invalid, missing
from billing.standin.listing import listed, page_of
from billing.standin.store import Json, new_id

from .endpoint import PAGING, Endpoint, given, metadata, whole

ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
MAX_TAX_IDS = 5
_TEXTS = ("description", "email", "name", "phone")
_FIELDS = "address balance description email invoice_settings metadata name phone tax_exempt"


def endpoints() -> list[Endpoint]:
    """Return the addresses of customers and tax ids."""
    every, one, taxes = "/v1/customers", "/v1/customers/{}", "/v1/customers/{}/tax_ids"
    return [
        Endpoint("POST", every, "customers.create", "CustomerCreateParams", create, f"{_FIELDS} tax_id_data"),
        Endpoint("GET", every, "customers.list", "CustomerListParams", list_all, f"{PAGING} created email"),
        Endpoint("GET", one, "customers.retrieve", "CustomerRetrieveParams", retrieve),
        Endpoint("POST", one, "customers.update", "CustomerUpdateParams", update, _FIELDS),
        Endpoint("DELETE", one, "customers.delete", "CustomerDeleteParams", delete),
        Endpoint("POST", taxes, "tax_ids.create", "CustomerTaxIdCreateParams", add_tax, "type value"),
        Endpoint("GET", taxes, "tax_ids.list", "CustomerTaxIdListParams", list_taxes, PAGING),
        Endpoint("GET", f"{taxes}/{{}}", "tax_ids.retrieve", "CustomerTaxIdRetrieveParams", retrieve_tax),
        Endpoint("DELETE", f"{taxes}/{{}}", "tax_ids.delete", "CustomerTaxIdDeleteParams", delete_tax),
    ]


def living(account: Account, customer_id: str, *, param: str = "customer") -> Json:
    """Return a customer that wasn't deleted. Raises ApiError."""
    customer = account.store.get("customer", customer_id, param=param)
    if customer.get("deleted"):
        raise missing("customer", customer_id, param=param)
    return customer


def create(account: Account, params: Params) -> Json:
    """Make a customer."""
    row: Json = {
        "id": new_id("cus"),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": account.now(),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": f"SL{account.store.count('invoice prefix'):06d}",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    row = account.add({**row, **_changes(account, row, params)}, "customer.created")
    for tax_id in params.get("tax_id_data", []):
        add_tax(account, tax_id, row["id"])
    return row


def retrieve(account: Account, _: Params, customer_id: str) -> Json:
    """Show a customer, a deleted one as such."""
    row = account.store.get("customer", customer_id)
    return {"id": customer_id, "object": "customer", "deleted": True} if row.get("deleted") else row


def update(account: Account, params: Params, customer_id: str) -> Json:
    """Change a customer."""
    row = living(account, customer_id, param="id")
    return account.change(row, _changes(account, row, params), "customer.updated")


def delete(account: Account, _: Params, customer_id: str) -> Json:
    """Delete a customer; invoices keep naming it."""
    row = living(account, customer_id, param="id")
    account.change(row, {"deleted": True}, "customer.deleted")
    return {"id": customer_id, "object": "customer", "deleted": True}


def list_all(account: Account, params: Params) -> Json:
    """List customers."""
    email = params.get("email")
    return page_of(
        account,
        "customer",
        params,
        "/v1/customers",
        keep=lambda row: not row.get("deleted") and email in (None, row["email"]),
    )


def add_tax(account: Account, params: Params, customer_id: str) -> Json:
    """Give a customer a tax id. Nobody is asked whether it is real: it stays unverified."""
    living(account, customer_id, param="id")
    known = list(account.store.rows("tax_id", customer=customer_id))
    if len(known) >= MAX_TAX_IDS:
        raise invalid(f"A customer has at most {MAX_TAX_IDS} tax ids.", code="resource_conflict")
    kind, value = params["type"], params["value"]
    if any((row["type"], row["value"]) == (kind, value) for row in known):
        raise invalid(f"Customer {customer_id} already has this tax id.", code="resource_already_exists", param="value")
    row: Json = {
        "id": new_id("txi"),
        "object": "tax_id",
        "country": kind[:2].upper() if kind != "eu_vat" else value[:2].upper(),
        "created": account.now(),
        "customer": customer_id,
        "livemode": False,
        "owner": {"type": "customer", "customer": customer_id},
        "type": kind,
        "value": value,
        "verification": {"status": "unverified", "verified_address": None, "verified_name": None},
    }
    return account.add(row, "customer.tax_id.created")


def list_taxes(account: Account, params: Params, customer_id: str) -> Json:
    """List a customer's tax ids."""
    living(account, customer_id, param="id")
    return page_of(account, "tax_id", params, f"/v1/customers/{customer_id}/tax_ids", customer=customer_id)


def retrieve_tax(account: Account, _: Params, customer_id: str, tax_id: str) -> Json:
    """Show a tax id."""
    row = account.store.get("tax_id", tax_id)
    if row["customer"] != customer_id:
        raise missing("tax_id", tax_id)
    return row


def delete_tax(account: Account, params: Params, customer_id: str, tax_id: str) -> Json:
    """Take a tax id away."""
    row = retrieve_tax(account, params, customer_id, tax_id)
    account.store.delete(tax_id)
    account.tell("customer.tax_id.deleted", row)
    return {"id": tax_id, "object": "tax_id", "deleted": True}


def tax_ids_of(account: Account, customer_id: str) -> Json:
    """Return what a customer shows as `tax_ids` on demand."""
    return listed(account.store.rows("tax_id", customer=customer_id), f"/v1/customers/{customer_id}/tax_ids")


def _changes(account: Account, row: Json, params: Params) -> Json:
    changes = given(params, *_TEXTS, "balance")
    if "tax_exempt" in params:
        changes["tax_exempt"] = params["tax_exempt"] or "none"
    if "address" in params:
        changes["address"] = whole(params["address"] or None, *ADDRESS)
    if "metadata" in params:
        changes["metadata"] = metadata(params, row)
    settings = params.get("invoice_settings")
    if settings:
        method = settings.get("default_payment_method")
        if method:
            _must_be_attached(account, method, row["id"])
        wanted = given(settings, "custom_fields", "default_payment_method", "footer", "rendering_options")
        changes["invoice_settings"] = {**row["invoice_settings"], **wanted}
    return changes


def _must_be_attached(account: Account, method_id: str, customer_id: str) -> None:
    param = "invoice_settings[default_payment_method]"
    method = account.store.get("payment_method", method_id, param=param)
    if method["customer"] != customer_id:
        message = (
            "The customer does not have a payment method with the ID "
            f"{method_id}. The payment method must be attached to the customer."
        )
        raise invalid(message, code="resource_missing", param=param)
