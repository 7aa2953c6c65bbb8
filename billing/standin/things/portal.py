"""Sessions of the customer's portal; `pages.portal` is what is seen there."""

from billing.standin.account import Account, Params
from billing.standin.errors import invalid
from billing.standin.store import Json, new_id

from . import customers
from .endpoint import Endpoint

#: How long a link into the portal opens it.
LIFE_SECONDS = 3_600


def endpoints() -> list[Endpoint]:
    """Return the address of portal sessions."""
    url, params = "/v1/billing_portal/sessions", "billing_portal.SessionCreateParams"
    return [Endpoint("POST", url, "billing_portal.sessions.create", params, create, "customer locale return_url")]


def create(account: Account, params: Params) -> Json:
    """Make a link into the portal for one customer."""
    if "customer" not in params:
        raise invalid("Missing required param: customer.", code="parameter_missing", param="customer")
    customer, session_id = customers.living(account, params["customer"]), new_id("bps")
    return account.add(
        {
            "id": session_id,
            "object": "billing_portal.session",
            "configuration": "bpc_standin",
            "created": account.now(),
            "customer": customer["id"],
            "flow": None,
            "livemode": False,
            "locale": params.get("locale"),
            "on_behalf_of": None,
            "return_url": params.get("return_url"),
            "url": f"{account.base_url}/portal/{session_id}",
        },
        "billing_portal.session.created",
    )


def living(account: Account, session_id: str) -> Json:
    """Return a session that still opens the portal. Raises ApiError."""
    session = account.store.get("billing_portal.session", session_id)
    if session["created"] + LIFE_SECONDS < account.now():
        raise invalid("This link has expired: start again where you came from.")
    return session
