"""What people do: with a mouse, with a keyboard only, without scripts; and what the page does by itself."""

import re

import pytest
from playwright.sync_api import Page, expect

from egress.control.models import App, Assignment, AssignmentStatus, Gateway, GatewayStatus, Placement, Wish
from egress.control.transitions import assignment_transition
from tests.e2e.pages.conftest import START_SECONDS, Open
from tests.integration.portal import rows

pytestmark = pytest.mark.browser
expect.set_options(timeout=START_SECONDS * 1000)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until `selector` has the focus, as somebody without a mouse does."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            assert page.evaluate("document.activeElement.matches(':focus-visible')")
            return
    pytest.fail(f"the keyboard doesn't reach {selector}")


def test_enable_and_disable_with_a_mouse(open_page: Open, crew: rows.Crew, app: App) -> None:
    page = open_page(log_in_as=crew.owner.email)
    page.goto("/")
    page.click("text=shop-api")
    page.click("#enable")
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("$25.00")
    dialog.get_by_role("button", name="Enable").dblclick()
    expect(page.locator(".title .state")).to_have_text("Setting up")
    assert Assignment.objects.count() == 1

    page.click("#disable")
    page.fill("#id_name", "shop")
    page.click("text=Disable and give up")
    expect(page.locator("#name-error")).to_contain_text("Type shop-api, exactly so")
    page.fill("#id_name", "shop-api")
    page.click("text=Disable and give up")
    expect(page.locator(".title h1")).to_have_text("shop-api")
    assert Assignment.objects.get().wish == Wish.DISABLED


def test_what_becomes_of_traffic_in_an_outage_is_chosen_in_a_dialog(open_page: Open, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    page = open_page(log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")
    expect(page.locator("#egress")).to_contain_text("New connections are blocked")
    page.click("#outage")
    dialog = page.locator("dialog[open]")
    expect(dialog.get_by_label("Block them")).to_be_checked()
    dialog.get_by_label("Use shared addresses").check()
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("#egress")).to_contain_text("your firewall would see other addresses")
    assert App.objects.get().on_outage == "shared"


def test_what_becomes_of_traffic_in_an_outage_is_chosen_without_scripts(
    open_page: Open, crew: rows.Crew, app: App
) -> None:
    rows.bring(app, "active", by=crew.owner)
    page = open_page(320, log_in_as=crew.owner.email, java_script_enabled=False)
    page.goto(f"/apps/{app.pk}/")
    page.click("#outage")
    page.get_by_label("Use shared addresses").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#egress")).to_contain_text("your firewall would see other addresses")
    assert App.objects.get().on_outage == "shared"


def test_dialog_closes_by_its_button_and_by_escape(open_page: Open, crew: rows.Crew, app: App) -> None:
    page = open_page(log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")

    for close in (lambda: page.click("text=Not now"), lambda: page.keyboard.press("Escape")):
        page.click("#enable")
        expect(page.locator("dialog[open]")).to_be_visible()
        close()
        expect(page.locator("dialog[open]")).to_have_count(0)
        expect(page.locator("#enable")).to_be_focused()
    assert not Assignment.objects.exists()


def test_keyboard_only(open_page: Open, crew: rows.Crew, app: App) -> None:
    page = open_page()
    page.goto("/login/")
    page.keyboard.type(crew.owner.email)
    page.keyboard.press("Tab")
    page.keyboard.type(rows.PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    tab_to(page, ".apps a")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/apps/{app.pk}/")
    tab_to(page, "#enable")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    tab_to(page, "dialog button")
    page.keyboard.press("Enter")
    expect(page.locator(".title .state")).to_have_text("Setting up")
    tab_to(page, "#disable")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    tab_to(page, "#id_name")
    page.keyboard.type("shop-api")
    page.keyboard.press("Enter")
    expect(page.locator("#disable")).to_have_count(0)

    assert Assignment.objects.get().wish == Wish.DISABLED


def test_without_scripts(open_page: Open, crew: rows.Crew, app: App) -> None:
    page = open_page(320, log_in_as=crew.owner.email, java_script_enabled=False)
    page.goto("/")
    page.click("text=shop-api")
    page.click("#enable")
    expect(page.locator("main")).to_contain_text("$25.00")
    page.click("button:has-text('Enable')")
    expect(page.locator(".title .state")).to_have_text("Setting up")
    expect(page.locator(".copy").first).to_be_hidden()

    finish(app)
    # The page reloads by itself; nobody presses anything here.
    expect(page.locator(".title .state")).to_have_text("Dedicated egress active")
    page.click("label[for=snippet-ufw]")
    expect(page.locator("#text-ufw")).to_be_visible()
    expect(page.locator("#text-postgresql")).to_be_hidden()

    page.click("#disable")
    page.fill("#id_name", "shop-api")
    page.click("button:has-text('Disable and give up')")
    expect(page.locator("#disable")).to_have_count(0)
    assert Assignment.objects.get().wish == Wish.DISABLED


def test_progress_arrives_by_itself_and_leaves_the_focus_alone(open_page: Open, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "distributing", by=crew.owner)
    page = open_page(log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")
    page.focus("#disable")
    page.evaluate("window.stayed = true")

    assignment_transition(assignment=Assignment.objects.get(), to=AssignmentStatus.ACTIVE)

    expect(page.locator(".title .state")).to_have_text("Dedicated egress active")
    expect(page.locator("#announce")).to_contain_text("Dedicated egress active")
    expect(page.locator("#disable")).to_be_focused()
    assert page.evaluate("window.stayed")


def test_dead_gateway_turns_red_on_an_open_page(
    open_page: Open, crew: rows.Crew, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.web.page.CALM_SECONDS", 1)
    rows.bring(app, "active", by=crew.owner)
    page = open_page(log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")
    page.click("label[for=snippet-doctl]")

    rows.fall_silent(Gateway.objects.get(slot=1))

    expect(page.locator(".title .state")).to_have_text("Gateway B down")
    expect(page.locator("svg.wide .box.bad")).to_have_count(1)
    expect(page.locator("#text-doctl")).to_be_visible()


def test_settled_page_keeps_quiet(open_page: Open, crew: rows.Crew, app: App) -> None:
    page = open_page(log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")
    asked: list[str] = []
    page.on("request", lambda request: "/apps/" in request.url and asked.append(request.url))

    page.wait_for_timeout(2500)

    assert asked == []


def test_ended_session_leads_to_the_log_in(open_page: Open, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "provisioning", by=crew.owner)
    page = open_page(log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")

    page.context.clear_cookies()

    page.wait_for_url("**/login/")


def test_addresses_and_snippets_are_copied(open_page: Open, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    page = open_page(log_in_as=crew.owner.email, permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"/apps/{app.pk}/")

    tab_to(page, "#copy-B")
    page.keyboard.press("Enter")
    expect(page.locator("#copy-B")).to_contain_text("Copied")
    expect(page.locator("#announce")).to_have_text("Address 203.0.113.20 copied")
    assert page.evaluate("navigator.clipboard.readText()") == "203.0.113.20"
    page.click("#copy-postgresql")
    expect(page.locator("#copy-postgresql")).to_contain_text("Copied")
    assert "203.0.113.10/32" in page.evaluate("navigator.clipboard.readText()")


def test_copying_without_leave_hands_over_a_selection(open_page: Open, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    page = open_page(log_in_as=crew.owner.email)
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.goto(f"/apps/{app.pk}/")

    page.click("#copy-A")

    expect(page.locator("#copy-A")).to_contain_text("Selected")
    assert page.evaluate("getSelection().toString()") == "203.0.113.10"


def test_times_are_in_the_viewers_zone_and_tick(open_page: Open, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    page = open_page(log_in_as=crew.owner.email, timezone_id="Asia/Tokyo", locale="en-GB")
    page.goto(f"/apps/{app.pk}/")
    latest = page.locator(".timeline time").first
    first = latest.inner_text()

    expect(latest).to_have_attribute("title", re.compile(r"GMT\+9|JST"))
    expect(latest).not_to_have_text(first)


def finish(app: App) -> None:
    """Bring what was just enabled to active, as the control plane would."""
    assignment = Assignment.objects.get(app=app)
    for gateway in assignment.gateways.all():
        gateway.provisioning_status = GatewayStatus.READY
        gateway.health = "healthy"
        gateway.public_address = rows.ADDRESSES[gateway.slot]
        gateway.save()
    changes = {"target_revision": 7, "placement": Placement.APART}
    assignment_transition(assignment=assignment, to=AssignmentStatus.DISTRIBUTING, **changes)
    assignment_transition(assignment=assignment, to=AssignmentStatus.ACTIVE)
