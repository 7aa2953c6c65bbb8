"""A draft invoice: how it begins, what it says, how it adds up."""

from collections.abc import Sequence
from decimal import Decimal

from billing.standin.account import Account
from billing.standin.errors import invalid
from billing.standin.store import Json
from billing.standin.sums import Totals, percent_of, totals

from .endpoint import nothing

NO_TIMES: Json = {"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None}
TAX_RATE = "txr_standin"
#: All of them with cents.
CURRENCIES = frozenset({"aud", "cad", "chf", "dkk", "eur", "gbp", "nok", "nzd", "pln", "sek", "usd"})


def currency_of(name: str) -> str:
    """Return a currency as Stripe writes it. Raises ApiError for one that this stand-in doesn't have."""
    if name.lower() not in CURRENCIES:
        message = f"Invalid currency: {name[:10]}. This stand-in has: {', '.join(sorted(CURRENCIES))}."
        raise invalid(message, param="currency")
    return name.lower()


def blank(account: Account, invoice_id: str, customer: Json, currency: str) -> Json:
    """Return a draft invoice that says nothing yet."""
    now = account.now()
    zero = nothing(
        "amount_overpaid amount_paid amount_remaining amount_due amount_shipping attempt_count "
        "post_payment_credit_notes_amount pre_payment_credit_notes_amount subtotal total",
        0,
    )
    unsaid = nothing(
        "amount_paid_off_stripe application automatically_finalizes_at confirmation_secret custom_fields "
        "default_payment_method default_source description due_date effective_at ending_balance footer "
        "from_invoice hosted_invoice_url invoice_pdf last_finalization_error latest_revision next_payment_attempt "
        "number on_behalf_of parent receipt_number rendering shipping_cost shipping_details statement_descriptor "
        "test_clock threshold_reason webhooks_delivered_at customer_shipping account_tax_ids"
    )
    return {
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Stripe stand-in",
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self", "account": None},
        "livemode": False,
        "metadata": {},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": now,
        "period_start": now,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": NO_TIMES,
        "subtotal_excluding_tax": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        **zero,
        **unsaid,
        **addressed(account, customer),
    }


def addressed(account: Account, customer: Json) -> Json:
    """Return what an invoice says of its customer."""
    return {
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [
            {"type": row["type"], "value": row["value"]}
            for row in account.store.rows("tax_id", customer=customer["id"], oldest_first=True)
        ],
    }


def get(account: Account, invoice_id: str, *, param: str = "id") -> Json:
    """Return an invoice that is still a draft. Raises ApiError."""
    invoice = account.store.get("invoice", invoice_id, param=param)
    if invoice["status"] != "draft":
        message = f"Invoice {invoice_id} is {invoice['status']}: only drafts can be edited."
        raise invalid(message, code="invoice_not_editable", param=param)
    return invoice


def totals_of(invoice: Json, items: Sequence[Json]) -> Totals:
    """Add an invoice's items up."""
    percent = Decimal(0)
    if invoice["automatic_tax"]["enabled"]:
        address = invoice["customer_address"] or {}
        percent = percent_of(address.get("country"), invoice["customer_tax_exempt"])
    return totals([item["amount"] for item in items], percent)


def add_up(account: Account, invoice: Json) -> Json:
    """Bring a draft's amounts up to date with its items, and tell of it."""
    return account.change(invoice, amounts(account, invoice), "invoice.updated")


def amounts(account: Account, invoice: Json) -> Json:
    """Return the amounts of a draft."""
    items = list(account.store.rows("invoiceitem", invoice=invoice["id"], oldest_first=True))
    sums = totals_of(invoice, items)
    taxed = invoice["automatic_tax"]["enabled"]
    return {
        "subtotal": sums.subtotal,
        "subtotal_excluding_tax": sums.subtotal,
        "total_excluding_tax": sums.subtotal,
        "total_taxes": tax_lines(sums.tax, sums.subtotal) if taxed else [],
        "total": sums.total,
        "amount_due": max(sums.total, 0),
        "amount_remaining": max(sums.total, 0),
    }


def tax_lines(tax: int, taxable: int) -> list[Json]:
    """Return what an invoice or a line says of its tax."""
    return [
        {
            "amount": tax,
            "tax_behavior": "exclusive",
            "tax_rate_details": {"tax_rate": TAX_RATE},
            "taxability_reason": "standard_rated" if tax else "not_collecting",
            "taxable_amount": taxable if tax else 0,
            "type": "tax_rate_details",
        }
    ]
