"""The hosted pages of the stand-in for Stripe in a browser: by keyboard, on a phone, back to where one came from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.pages.look import overflow, violations
from tests.standin import LIMIT_SECONDS, StandIn, customer_with_card, draft, stand_in

pytestmark = pytest.mark.browser

PHONE = 320
BACK = "/back"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(Path(tmp_path_factory.mktemp("standin"))) as running:
        yield running


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": PHONE, "height": 640})
    context.set_default_timeout(LIMIT_SECONDS * 1_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    yield page
    context.close()
    assert complaints == []


def look(page: Page) -> None:
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    assert overflow(page) == []


def test_a_card_is_saved_by_keyboard_and_the_visitor_sent_to_another_site(standin: StandIn, page: Page) -> None:
    client = standin.client()
    elsewhere = standin.address.replace("127.0.0.1", "localhost")
    session = client.v1.checkout.sessions.create(
        {
            "mode": "setup",
            "customer": client.v1.customers.create().id,
            "currency": "usd",
            "success_url": f"{elsewhere}{BACK}?session={{CHECKOUT_SESSION_ID}}",
        }
    )
    page.goto(session.url or "")
    look(page)
    page.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Yes, confirm").focus()
    look(page)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{elsewhere}{BACK}?session={session.id}")
    found = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.payment_method"]})
    assert found.setup_intent.payment_method.card.last4 == "3155"  # type: ignore[union-attr]


def test_an_invoice_is_looked_at_and_paid(standin: StandIn, page: Page) -> None:
    client = standin.client()
    customer = customer_with_card(client)
    invoice = client.v1.invoices.finalize_invoice(draft(client, customer.id, 123_456, 7).id)
    portal = client.v1.billing_portal.sessions.create({"customer": customer.id, "return_url": standin.address})
    page.goto(portal.url)
    look(page)
    page.get_by_role("link", name=invoice.number or "").click()
    look(page)
    page.get_by_role("button", name="Pay").click()
    page.get_by_text("Paid, of").wait_for()
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"
