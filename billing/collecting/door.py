"""The one door to Stripe: makes its client from settings, turns its errors into ours, and checks its signatures.

Nothing is retried in here: what repeats a request must first look whether it was done.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from egress import __version__

from .errors import Gone, KeyRefused, NotSetUp, OutcomeUnknown, Refused, SignatureRefused, StripeBusy, StripeUnavailable

if TYPE_CHECKING:
    from stripe import StripeClient, StripeError

#: To connect, and between two bytes of an answer. A worker's task may last 40 s.
CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 12.0
#: Stripe's own tolerance for signatures, against replay.
TOLERANCE_SECONDS: Final = 300
MAX_MESSAGE_CHARACTERS: Final = 1_000
#: Another request holds the key, or the object: that passes.
_CONFLICT = 409
_NOT_FOUND = 404
_SERVER = 500


def is_set_up() -> bool:
    """Say whether this installation collects at all."""
    return bool(settings.STRIPE_SECRET_KEY)


@contextmanager
def asking(*, writes: bool = False) -> Iterator["StripeClient"]:
    """Give the client, and raise our errors in place of Stripe's.

    `writes`: without an answer nobody knows whether it was done. Raises NotSetUp, StripeUnavailable, StripeBusy,
    OutcomeUnknown, KeyRefused, Gone, Refused.
    """
    if not is_set_up():
        raise NotSetUp
    client = _client(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_URL)
    from stripe import StripeError  # noqa: PLC0415  # costs 0.2 s and 25 MB, which most processes needn't pay

    try:
        yield client
    except StripeError as error:
        raise _translated(error, writes=writes) from error


@cache
def _client(key: str, api_url: str) -> "StripeClient":
    """Return the client, once a process; its connections are kept, one for each thread."""
    import stripe  # noqa: PLC0415  # see above

    # Else it writes a file into the home folder, and tells how long our requests took.
    stripe.enable_telemetry = False
    stripe.set_app_info("Sluicegate", version=__version__)
    return stripe.StripeClient(
        key,
        base_addresses={"api": api_url} if api_url else None,
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=(CONNECT_SECONDS, READ_SECONDS)),
    )


def _translated(error: "StripeError", *, writes: bool) -> StripeUnavailable | Refused:
    import stripe  # noqa: PLC0415  # see above

    words = (error.user_message or "no message")[:MAX_MESSAGE_CHARACTERS]
    status = error.http_status
    headers = error.headers or {}
    replayed = headers.get("idempotent-replayed", "") == "true"
    if isinstance(error, stripe.APIConnectionError):
        kind = OutcomeUnknown if writes else StripeUnavailable
        return kind(f"Stripe didn't answer: {type(error.__cause__).__name__}.")
    if isinstance(error, stripe.RateLimitError):
        return StripeBusy(f"Stripe was asked too often: {words}", after_seconds=_seconds(headers))
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return KeyRefused(f"Stripe refuses our key (HTTP {status}): check STRIPE_SECRET_KEY. {words}")
    if status is None or status >= _SERVER or status == _CONFLICT:
        return StripeUnavailable(f"Stripe is in trouble (HTTP {status}): {words}", replayed=replayed)
    kind_of_refusal = Gone if status == _NOT_FOUND else Refused
    reason = str(error.code or getattr(error.error, "type", None) or f"http_{status}")
    return kind_of_refusal(f"Stripe refused: {words}", reason=reason[:64], request_id=error.request_id or "")


def _seconds(headers: dict[str, str]) -> float:
    asked = headers.get("retry-after", "")
    return min(float(asked), 3_600.0) if asked.isdecimal() else 0.0


def verified(payload: bytes, signature: str) -> dict[str, Any]:
    """Return a webhook's event once its signature and age are checked. Raises SignatureRefused, NotSetUp."""
    if not settings.STRIPE_WEBHOOK_SECRET:
        raise NotSetUp("Webhooks aren't set up in this installation: STRIPE_WEBHOOK_SECRET is empty.")
    from stripe import SignatureVerificationError, WebhookSignature  # noqa: PLC0415  # see above

    try:
        WebhookSignature.verify_header(payload, signature, settings.STRIPE_WEBHOOK_SECRET, TOLERANCE_SECONDS)
        event = json.loads(payload)
    except (SignatureVerificationError, ValueError) as error:
        # A body that is no UTF-8, or no JSON, is a ValueError.
        raise SignatureRefused from error
    # Thin events have another shape: they aren't asked for.
    if not isinstance(event, dict) or event.get("object") != "event":
        raise SignatureRefused("This is no snapshot event of Stripe's: set the endpoint up for snapshot payloads.")
    return event
