"""Billing's pages in a browser: at three widths and in both schemes nothing sticks out and nothing is inaccessible."""

import re
from datetime import date, timedelta

import pytest
from playwright.sync_api import expect
from pytest_django import Settings

from egress.control import clock
from egress.control.models import App
from tests.e2e.pages.conftest import START_SECONDS, Open
from tests.e2e.pages.look import LEGIBLE_PIXELS, assert_looks_right
from tests.integration.portal import billing_rows as made
from tests.integration.portal import rows

pytestmark = pytest.mark.browser
expect.set_options(timeout=START_SECONDS * 1000)
BASE = "/teams/northwind/billing"


@pytest.fixture
def paths(crew: rows.Crew, app: App, settings: Settings) -> tuple[str, ...]:
    """A team with all that pages can show: apps in use and off, long names, a failed payment, statements."""
    settings.STRIPE_SECRET_KEY = "sk_test_look"
    now, begin = clock.now(), made.month_begin()
    hours = int((now - begin).total_seconds() // 3600)
    first = made.assignment(app)
    made.used(first, begin, hours, outages=(1,))
    made.event(first, begin, "assignment.status", "distributing")
    made.event(first, begin + timedelta(minutes=1), "egress.disable", actor=crew.owner)
    long = rows.app(crew, "a-name-as-long-as-names-may-become-here-which-is-a-lot")
    made.used(made.assignment(long, "released"), begin, hours // 2)
    months = [date(2026, number, 1) for number in (1, 2, 3)]
    lines = [[made.usage_line(first, slot, month, cents=123_456_78) for slot in (0, 1)] for month in months]
    statements = [made.statement(crew.team, month, each) for month, each in zip(months, lines, strict=True)]
    for statement, status in zip(statements, ("paid", "uncollectible", "open"), strict=True):
        failed = {"failed_at": now, "due_cents": 123_456_78} if status == "open" else {}
        made.invoice(statement, status, **failed)
    made.account(crew.team, budget_cents=5000, spend_limit_cents=123_456_78, balance_cents=-500)
    below = (f"/apps/{app.pk}/?day={begin:%Y-%m-%d}", f"/statements/{statements[0].pk}/")
    return tuple(
        f"{BASE}{path}" for path in ("/", "/statements/", "/payment/", "/details/", "/limits/", "/exports/", *below)
    )


def test_every_page_fits_and_is_accessible(open_page: Open, crew: rows.Crew, paths: tuple[str, ...]) -> None:
    page = open_page(log_in_as=crew.owner.email)
    for path in paths:
        page.goto(path)
        for details in page.locator("details").all():
            details.locator("summary").click()
        assert_looks_right(page)


@pytest.mark.parametrize(("width", "drawing"), [(320, "slim"), (1440, "wide")])
def test_one_chart_is_shown_and_can_be_read(
    open_page: Open, crew: rows.Crew, paths: tuple[str, ...], width: int, drawing: str
) -> None:
    page = open_page(width, log_in_as=crew.owner.email)
    page.goto(paths[0])
    shown = page.locator(".chart svg:visible")
    expect(shown).to_have_count(1)
    expect(shown).to_have_class(drawing)
    expect(shown).to_have_attribute("aria-label", re.compile(r"^Cost by day: \$"))
    scale = page.evaluate(f"document.querySelector('.chart svg.{drawing}').getScreenCTM().a")
    size = page.evaluate(f"parseFloat(getComputedStyle(document.querySelector('.chart svg.{drawing} text')).fontSize)")
    assert scale * size >= LEGIBLE_PIXELS - 1


def test_limits_are_set_without_scripts(open_page: Open, crew: rows.Crew, paths: tuple[str, ...]) -> None:
    page = open_page(320, log_in_as=crew.owner.email, java_script_enabled=False)
    page.goto("/")
    page.click("text=Billing")
    expect(page.locator("h1")).to_have_text("Billing")
    page.click("text=Budget and limit")
    page.fill("#id_budget", "-1")
    page.click("button:has-text('Save')")
    expect(page.locator("#budget-error")).to_be_visible()
    page.fill("#id_budget", "75")
    page.click("button:has-text('Save')")
    expect(page.locator(".notice.ok")).to_have_text("Saved.")
    expect(page.locator("#id_budget")).to_have_value("75.00")
