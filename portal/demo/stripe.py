"""What the demo does at its stand-in for Stripe, over HTTP: a visitor at its pages, and a hand at its clock."""

import json
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings

from billing.collecting import method_refresh, setup_session
from portal.accounts.models import Team

from .errors import StackError

#: On a busy machine it takes long to begin.
PATIENCE_SECONDS = 60
#: The first of Stripe's test cards: it works.
CARD = "4242424242424242"


def collects() -> bool:
    """Tell whether anybody collects here."""
    return bool(settings.STRIPE_SECRET_KEY)


def is_there() -> bool:
    """Tell whether that is a stand-in, and not Stripe itself."""
    return collects() and bool(settings.STRIPE_API_URL)


def save_card(team: Team) -> None:
    """Save a test card for `team`, as its owner would on Checkout's page. Raises StackError, CollectingError."""
    _ask("GET", "/_standin/clock")
    back = f"{settings.PORTAL_URL}/teams/{team.slug}/billing/payment/"
    page = urlsplit(setup_session(team, (back, back))).path
    status, words = _request("POST", page, urlencode({"card": CARD}), "application/x-www-form-urlencoded")
    if status != HTTPStatus.SEE_OTHER:
        raise StackError(f"The stand-in for Stripe saved no card for {team} (HTTP {status}): {words[:500]}")
    method_refresh(team)


def clock_set(offset_seconds: int) -> None:
    """Put its clock so far ahead of the machine's; what is due by then, it has done on return. Raises StackError."""
    _ask("POST", "/_standin/clock", offset_seconds=offset_seconds)


def has_told_all() -> bool:
    """Tell whether all its webhooks have arrived, or were given up. Raises StackError."""
    return all(each["status"] != "pending" for each in _ask("GET", "/_standin/webhooks")["deliveries"])


def _ask(method: str, path: str, **wanted: Any) -> dict[str, Any]:
    status, words = _request(method, path, json.dumps(wanted) if wanted else "", "application/json")
    if status != HTTPStatus.OK:
        raise StackError(f"The stand-in for Stripe refuses {path} (HTTP {status}): {words[:500]}")
    answer: dict[str, Any] = json.loads(words)
    return answer


def _request(method: str, path: str, body: str, content_type: str) -> tuple[int, str]:
    """Return status and text of an answer; redirects aren't followed. Raises StackError."""
    address = urlsplit(settings.STRIPE_API_URL)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_SECONDS)
    headers = {"Authorization": f"Bearer {settings.STRIPE_SECRET_KEY}", "Content-Type": content_type}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException) as error:
        raise StackError(f"The stand-in for Stripe doesn't answer at {address.netloc}: {error}") from None
    finally:
        connection.close()
