"""Disputes: opened and decided on demand, by the control API; clients look at them and may give in."""

from typing import Any

from billing.standin.account import Account, Params
from billing.standin.errors import invalid
from billing.standin.listing import page_of
from billing.standin.store import Json, new_id

from . import payments
from .endpoint import PAGING, Endpoint

DAY_SECONDS = 86_400
ANSWER_DAYS = 7
OPEN = "needs_response"
ENDS = ("won", "lost")


def endpoints() -> list[Endpoint]:
    """Return the addresses of disputes."""
    every, one = "/v1/disputes", "/v1/disputes/{}"
    listing = f"{PAGING} charge created payment_intent"
    return [
        Endpoint("GET", every, "disputes.list", "DisputeListParams", list_all, listing),
        Endpoint("GET", one, "disputes.retrieve", "DisputeRetrieveParams", retrieve),
        Endpoint("POST", f"{one}/close", "disputes.close", "DisputeCloseParams", give_in),
    ]


def list_all(account: Account, params: Params) -> Json:
    """List disputes."""
    wanted = [(name, params[name]) for name in ("charge", "payment_intent") if name in params]
    return page_of(
        account, "dispute", params, "/v1/disputes", keep=lambda row: all(row[name] == value for name, value in wanted)
    )


def retrieve(account: Account, _: Params, dispute_id: str) -> Json:
    """Show a dispute."""
    return account.store.get("dispute", dispute_id)


def give_in(account: Account, _: Params, dispute_id: str) -> Json:
    """Accept a dispute as lost."""
    return decide(account, dispute_id, "lost")


def open_on(account: Account, *, charge_id: str = "", invoice_id: str = "", reason: str = "fraudulent") -> Json:
    """Let the owner of the card dispute a charge, or the charge that paid an invoice. Raises ApiError."""
    if invoice_id:
        payment = payments.payment_of(account, invoice_id)
        if payment is None or payment["status"] != "paid":
            raise invalid(f"Invoice {invoice_id} wasn't paid by card: there is nothing to dispute.", param="invoice")
        intent = account.store.get("payment_intent", payment["payment"]["payment_intent"])
        charge_id = intent["latest_charge"]
    charge = account.store.get("charge", charge_id, param="charge")
    if charge["disputed"] or charge["status"] != "succeeded":
        raise invalid(f"Charge {charge_id} can't be disputed (again).", param="charge")
    charge = account.change(charge, {"disputed": True}, "charge.updated")
    dispute = account.add(_dispute(account, charge, reason), "charge.dispute.created")
    account.tell("charge.dispute.funds_withdrawn", dispute)
    return dispute


def decide(account: Account, dispute_id: str, status: str) -> Json:
    """End a dispute, `won` or `lost`. Raises ApiError."""
    dispute = account.store.get("dispute", dispute_id)
    if status not in ENDS:
        raise invalid(f"status must be one of {', '.join(ENDS)}, not {status!r}.", param="status")
    if dispute["status"] in ENDS:
        raise invalid("This dispute is already closed.", code="resource_conflict")
    dispute = account.change(dispute, {"status": status, "is_charge_refundable": False}, "charge.dispute.closed")
    if status == "won":
        account.tell("charge.dispute.funds_reinstated", dispute)
    return dispute


def _dispute(account: Account, charge: Json, reason: str) -> Json:
    details: Any = charge["payment_method_details"]["card"]
    return {
        "id": new_id("du"),
        "object": "dispute",
        "amount": charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": account.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": account.now() + ANSWER_DAYS * DAY_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "type": "card",
            "card": {
                "brand": details["brand"],
                "case_type": "chargeback",
                "network": details["brand"],
                "network_reason_code": None,
            },
        },
        "reason": reason,
        "status": OPEN,
    }
