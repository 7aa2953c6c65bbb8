"""Checkout's page: the visitor picks a test card, answers 3-D Secure, and is sent back."""

from starlette.responses import RedirectResponse, Response

from billing.standin.account import Account
from billing.standin.errors import ApiError
from billing.standin.store import Json
from billing.standin.things import setups

from .html import button, card_choices, form, page, picked_card, tag

SEE_OTHER = 303


def show(account: Account, session_id: str) -> Response:
    """Show the page of a session: cards to pick from, 3-D Secure's question, or that it is over."""
    return _page(account, account.store.get("checkout.session", session_id))


def act(account: Account, session_id: str, fields: dict[str, str]) -> Response:
    """Take a visitor's choice: `card` (its digits), `confirm` (yes or no), or `leave`."""
    session = account.store.get("checkout.session", session_id)
    if session["status"] != "open":
        return _page(account, session)
    if "leave" in fields:
        return RedirectResponse(session["cancel_url"] or session["success_url"], SEE_OTHER)
    try:
        if "confirm" in fields:
            session = setups.confirm(account, session, approved=fields["confirm"] == "yes")
        else:
            card = picked_card(fields)
            if card is None:
                return _page(account, session, error="Choose one of the cards.")
            session = setups.choose(account, session, card)
    except ApiError as error:
        return _page(account, session, error=error.message)
    if session["status"] == "complete":
        return RedirectResponse(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id), SEE_OTHER)
    return _page(account, session)


def _page(account: Account, session: Json, *, error: str = "") -> Response:
    ends = [url for url in (session["success_url"], session["cancel_url"]) if url]
    if session["status"] != "open":
        words = {
            "complete": "The card is saved.",
            "expired": "This session has expired: start again where you came from.",
        }
        return page("Checkout", tag("p", words[session["status"]]), error=error)
    action = f"/checkout/{session['id']}"
    intent = account.store.get("setup_intent", session["setup_intent"])
    leave = tag("p", button("Back without saving", "leave", "1"))
    if intent["status"] == "requires_action":
        question = tag("p", "Your bank asks whether it is you (3-D Secure).")
        buttons = tag("p", button("Yes, confirm", "confirm", "yes"), button("No, refuse", "confirm", "no"))
        return page("Confirm your card", question, form(action, buttons, leave), error=error, goes_to=ends)
    save = tag("p", tag("button", "Save card", type="submit"))
    return page("Save a card", form(action, card_choices(), save, leave), error=error, goes_to=ends)
