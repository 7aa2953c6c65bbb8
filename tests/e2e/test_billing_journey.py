"""The whole loop of billing as a customer sees it in the demo: usage, invoice, failure, payment, export."""

import csv
import json
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.conftest import missing
from tests.e2e.pages.conftest import CHROMIUM, FLAGS
from tests.e2e.system import NODE_NAMES, System, wait_for
from tests.e2e.test_journey import PATIENCE_MILLISECONDS, log_in

pytestmark = [pytest.mark.full, pytest.mark.browser, pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP = "shop-api"
FAILS_LATER = "4000 0000 0000 0341"
#: What a month's last hours cost is less than Stripe takes.
LATE_IN_THE_MONTH = 26
WORKS = "5555 5555 5555 4444"
BILL = """
import json
from billing.models import Invoice, Statement
from egress.control.models import Event
served = Event.objects.get(subject="assignment.status", new="distributing").at
lines = [
    {"id": str(line.pk), "month": f"{row.month:%Y-%m}", "unit": line.unit, "quantity": line.quantity,
     "cents": line.cents, "end": line.end.isoformat()}
    for row in Statement.objects.order_by("month") for line in row.lines.all()
]
invoices = [[row.number, row.status, row.total_cents] for row in Invoice.objects.order_by("statement__month")]
print(json.dumps({"served": served.isoformat(), "lines": lines, "invoices": invoices}))
"""


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One of its own: others' time mustn't be moved."""
    if reason := missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="sgt-bill-", ignore_cleanup_errors=True) as folder:
        running = System(Path(folder))
        try:
            yield running
        finally:
            running.stack.stop()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing (Debian's package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
        yield page
        browser.close()
    # Neither ours nor the stand-in's policy stands in the way from one to the other.
    assert complaints == []


def billing(page: Page, system: System, tab: str) -> None:
    page.goto(f"{system.url}/teams/northwind/billing/{tab}")


def bill(system: System) -> dict[str, Any]:
    """Return what there is by now: lines of statements, and invoices, by month."""
    found: dict[str, Any] = json.loads(system.stack.manage("shell", "--no-imports", "-c", BILL))
    return found


def check_traces_to_the_second(system: System, line: dict[str, Any], served: str) -> None:
    """The first month's seconds run from the second in which the pair could be used to the month's end."""
    began, end = datetime.fromisoformat(served).replace(microsecond=0), datetime.fromisoformat(line["end"])
    assert line["quantity"] == (end - began).total_seconds()
    words = system.stack.manage("billing_trace", line["id"])
    assert f"The ledger has {line['quantity']}, the statements up to this one say {line['quantity']} seconds" in words
    assert sum(int(seconds) for seconds in re.findall(r"h #\d+: (\d+) s", words)) == line["quantity"]
    assert f"{datetime.fromisoformat(served):%Y-%m-%d %H:%M:%S.%f}" in words


def mails(system: System) -> str:
    return "\n".join(file.read_text() for file in (system.stack.state / "mails").iterdir())


def choose(page: Page, digits: str, button: str) -> None:
    """Pick a test card on one of the stand-in's pages."""
    page.get_by_label(digits).check()
    page.get_by_role("button", name=button).click()


def test_usage_becomes_an_invoice_that_fails_is_paid_and_is_exported(
    system: System, page: Page, tmp_path: Path
) -> None:
    if datetime.now(UTC).day >= LATE_IN_THE_MONTH:
        system.stack.manage("lab", "pass-days", "7")
    log_in(page, system)
    page.get_by_role("link", name=APP).click()
    # A card is on file from the start: nothing stands between a newcomer and the first pair.
    page.click("#enable")
    page.locator("dialog[open]").get_by_role("button", name="Enable").click()
    expect(page.locator(".title .state")).to_have_text("Dedicated egress active")
    addresses, droplets = set(page.locator(".addresses .address").all_inner_texts()), system.droplets()
    system.start_container(APP, NODE_NAMES[0])

    system.stack.manage("lab", "pass-months", "1")
    first = bill(system)
    hours = [line for line in first["lines"] if line["unit"] == "second"]
    assert len(hours) == 2
    for line in hours:
        check_traces_to_the_second(system, line, first["served"])
    (invoice,) = first["invoices"]
    assert invoice[1:] == ["paid", sum(line["cents"] for line in first["lines"])]

    billing(page, system, "payment/")
    page.get_by_role("button", name="Use another payment method").click()
    choose(page, FAILS_LATER, "Save card")
    expect(page.get_by_text("···· 0341")).to_be_visible()
    told = system.stack.manage("lab", "pass-months", "1")
    assert "Northwind: 25.00 USD could not be paid" in told
    assert "25.00 USD could not be paid" in mails(system)
    # Two months later to billing, the same gateways serve: nobody took them for dead.
    assert system.lab.ip(APP) in addresses
    assert system.droplets() == droplets

    billing(page, system, "")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The payment of $25.00")
    alert.get_by_role("link", name="Pay now at Stripe").click()
    choose(page, WORKS, "Pay")
    expect(page.get_by_text("Paid, of")).to_be_visible()

    # By the webhook, of which nobody waits for a sweep.
    def calm() -> bool:
        billing(page, system, "")
        return page.get_by_role("alert").count() == 0

    wait_for("the page says that nothing is owed", calm)
    assert [status for _, status, _ in bill(system)["invoices"]] == ["paid", "paid"]

    second = bill(system)["lines"][-1]["month"]
    billing(page, system, "exports/")
    page.get_by_label("Month", exact=True).select_option(second)
    page.get_by_label("FOCUS 1.2").check()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "focus.csv")
    rows = list(csv.DictReader((tmp_path / "focus.csv").read_text().splitlines()))
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal("25.00")
    assert {row["SubAccountName"] for row in rows} == {APP}
