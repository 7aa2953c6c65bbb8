"""What lies under pydo: a bounded HTTP session, and the way from its many exceptions to our few.

Importing this imports requests and azure-core; `digitalocean` does so only when the API is called.
"""

import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import requests
from azure.core.exceptions import AzureError, HttpResponseError
from urllib3 import exceptions as urllib3

from .base import AccessRefused, NoCapacity, OutcomeUnknown, ProviderError, RateLimited, Rejected, Unavailable

#: All that a call through pydo can raise: azure-core's errors, what slips past them from requests (an OSError), from
#: urllib3, and from reading bodies and headers that aren't what they should be.
FAILURES = (AzureError, urllib3.HTTPError, OSError, ValueError, RecursionError)

_CHUNK_BYTES = 64 * 1024
_MAX_MESSAGE = 300
#: An error message that repeats this many characters of a secret, or more, isn't passed on.
_SECRET_WINDOW = 16
_DEFAULT_WAIT_SECONDS = 60
_MAX_WAIT_SECONDS = 3_600
_CAPACITY = re.compile(
    r"droplet limit|capacity|\b(size|region)\b[^.]*\b(not available|unavailable|disabled)", re.IGNORECASE
)
_BUSY = re.compile(r"pending event", re.IGNORECASE)


class BoundedSession(requests.Session):
    """A session whose answers are bounded in size, and in time even when they trickle."""

    def __init__(self, *, max_bytes: int, max_seconds: float) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self.hooks["response"].append(self._read)
        # Credentials in the operator's .netrc would replace the token otherwise.
        self.auth = _as_it_is

    def _read(self, response: requests.Response, **_: object) -> None:
        deadline = time.monotonic() + self._max_seconds
        body = bytearray()
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            body += chunk
            if len(body) > self._max_bytes:
                response.close()
                raise requests.exceptions.ContentDecodingError(f"the answer is larger than {self._max_bytes} bytes")
            if time.monotonic() > deadline:
                response.close()
                raise requests.exceptions.ReadTimeout(f"the answer took longer than {self._max_seconds} s")
        # requests has no public way to hand over a body that a hook has read.
        response._content = bytes(body)  # noqa: SLF001 - see above
        response._content_consumed = True  # noqa: SLF001 - see above


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What was being done when a call failed.

    `repeatable`: doing it twice does no harm. `missing` is what a 404 means. Long parts of `secrets` appear in no
    error.
    """

    doing: str
    repeatable: bool
    missing: type[ProviderError]
    secrets: tuple[str, ...] = field(repr=False)


def translate(error: BaseException, context: Context) -> ProviderError:
    """Return the ProviderError that says what `error`, one of FAILURES, means to the caller."""
    response = error.response if isinstance(error, HttpResponseError) else None
    if response is not None and (response.status_code or 0) >= HTTPStatus.BAD_REQUEST:
        return _refusal(response, context)
    if _never_sent(error):
        return Unavailable(f"{context.doing}: can't connect to DigitalOcean ({_name(error)}); try again later")
    if response is not None:
        return _unknown(context, f"DigitalOcean's answer {response.status_code} can't be read")
    return _unknown(context, f"no usable answer from DigitalOcean ({_name(error)})")


def own_not_found(body: Any) -> bool:
    """Tell DigitalOcean's own 404 from one that something on the way made up: the latter deletes nothing."""
    return isinstance(body, dict) and body.get("id") == "not_found"


def _refusal(response: Any, context: Context) -> ProviderError:
    status: int = response.status_code
    body = _json(response)
    said = str(body.get("message", "")) if isinstance(body, dict) else ""
    what = f"{context.doing}: DigitalOcean answered {status}: {_printable(said, context.secrets)}"
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return AccessRefused(f"{what}; check the token and its scopes")
        case HTTPStatus.NOT_FOUND if own_not_found(body):
            return context.missing(what)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return RateLimited(what, retry_after_seconds(response.headers))
        case HTTPStatus.UNPROCESSABLE_ENTITY | HTTPStatus.CONFLICT if _BUSY.search(said):
            return Unavailable(f"{what}; it is busy with an earlier action: try again later")
        case HTTPStatus.UNPROCESSABLE_ENTITY if _CAPACITY.search(said):
            return NoCapacity(f"{what}; try another size or region, or ask for a higher limit")
        case HTTPStatus.NOT_FOUND | HTTPStatus.REQUEST_TIMEOUT:
            return _unknown(context, f"something on the way to DigitalOcean answered {status}")
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _unknown(context, f"DigitalOcean answered {status}")
    return Rejected(what)


def _unknown(context: Context, what: str) -> ProviderError:
    if context.repeatable:
        return Unavailable(f"{context.doing}: {what}; try again later")
    return OutcomeUnknown(f"{context.doing}: {what}; it may have been done: look before doing it again")


def retry_after_seconds(headers: Mapping[str, str]) -> int:
    """Return how long a 429 asks to wait: `retry-after`, else until `ratelimit-reset`, from 1 s to 1 h.

    The provider's own `date` is the present, so that a wrong clock on this side doesn't matter.
    """
    try:
        if "retry-after" in headers:
            wait = float(headers["retry-after"])
        else:
            wait = float(headers["ratelimit-reset"]) - parsedate_to_datetime(headers["date"]).timestamp()
        return max(1, min(_MAX_WAIT_SECONDS, int(wait)))
    except (KeyError, ValueError, OverflowError):
        return _DEFAULT_WAIT_SECONDS


def _never_sent(error: BaseException) -> bool:
    """Say whether the connection certainly failed before the request went out.

    azure-core's ServiceRequestError promises that, but also covers TLS that broke, and bodies that stalled, after it.
    """
    inner = getattr(error, "inner_exception", None)
    cause = inner.args[0] if isinstance(inner, requests.exceptions.ConnectionError) and inner.args else inner
    reason = getattr(cause, "reason", cause)
    if isinstance(reason, urllib3.SSLError):
        return any(isinstance(arg, ssl.SSLCertVerificationError) for arg in reason.args)
    return isinstance(reason, urllib3.NewConnectionError | urllib3.ConnectTimeoutError | urllib3.ProxyError)


def _name(error: BaseException) -> str:
    # Only names: the words of these errors may hold headers, and so the token.
    inner = getattr(error, "inner_exception", None)
    return type(inner or error).__name__


def _json(response: Any) -> Any:
    try:
        return json.loads(response.text())
    except (ValueError, RecursionError):
        return None


def _printable(message: str, secrets: tuple[str, ...]) -> str:
    text = " ".join(message.split())[:_MAX_MESSAGE]
    windows = [text[at : at + _SECRET_WINDOW] for at in range(len(text) - _SECRET_WINDOW + 1)]
    if any(window in secret for window in windows for secret in secrets):
        return "(its message repeats what is secret)"
    return "".join(character if character.isprintable() else "?" for character in text) or "(no message)"
