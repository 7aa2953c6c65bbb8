"""Saving a card: set-up Checkout sessions and the SetupIntents behind them."""

from typing import Any

from billing.standin.account import Account, Params
from billing.standin.errors import ApiError, invalid
from billing.standin.listing import page_of
from billing.standin.store import Json, new_id

from . import cards, customers
from .endpoint import PAGING, Endpoint, metadata

DAY_SECONDS = 86_400
MIN_LIFE_SECONDS = 1_800
_CREATE = (
    "allowed_payment_method_types billing_address_collection cancel_url client_reference_id currency customer "
    "expires_at locale metadata mode "
    "setup_intent_data success_url ui_mode"
)


def endpoints() -> list[Endpoint]:
    """Return the addresses of Checkout sessions and SetupIntents."""
    sessions, session = "/v1/checkout/sessions", "/v1/checkout/sessions/{}"
    intents, intent = "/v1/setup_intents", "/v1/setup_intents/{}"
    return [
        Endpoint("POST", sessions, "checkout.sessions.create", "checkout.SessionCreateParams", create, _CREATE),
        Endpoint(
            "GET",
            sessions,
            "checkout.sessions.list",
            "checkout.SessionListParams",
            list_sessions,
            f"{PAGING} created customer status",
        ),
        Endpoint("GET", session, "checkout.sessions.retrieve", "checkout.SessionRetrieveParams", retrieve),
        Endpoint("POST", f"{session}/expire", "checkout.sessions.expire", "checkout.SessionExpireParams", expire),
        Endpoint(
            "GET",
            intents,
            "setup_intents.list",
            "SetupIntentListParams",
            list_intents,
            f"{PAGING} created customer payment_method",
        ),
        Endpoint("GET", intent, "setup_intents.retrieve", "SetupIntentRetrieveParams", retrieve_intent),
        Endpoint("POST", f"{intent}/cancel", "setup_intents.cancel", "SetupIntentCancelParams", cancel),
    ]


def create(account: Account, params: Params) -> Json:
    """Make a session in which a customer saves a card. Other modes are refused: nothing here sells by Checkout."""
    if params.get("mode") != "setup":
        raise invalid("This stand-in has Checkout in mode setup only.", param="mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise invalid("This stand-in has Checkout on its own page (hosted_page) only.", param="ui_mode")
    for name in ("customer", "success_url"):
        if name not in params:
            raise invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)
    if not {"currency", "allowed_payment_method_types"} & set(params):
        message = "In mode setup, give currency or allowed_payment_method_types."
        raise invalid(message, code="parameter_missing", param="currency")
    customer = customers.living(account, params["customer"])
    row = _session(account, params, customer)
    intent = _intent(account, params, str(customer["id"]))
    row["setup_intent"] = intent["id"]
    account.add(intent, "setup_intent.created")
    account.store.schedule(row["id"], row["expires_at"])
    # Stripe tells of sessions only when they end.
    return account.add(row)


def _session(account: Account, params: Params, customer: Json) -> Json:
    session_id, now = new_id("cs_test"), account.now()
    expires_at = params.get("expires_at", now + DAY_SECONDS)
    if not now + MIN_LIFE_SECONDS <= expires_at <= now + DAY_SECONDS:
        raise invalid("The `expires_at` must be between 30 minutes and 24 hours from now.", param="expires_at")
    return {
        "id": session_id,
        "object": "checkout.session",
        "adaptive_pricing": None,
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": None,
        "amount_total": None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": params.get("billing_address_collection"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": now,
        "currency": params.get("currency"),
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": customer["id"],
        "customer_creation": None,
        "customer_details": {
            "address": customer["address"],
            "email": customer["email"],
            "name": customer["name"],
            "phone": customer["phone"],
            "tax_exempt": customer["tax_exempt"],
            "tax_ids": None,
        },
        "customer_email": None,
        "discounts": None,
        "expires_at": expires_at,
        "invoice": None,
        "invoice_creation": None,
        "livemode": False,
        "locale": params.get("locale"),
        "metadata": metadata(params),
        "mode": "setup",
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "always",
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": params.get("allowed_payment_method_types", ["card"]),
        "payment_status": "no_payment_required",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": params["success_url"],
        "total_details": None,
        "ui_mode": "hosted_page",
        "url": f"{account.base_url}/checkout/{session_id}",
        "wallet_options": None,
    }


def _intent(account: Account, params: Params, customer_id: str) -> Json:
    wanted: Any = params.get("setup_intent_data") or {}
    intent_id = new_id("seti")
    return {
        "id": intent_id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": f"{intent_id}_secret_{new_id('x')[2:]}",
        "created": account.now(),
        "customer": customer_id,
        "description": wanted.get("description"),
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": metadata(wanted),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
        },
        "payment_method_types": params.get("allowed_payment_method_types", ["card"]),
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": "off_session",
    }


def retrieve(account: Account, _: Params, session_id: str) -> Json:
    """Show a session."""
    return account.store.get("checkout.session", session_id)


def list_sessions(account: Account, params: Params) -> Json:
    """List sessions."""
    status = params.get("status")
    return page_of(
        account,
        "checkout.session",
        params,
        "/v1/checkout/sessions",
        customer=params.get("customer"),
        keep=lambda row: status in (None, row["status"]),
    )


def retrieve_intent(account: Account, _: Params, intent_id: str) -> Json:
    """Show a SetupIntent."""
    return account.store.get("setup_intent", intent_id)


def list_intents(account: Account, params: Params) -> Json:
    """List SetupIntents."""
    method = params.get("payment_method")
    return page_of(
        account,
        "setup_intent",
        params,
        "/v1/setup_intents",
        customer=params.get("customer"),
        keep=lambda row: method in (None, row["payment_method"]),
    )


def expire(account: Account, _: Params, session_id: str) -> Json:
    """End an open session."""
    row = account.store.get("checkout.session", session_id)
    if row["status"] != "open":
        message = f'Only Checkout Sessions with a status in ["open"] can be expired. This one is {row["status"]}.'
        raise invalid(message, param="session")
    return lapse(account, row)


def lapse(account: Account, row: Json) -> Json:
    """Return an open session expired, its SetupIntent canceled."""
    _cancel(account, account.store.get("setup_intent", row["setup_intent"]), "abandoned")
    account.store.schedule(row["id"], None)
    return account.change(row, {"status": "expired", "url": None}, "checkout.session.expired")


def cancel(account: Account, params: Params, intent_id: str) -> Json:
    """Give a SetupIntent up."""
    intent = account.store.get("setup_intent", intent_id)
    if intent["status"] in ("succeeded", "canceled"):
        raise invalid(
            f"You cannot cancel this SetupIntent because it has a status of {intent['status']}.",
            code="setup_intent_unexpected_state",
        )
    return _cancel(account, intent, params.get("cancellation_reason"))


def _cancel(account: Account, intent: Json, reason: str | None) -> Json:
    return account.change(intent, {"status": "canceled", "cancellation_reason": reason}, "setup_intent.canceled")


def choose(account: Account, session: Json, card: cards.Card) -> Json:
    """Let the visitor of an open session pick a card; return the session, complete or still open.

    A card that wants 3-D Secure leaves the SetupIntent in `requires_action`: `confirm` goes on. Raises ApiError, with
    what happened kept, when the card is declined.
    """
    intent = account.store.get("setup_intent", session["setup_intent"])
    method = cards.make(account, card, _details(account, session))
    if card.setup == "authentication":
        changes = {
            "status": "requires_action",
            "payment_method": method["id"],
            "next_action": {
                "type": "redirect_to_url",
                "redirect_to_url": {"return_url": session["success_url"], "url": session["url"]},
            },
        }
        account.change(intent, changes, "setup_intent.requires_action")
        return session
    if card.setup:
        raise _failed(account, intent, cards.decline(card.setup))
    return _complete(account, session, intent, method)


def confirm(account: Account, session: Json, *, approved: bool) -> Json:
    """Answer 3-D Secure's question. Raises ApiError, with what happened kept, when it isn't approved."""
    intent = account.store.get("setup_intent", session["setup_intent"])
    if intent["status"] != "requires_action":
        raise invalid("There is nothing to confirm.", code="setup_intent_unexpected_state")
    if not approved:
        words = "The customer did not authenticate the card. Choose another, or try again."
        error = ApiError(402, "card_error", words, code="setup_intent_authentication_failure", kept=True)
        raise _failed(account, intent, error)
    return _complete(account, session, intent, account.store.get("payment_method", intent["payment_method"]))


def _failed(account: Account, intent: Json, error: ApiError) -> ApiError:
    told = {"type": error.kind, "code": error.code, "message": error.message, **error.more}
    changes = {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_setup_error": told,
    }
    account.change(intent, changes, "setup_intent.setup_failed")
    return error


def _complete(account: Account, session: Json, intent: Json, method: Json) -> Json:
    cards.attached(account, method, session["customer"])
    done = {"status": "succeeded", "payment_method": method["id"], "next_action": None, "last_setup_error": None}
    account.change(intent, done, "setup_intent.succeeded")
    account.store.schedule(session["id"], None)
    return account.change(session, {"status": "complete", "url": None}, "checkout.session.completed")


def _details(account: Account, session: Json) -> Json:
    customer = account.store.get("customer", session["customer"])
    return {name: customer[name] for name in ("address", "email", "name", "phone")}
