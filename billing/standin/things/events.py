"""Events, which are kept for 30 days, and the endpoints that they are delivered to."""

from urllib.parse import urlsplit

from billing.standin.account import API_VERSION, Account, Params
from billing.standin.errors import invalid, missing
from billing.standin.listing import page_of
from billing.standin.store import Json, new_id

from .endpoint import PAGING, Endpoint, given, metadata

KEPT_SECONDS = 30 * 86_400
MAX_ENDPOINTS = 16
_LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})


def endpoints() -> list[Endpoint]:
    """Return the addresses of events and webhook endpoints."""
    hooks, hook = "/v1/webhook_endpoints", "/v1/webhook_endpoints/{}"
    listing = f"{PAGING} created type types"
    fields = "description enabled_events metadata url"
    return [
        Endpoint("GET", "/v1/events", "events.list", "EventListParams", list_all, listing),
        Endpoint("GET", "/v1/events/{}", "events.retrieve", "EventRetrieveParams", retrieve),
        Endpoint(
            "POST", hooks, "webhook_endpoints.create", "WebhookEndpointCreateParams", create, f"{fields} api_version"
        ),
        Endpoint("GET", hooks, "webhook_endpoints.list", "WebhookEndpointListParams", list_hooks, PAGING),
        Endpoint("GET", hook, "webhook_endpoints.retrieve", "WebhookEndpointRetrieveParams", retrieve_hook),
        Endpoint("POST", hook, "webhook_endpoints.update", "WebhookEndpointUpdateParams", update, f"{fields} disabled"),
        Endpoint("DELETE", hook, "webhook_endpoints.delete", "WebhookEndpointDeleteParams", delete),
    ]


def list_all(account: Account, params: Params) -> Json:
    """List the events of the last 30 days."""
    oldest = account.now() - KEPT_SECONDS
    kinds = {params["type"]} if "type" in params else set(params.get("types", []))
    return page_of(
        account,
        "event",
        params,
        "/v1/events",
        keep=lambda row: row["created"] > oldest and (not kinds or any(_fits(row["type"], kind) for kind in kinds)),
    )


def retrieve(account: Account, _: Params, event_id: str) -> Json:
    """Show an event of the last 30 days."""
    row = account.store.get("event", event_id)
    if row["created"] <= account.now() - KEPT_SECONDS:
        raise missing("event", event_id)
    return row


def create(account: Account, params: Params) -> Json:
    """Make a webhook endpoint; its secret is shown only now."""
    if sum(1 for _ in account.store.rows("webhook_endpoint")) >= MAX_ENDPOINTS:
        raise invalid(f"An account has at most {MAX_ENDPOINTS} webhook endpoints.")
    secret = f"whsec_{new_id('x')[2:]}{new_id('x')[2:]}"
    row = register(account, params["url"], secret, events=params["enabled_events"])
    row = account.change(row, given(params, "description") | {"metadata": metadata(params)})
    return row | {"secret": secret}


def register(account: Account, url: str, secret: str, *, events: list[str]) -> Json:
    """Have events delivered to `url`, signed with `secret`; return the endpoint."""
    if urlsplit(url).scheme != "http" or urlsplit(url).hostname not in _LOCAL:
        raise invalid("This stand-in delivers to http:// on this machine only.", code="url_invalid", param="url")
    known = next((row for row in account.store.rows("webhook_endpoint") if row["url"] == url), None)
    row = known or account.add(
        {
            "id": new_id("we"),
            "object": "webhook_endpoint",
            "api_version": API_VERSION,
            "application": None,
            "created": account.now(),
            "description": None,
            "enabled_events": events,
            "livemode": False,
            "metadata": {},
            "status": "enabled",
            "url": url,
        }
    )
    account.store.set_setting(f"secret {row['id']}", secret)
    return row


def list_hooks(account: Account, params: Params) -> Json:
    """List webhook endpoints."""
    return page_of(account, "webhook_endpoint", params, "/v1/webhook_endpoints")


def retrieve_hook(account: Account, _: Params, hook_id: str) -> Json:
    """Show a webhook endpoint."""
    return account.store.get("webhook_endpoint", hook_id)


def update(account: Account, params: Params, hook_id: str) -> Json:
    """Change a webhook endpoint, or switch it off or on."""
    row = account.store.get("webhook_endpoint", hook_id)
    changes = given(params, "description", "enabled_events", "url")
    if "metadata" in params:
        changes["metadata"] = metadata(params, row)
    if "disabled" in params:
        changes["status"] = "disabled" if params["disabled"] else "enabled"
    return account.change(row, changes)


def delete(account: Account, _: Params, hook_id: str) -> Json:
    """Remove a webhook endpoint; what waits for it isn't delivered any more."""
    account.store.get("webhook_endpoint", hook_id)
    account.store.delete(hook_id)
    return {"id": hook_id, "object": "webhook_endpoint", "deleted": True}


def _fits(kind: str, wanted: str) -> bool:
    return kind == wanted or (wanted.endswith(".*") and kind.startswith(wanted[:-1]))
