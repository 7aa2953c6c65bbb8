"""PaymentIntents and charges: what an invoice's payment is made of."""

from collections.abc import Callable

from billing.standin.account import Account, Params
from billing.standin.errors import ApiError
from billing.standin.listing import listed, page_of
from billing.standin.store import Json, new_id

from . import cards
from .endpoint import PAGING, Endpoint, nothing


def endpoints() -> list[Endpoint]:
    """Return the addresses of PaymentIntents, charges and invoices' payments."""
    return [
        Endpoint(
            "GET",
            "/v1/payment_intents",
            "payment_intents.list",
            "PaymentIntentListParams",
            _lister("payment_intent", "/v1/payment_intents"),
            f"{PAGING} created customer",
        ),
        Endpoint(
            "GET",
            "/v1/payment_intents/{}",
            "payment_intents.retrieve",
            "PaymentIntentRetrieveParams",
            _shower("payment_intent"),
        ),
        Endpoint(
            "GET",
            "/v1/charges",
            "charges.list",
            "ChargeListParams",
            list_charges,
            f"{PAGING} created customer payment_intent",
        ),
        Endpoint("GET", "/v1/charges/{}", "charges.retrieve", "ChargeRetrieveParams", _shower("charge")),
        Endpoint(
            "GET",
            "/v1/invoice_payments",
            "invoice_payments.list",
            "InvoicePaymentListParams",
            list_payments,
            f"{PAGING} created invoice payment status",
        ),
        Endpoint(
            "GET",
            "/v1/invoice_payments/{}",
            "invoice_payments.retrieve",
            "InvoicePaymentRetrieveParams",
            _shower("invoice_payment"),
        ),
    ]


def _shower(kind: str) -> Callable[[Account, Params, str], Json]:
    def show(account: Account, _: Params, object_id: str) -> Json:
        return account.store.get(kind, object_id)

    return show


def _lister(kind: str, url: str) -> Callable[[Account, Params], Json]:
    def show(account: Account, params: Params) -> Json:
        return page_of(account, kind, params, url, customer=params.get("customer"))

    return show


def list_charges(account: Account, params: Params) -> Json:
    """List charges."""
    intent = params.get("payment_intent")
    return page_of(
        account,
        "charge",
        params,
        "/v1/charges",
        customer=params.get("customer"),
        keep=lambda row: intent in (None, row["payment_intent"]),
    )


def list_payments(account: Account, params: Params) -> Json:
    """List the payments of invoices."""
    status, intent = params.get("status"), params.get("payment", {}).get("payment_intent")
    return page_of(
        account,
        "invoice_payment",
        params,
        "/v1/invoice_payments",
        invoice=params.get("invoice"),
        keep=lambda row: status in (None, row["status"]) and intent in (None, row["payment"]["payment_intent"]),
    )


def payments_of(account: Account, invoice_id: str) -> Json:
    """Return what an invoice shows as `payments` on demand."""
    return listed(account.store.rows("invoice_payment", invoice=invoice_id), "/v1/invoice_payments")


def payment_of(account: Account, invoice_id: str) -> Json | None:
    """Return the payment of a finalized invoice, if it has one."""
    return next(account.store.rows("invoice_payment", invoice=invoice_id), None)


def begin(account: Account, invoice: Json) -> Json:
    """Make the PaymentIntent of an invoice that is being finalized; return it."""
    intent = _intent(account, invoice)
    account.add(intent, "payment_intent.created")
    account.add(
        {
            "id": new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["amount_due"],
            "created": account.now(),
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
    )
    return intent


def charge(account: Account, intent: Json, method: Json, *, present: bool, declined: str = "") -> Json:
    """Charge a card; return the charge.

    `present`: the customer is there and has answered 3-D Secure. `declined`: decline it by this code, whatever the
    card. Raises ApiError, with what happened kept, when the card is declined or wants its owner.
    """
    refusal = declined or cards.card_of(method).charge
    if refusal == "authentication":
        refusal = "" if present else refusal
    if refusal == "authentication":
        raise _wants_owner(account, intent, method)
    if refusal:
        raise _declined(account, intent, method, refusal)
    made = account.add(_charge(account, intent, method), "charge.succeeded")
    done = {
        "status": "succeeded",
        "amount_received": intent["amount"],
        "latest_charge": made["id"],
        "payment_method": method["id"],
        "next_action": None,
        "last_payment_error": None,
    }
    account.change(intent, done, "payment_intent.succeeded")
    return made


def cancel(account: Account, intent: Json, reason: str) -> None:
    """Give a PaymentIntent up."""
    changes = {"status": "canceled", "canceled_at": account.now(), "cancellation_reason": reason}
    account.change(intent, changes, "payment_intent.canceled")


def _wants_owner(account: Account, intent: Json, method: Json) -> ApiError:
    changes = {
        "status": "requires_action",
        "payment_method": method["id"],
        "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}},
    }
    intent = account.change(intent, changes, "payment_intent.requires_action")
    message = "This payment requires additional user action before it can be completed successfully."
    return ApiError(
        402,
        "card_error",
        message,
        code="invoice_payment_intent_requires_action",
        more={"payment_intent": intent},
        kept=True,
    )


def _declined(account: Account, intent: Json, method: Json, decline_code: str) -> ApiError:
    error = cards.decline(decline_code)
    failed = {
        "status": "failed",
        "amount_captured": 0,
        "captured": False,
        "paid": False,
        "failure_code": error.code,
        "failure_message": error.message,
    }
    made = account.add({**_charge(account, intent, method), **failed}, "charge.failed")
    told = {"type": error.kind, "code": error.code, "decline_code": decline_code, "message": error.message}
    changes = {
        "status": "requires_payment_method",
        "latest_charge": made["id"],
        "payment_method": None,
        "last_payment_error": {**told, "charge": made["id"]},
    }
    account.change(intent, changes, "payment_intent.payment_failed")
    return cards.decline(decline_code, more={"charge": made["id"]})


def _intent(account: Account, invoice: Json) -> Json:
    intent_id = new_id("pi")
    unsaid = nothing(
        "application application_fee_amount automatic_payment_methods canceled_at cancellation_reason "
        "last_payment_error latest_charge next_action on_behalf_of payment_method "
        "payment_method_configuration_details processing receipt_email review setup_future_usage shipping source "
        "statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
    )
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": invoice["amount_due"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "capture_method": "automatic",
        "client_secret": f"{intent_id}_secret_{new_id('x')[2:]}",
        "confirmation_method": "automatic",
        "created": account.now(),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "description": "Payment for Invoice",
        "livemode": False,
        "metadata": {},
        "payment_details": {"order_reference": invoice["id"]},
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "status": "requires_payment_method",
        **unsaid,
    }


def _charge(account: Account, intent: Json, method: Json) -> Json:
    card = method["card"]
    unsaid = nothing(
        "application application_fee application_fee_amount balance_transaction failure_balance_transaction "
        "failure_code failure_message on_behalf_of radar_options receipt_email receipt_number review shipping "
        "source source_transfer statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
    )
    return {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"],
        "amount_refunded": 0,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "STRIPE STAND-IN",
        "captured": True,
        "created": account.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "outcome": None,
        "paid": True,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {
            "type": "card",
            "card": {name: card[name] for name in ("brand", "country", "exp_month", "exp_year", "funding", "last4")},
        },
        "receipt_url": None,
        "refunded": False,
        "status": "succeeded",
        **unsaid,
    }
