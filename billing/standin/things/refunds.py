"""Refunds of charges."""

from typing import Any

from billing.standin.account import Account, Params
from billing.standin.errors import invalid
from billing.standin.listing import listed, page_of
from billing.standin.store import Json, new_id

from .endpoint import PAGING, Endpoint, metadata


def endpoints() -> list[Endpoint]:
    """Return the addresses of refunds."""
    every, one = "/v1/refunds", "/v1/refunds/{}"
    created = "amount charge metadata payment_intent reason"
    listing = f"{PAGING} charge created payment_intent"
    return [
        Endpoint("POST", every, "refunds.create", "RefundCreateParams", create, created),
        Endpoint("GET", every, "refunds.list", "RefundListParams", list_all, listing),
        Endpoint("GET", one, "refunds.retrieve", "RefundRetrieveParams", retrieve),
        Endpoint("POST", one, "refunds.update", "RefundUpdateParams", update, "metadata"),
    ]


def create(account: Account, params: Params) -> Json:
    """Give a charge back, wholly or in part."""
    charge = _charge(account, params)
    left = charge["amount"] - charge["amount_refunded"]
    amount: Any = params.get("amount", left)
    if charge["status"] != "succeeded":
        raise invalid(f"Charge {charge['id']} did not succeed: there is nothing to refund.", param="charge")
    if charge["disputed"]:
        raise invalid(f"Charge {charge['id']} has been charged back.", code="charge_disputed", param="charge")
    if left == 0:
        raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if not 1 <= amount <= left:
        raise invalid(f"Refund amount ({amount}) must be from 1 to the unrefunded amount ({left}).", param="amount")
    row = account.add(_refund(account, charge, amount, params), "refund.created")
    returned = charge["amount_refunded"] + amount
    changes = {"amount_refunded": returned, "refunded": returned == charge["amount"]}
    account.change(charge, changes, "charge.refunded")
    return row


def retrieve(account: Account, _: Params, refund_id: str) -> Json:
    """Show a refund."""
    return account.store.get("refund", refund_id)


def update(account: Account, params: Params, refund_id: str) -> Json:
    """Change a refund's metadata."""
    row = account.store.get("refund", refund_id)
    return account.change(row, {"metadata": metadata(params, row)}, "refund.updated")


def list_all(account: Account, params: Params) -> Json:
    """List refunds."""
    wanted = [(name, params[name]) for name in ("charge", "payment_intent") if name in params]
    return page_of(
        account, "refund", params, "/v1/refunds", keep=lambda row: all(row[name] == value for name, value in wanted)
    )


def refunds_of(account: Account, charge: Json) -> Json:
    """Return what a charge shows as `refunds` on demand."""
    rows = account.store.rows("refund", customer=charge["customer"])
    mine = (row for row in rows if row["charge"] == charge["id"])
    return listed(mine, f"/v1/charges/{charge['id']}/refunds")


def _charge(account: Account, params: Params) -> Json:
    if "charge" in params:
        return account.store.get("charge", params["charge"], param="charge")
    if "payment_intent" not in params:
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise invalid(message, code="parameter_missing", param="charge")
    intent = account.store.get("payment_intent", params["payment_intent"], param="payment_intent")
    if intent["status"] != "succeeded":
        message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        raise invalid(message, param="payment_intent")
    return account.store.get("charge", intent["latest_charge"])


def _refund(account: Account, charge: Json, amount: int, params: Params) -> Json:
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": account.now(),
        "currency": charge["currency"],
        "customer": charge["customer"],
        "destination_details": {"type": "card", "card": {"reference_status": "pending", "type": "refund"}},
        "metadata": metadata(params),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
