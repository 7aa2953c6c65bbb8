"""The customer's portal: cards and invoices."""

from starlette.responses import RedirectResponse, Response

from billing.standin.account import Account
from billing.standin.errors import ApiError, missing
from billing.standin.store import Json
from billing.standin.things import cards, customers, portal

from .html import Markup, button, card_choices, form, money, page, picked_card, table, tag

SEE_OTHER = 303
MAX_INVOICES = 100


def show(account: Account, session_id: str) -> Response:
    """Show a customer's cards and invoices."""
    return _page(account, portal.living(account, session_id))


def act(account: Account, session_id: str, fields: dict[str, str]) -> Response:
    """Add a card (`card`, then `confirm` where it wants that), make one the default, or remove one."""
    session = portal.living(account, session_id)
    customer = customers.living(account, session["customer"])
    try:
        if "default" in fields:
            _make_default(account, customer, fields["default"])
        elif "remove" in fields:
            cards.detach(account, {}, _own(account, customer, fields["remove"])["id"])
        else:
            return _add(account, session, customer, fields)
    except ApiError as error:
        return _page(account, session, error=error.message)
    return RedirectResponse(f"/portal/{session_id}", SEE_OTHER)


def _add(account: Account, session: Json, customer: Json, fields: dict[str, str]) -> Response:
    card = picked_card(fields)
    if card is None:
        return _page(account, session, error="Choose one of the cards.")
    if card.setup == "authentication" and fields.get("confirm") != "yes":
        refused = "The card was not confirmed." if "confirm" in fields else ""
        return _page(account, session, error=refused) if refused else _question(session, card)
    if card.setup not in ("", "authentication"):
        raise cards.decline(card.setup)
    method = cards.attached(account, cards.make(account, card), customer["id"])
    _make_default(account, customer, method["id"])
    return RedirectResponse(f"/portal/{session['id']}", SEE_OTHER)


def _question(session: Json, card: cards.Card) -> Response:
    asked = form(
        f"/portal/{session['id']}",
        tag("p", "Your bank asks whether it is you (3-D Secure)."),
        tag("input", type="hidden", name="card", value=card.number),
        tag("p", button("Yes, confirm", "confirm", "yes"), button("No, refuse", "confirm", "no")),
    )
    return page("Confirm your card", asked)


def _own(account: Account, customer: Json, method_id: str) -> Json:
    method = account.store.get("payment_method", method_id)
    if method["customer"] != customer["id"]:
        raise missing("payment_method", method_id)
    return method


def _make_default(account: Account, customer: Json, method_id: str) -> None:
    settings = {**customer["invoice_settings"], "default_payment_method": _own(account, customer, method_id)["id"]}
    account.change(customer, {"invoice_settings": settings}, "customer.updated")


def _page(account: Account, session: Json, *, error: str = "") -> Response:
    customer = customers.living(account, session["customer"])
    action = f"/portal/{session['id']}"
    saved = [_card(customer, row, action) for row in account.store.rows("payment_method", customer=customer["id"])]
    listed = [row for row in account.store.rows("invoice", customer=customer["id"]) if row["status"] != "draft"]
    back = [tag("p", tag("a", "Back", href=session["return_url"]))] if session["return_url"] else []
    return page(
        f"Billing of {customer['name'] or customer['email'] or customer['id']}",
        *back,
        tag("h2", "Cards"),
        *(saved or [tag("p", "No card yet.")]),
        form(action, card_choices(), tag("p", tag("button", "Add card", type="submit"))),
        tag("h2", "Invoices"),
        table(("Number", "Status", "Total"), [_invoice(row) for row in listed[:MAX_INVOICES]], "The latest invoices"),
        error=error,
    )


def _card(customer: Json, method: Json, action: str) -> Markup:
    card = method["card"]
    words = f"{card['brand'].capitalize()} ending in {card['last4']}"
    if method["id"] == customer["invoice_settings"]["default_payment_method"]:
        return form(action, tag("p", f"{words} (default) ", button(f"Remove {card['last4']}", "remove", method["id"])))
    buttons = (
        button(f"Make {card['last4']} the default", "default", method["id"]),
        button(f"Remove {card['last4']}", "remove", method["id"]),
    )
    return form(action, tag("p", f"{words} ", *buttons))


def _invoice(invoice: Json) -> tuple[Markup, str, str]:
    link = tag("a", invoice["number"], href=f"/invoice/{invoice['id']}")
    return link, invoice["status"], money(invoice["total"], invoice["currency"])
