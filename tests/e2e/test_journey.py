"""A customer's way through the pages, in a real browser, on real packets."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.pages.conftest import CHROMIUM, FLAGS
from tests.e2e.system import NODE_NAMES, SHARED, System

pytestmark = [pytest.mark.browser, pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP = "shop-api"
PATIENCE_MILLISECONDS = 90_000


def log_in(page: Page, system: System) -> None:
    """Log the customer in."""
    page.goto(system.url)
    page.get_by_label("E-mail").fill(system.seed["customer"])
    page.get_by_label("Password").fill(system.seed["password"])
    page.get_by_role("button", name="Log in").click()


def test_a_customer_enables_and_disables_and_the_internet_sees_it(system: System, tmp_path: Path) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing (Debian's package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        log_in(page, system)
        page.get_by_role("link", name=APP).click()
        page.click("#enable")
        page.locator("dialog[open]").get_by_role("button", name="Enable").click()
        expect(page.locator(".title .state")).to_have_text("Dedicated egress active")
        shown = set(page.locator(".addresses .address").all_inner_texts())
        assert len(shown) == 2
        system.check_pair(APP, "tcp", 5, shown)

        page.click("#disable")
        page.fill("#id_name", APP)
        page.click("text=Disable and give up")
        expect(page.locator(".title .state")).to_have_text("Shared addresses")
        assert {system.lab.ip(APP, node=node) for node in NODE_NAMES} == SHARED
        browser.close()
