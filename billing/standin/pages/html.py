"""The frame of the stand-in's pages, and the bits that they are made of. Whatever is put in is escaped here."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from billing.standin.things.cards import CARDS, Card

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 42rem; margin: 0 auto; padding: 1rem; }
.standin { border: 2px dashed; padding: .5rem 1rem; }
.error { border-left: .4rem solid #b3261e; padding-left: .8rem; }
fieldset { margin: 1rem 0; padding: 1rem; }
label { display: block; padding: .4rem 0; }
button { font: inherit; padding: .5rem 1.2rem; margin: .3rem .5rem .3rem 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid; vertical-align: top; }
.amount { text-align: right; white-space: nowrap; }
a { color: inherit; }
:focus-visible { outline: 3px solid #1a73e8; outline-offset: 2px; }
"""
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: str | Markup, **attributes: str | bool) -> Markup:
    """Return an element; text in it is escaped, Markup isn't. `class_` and `for_` are `class` and `for`."""
    shown = "".join(
        f" {key.rstrip('_')}" if value is True else f' {key.rstrip("_")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not False
    )
    inner = "".join(part if isinstance(part, Markup) else escape(part) for part in content)
    return Markup(f"<{name}{shown}>" + ("" if name in ("input", "br") else f"{inner}</{name}>"))


def table(heads: Iterable[str], rows: Iterable[Iterable[str | Markup]], caption: str) -> Markup:
    """Return a table; the last column holds amounts."""
    head = tag("tr", *(tag("th", text, scope="col") for text in heads))
    body = []
    for row in rows:
        *cells, amount = row
        body.append(tag("tr", *(tag("td", cell) for cell in cells), tag("td", amount, class_="amount")))
    return tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))


def form(action: str, *content: Markup) -> Markup:
    """Return a form that posts to `action`."""
    return tag("form", *content, method="post", action=action)


def button(text: str, name: str, value: str) -> Markup:
    """Return a button that sends `name=value`."""
    return tag("button", text, type="submit", name=name, value=value)


def card_choices() -> Markup:
    """Return the test cards to pick from, as a group of radio buttons."""
    return tag("fieldset", tag("legend", "Test cards"), *(_choice(card) for card in CARDS))


def picked_card(fields: Mapping[str, str]) -> Card | None:
    """Return the test card that a form names, if it does."""
    return next((card for card in CARDS if card.number == fields.get("card")), None)


def _choice(card: Card) -> Markup:
    digits = " ".join(card.number[at : at + 4] for at in range(0, 16, 4))
    box = tag("input", type="radio", name="card", value=card.number, required=True, checked=card is CARDS[0])
    return tag("label", box, f" {digits}: {card.title}")


def money(cents: int, currency: str) -> str:
    """Return an amount for people."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02d} {currency.upper()}"


def page(title: str, *content: Markup, error: str = "", goes_to: Iterable[str] = (), status: int = 200) -> HTMLResponse:
    """Return a page; `goes_to` are the addresses that its forms may end at."""
    notice = tag("p", "This is a stand-in for Stripe. No card is charged, no money moves.", class_="standin")
    alert = [tag("p", error, class_="error", role="alert")] if error else []
    main = tag("main", tag("h1", title), *alert, *content)
    head = Markup(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: Stripe stand-in</title><style>{_STYLE}</style>"
    )
    text = f'<!doctype html><html lang="en"><head>{head}</head><body>{tag("header", notice)}{main}</body></html>'
    return HTMLResponse(text, status, headers=_headers(goes_to))


def _headers(goes_to: Iterable[str]) -> Mapping[str, str]:
    # Browsers hold redirects after a form to form-action, too.
    origins = " ".join(sorted({f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in goes_to if url}))
    policy = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self' {origins}; base-uri 'none'"
    return {
        "Content-Security-Policy": f"{policy.strip()}; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
