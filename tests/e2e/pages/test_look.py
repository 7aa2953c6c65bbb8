"""Every page, in both schemes and at three widths: accessible, nothing overflowing, nothing moving."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.e2e.pages.conftest import Open
from tests.integration.portal import rows

pytestmark = pytest.mark.browser

AXE = next((Path(__file__).parents[1] / "vendor").glob("axe-*.min.js"))
WIDTHS = (320, 768, 1440)


def violations(page: Page) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{page.url} {rule['id']}: {node['html'][:120]}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


def overflow(page: Page) -> list[str]:
    """Return what sticks out of the page to the right; what scrolls inside its own box may."""
    return list(
        page.evaluate("""() => [...document.querySelectorAll("body *")]
            .filter((e) => !e.closest("pre, .visually-hidden") && !e.matches(".visually-hidden, .skip"))
            .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .map((e) => e.outerHTML.slice(0, 120))""")
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", rows.STATES)
def test_app_page_in_every_state(open_page: Open, crew: rows.Crew, state: str, scheme: str) -> None:
    app = rows.app(crew, f"app-{state}")
    for ordinal in (0, 1):
        rows.node(crew.cluster, ordinal, containers={app.namespace: 3})
    rows.bring(app, state, by=crew.owner, addresses=("203.200.113.110", "203.200.113.120"))
    page = open_page(log_in_as=crew.owner.email, color_scheme=scheme)
    page.goto(f"/apps/{app.pk}/")

    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert overflow(page) == []
        assert violations(page) == []
        upright = page.locator(".way svg.upright").is_visible()
        assert upright == (width == min(WIDTHS))
        assert page.locator(".way svg.wide").is_visible() != upright


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_other_pages(open_page: Open, crew: rows.Crew, scheme: str) -> None:
    on, off = rows.app(crew, "shop-api"), rows.app(crew, "a-name-as-long-as-names-may-become-here-which-is-a-lot")
    rows.bring(on, "active", by=crew.owner)
    page = open_page(color_scheme=scheme)
    page.goto("/login/")
    assert violations(page) == []
    page.fill("#id_username", crew.owner.email)
    page.fill("#id_password", "wrong")
    page.press("#id_password", "Enter")
    page.wait_for_selector(".notice.bad")
    assert violations(page) == []
    page.fill("#id_password", rows.PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_url("**/")

    for path in ("/", f"/apps/{off.pk}/", f"/apps/{off.pk}/egress/enable/", f"/apps/{on.pk}/egress/disable/"):
        page.goto(path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert overflow(page) == []
            assert violations(page) == []


@pytest.mark.parametrize("dialog", ["enable", "disable"])
def test_dialogs(open_page: Open, crew: rows.Crew, dialog: str) -> None:
    app = rows.app(crew)
    rows.bring(app, "active" if dialog == "disable" else "off", by=crew.owner)
    page = open_page(320, log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")

    page.click(f"#{dialog}")

    page.wait_for_selector("dialog[open]")
    assert overflow(page) == []
    assert violations(page) == []


def test_using_the_page_moves_nothing(open_page: Open, crew: rows.Crew) -> None:
    app = rows.app(crew)
    rows.bring(app, "active", by=crew.owner)
    page = open_page(log_in_as=crew.owner.email, permissions=["clipboard-read", "clipboard-write"])
    page.add_init_script("""
        window.shift = 0;
        new PerformanceObserver((list) => { for (const e of list.getEntries()) window.shift += e.value; })
            .observe({ type: "layout-shift", buffered: true });
    """)
    page.goto(f"/apps/{app.pk}/")
    height = page.evaluate("document.documentElement.scrollHeight")

    page.click("#copy-A")
    for key in ("aws", "json", "ufw"):
        page.click(f"label[for=snippet-{key}]")
        assert page.locator(f"#text-{key}").is_visible()

    assert page.evaluate("document.documentElement.scrollHeight") == height
    # The word on a button may differ by a letter; nothing else moves.
    assert page.evaluate("window.shift") < 0.0001


def test_motion_is_reduced_where_wished(open_page: Open, crew: rows.Crew) -> None:
    app = rows.app(crew)
    rows.bring(app, "provisioning", by=crew.owner)

    def animation(wish: str) -> str:
        page = open_page(log_in_as=crew.owner.email, reduced_motion=wish)
        page.goto(f"/apps/{app.pk}/")
        return str(
            page.evaluate("getComputedStyle(document.querySelector('.steps .current'), '::before').animationName")
        )

    assert animation("no-preference") == "breathe"
    assert animation("reduce") == "none"


def test_admin_works_under_its_own_policy(open_page: Open, crew: rows.Crew) -> None:
    rows.person("root@example.com", is_staff=True, is_superuser=True)
    page = open_page(log_in_as="root@example.com")

    page.goto("/admin/")

    assert page.locator("h1, h2").first.is_visible()
