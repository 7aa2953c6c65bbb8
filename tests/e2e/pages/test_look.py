"""Every page, in both schemes and at three widths: accessible, nothing overflowing, nothing moving."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.test import RequestFactory
from django.urls import reverse
from playwright.sync_api import Page

from egress.control import clock, installation
from egress.control.models import Assignment, Gateway, RouteChange
from egress.control.models_installation import StrayServer
from egress.control.models_repair import ClusterRepair
from egress.control.models_rollouts import ItemState, Rollout, RolloutItem, RolloutStatus
from egress.control.models_told import Notification
from egress.control.told.notices import notify
from portal.accounts.models import User
from tests.e2e.pages.conftest import Open
from tests.e2e.pages.look import HEIGHT, LEGIBLE_PIXELS, WIDTHS, assert_looks_right, broken_rules, overflow, violations
from tests.integration.portal import billing_rows, rows

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("state", rows.STATES)
def test_app_page_in_every_state(open_page: Open, crew: rows.Crew, state: str) -> None:
    app = rows.app(crew, f"app-{state}")
    for ordinal in (0, 1):
        rows.node(crew.cluster, ordinal, containers={app.namespace: 3})
    rows.bring(app, state, by=crew.owner, addresses=("203.200.113.110", "203.200.113.120"))
    page = open_page(log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")

    assert_looks_right(page)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        upright = page.locator(".way svg.upright").is_visible()
        assert upright == (width == min(WIDTHS))
        assert page.locator(".way svg.wide").is_visible() != upright


@pytest.mark.parametrize(("width", "drawing"), [(320, "upright"), (1440, "wide")])
@pytest.mark.parametrize("state", ["off", "provisioning", "active", "draining"])
def test_words_in_the_picture_fit_their_boxes_and_can_be_read(
    open_page: Open, crew: rows.Crew, state: str, width: int, drawing: str
) -> None:
    app = rows.app(crew)
    for ordinal, containers in enumerate((1, 4, 60, 500)):
        rows.node(crew.cluster, ordinal, name=f"a-node-with-a-long-name-{ordinal}", containers={"shop-api": containers})
    rows.bring(app, state, by=crew.owner, addresses=("203.200.113.110", "203.200.113.120"))
    page = open_page(width, log_in_as=crew.owner.email)
    page.goto(f"/apps/{app.pk}/")

    words = set(page.locator(f"svg.{drawing} g text").all_text_contents())
    assert {"1 container", "4 containers", "60 containers", "500 containers"} <= words
    outside = page.evaluate(
        """(drawing) => [...document.querySelectorAll(`svg.${drawing} g`)].flatMap((group) => {
            const box = group.querySelector("rect.box").getBoundingClientRect();
            return [...group.querySelectorAll("text")].filter((text) => {
                const words = text.getBoundingClientRect();
                return words.left < box.left || words.right > box.right
                    || words.top < box.top || words.bottom > box.bottom;
            }).map((text) => text.textContent);
        })""",
        drawing,
    )
    assert outside == []
    scale = page.evaluate(f"document.querySelector('svg.{drawing}').getScreenCTM().a")
    size = page.evaluate(f"parseFloat(getComputedStyle(document.querySelector('svg.{drawing} .quiet')).fontSize)")
    assert scale * size >= LEGIBLE_PIXELS


def test_other_pages(open_page: Open, crew: rows.Crew) -> None:
    on, off = rows.app(crew, "shop-api"), rows.app(crew, "a-name-as-long-as-names-may-become-here-which-is-a-lot")
    rows.bring(on, "active", by=crew.owner)
    page = open_page()
    page.goto("/login/")
    assert_looks_right(page)
    page.fill("#id_username", crew.owner.email)
    page.fill("#id_password", "wrong")
    page.press("#id_password", "Enter")
    page.wait_for_selector(".notice.bad")
    assert_looks_right(page)
    page.fill("#id_password", rows.PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_url("**/")

    kind = Notification.Kind.ADDRESS_REPLACED
    notify(Assignment.objects.get(app=on), kind, "address:1", old="203.200.113.110", new="203.200.113.120")
    below = f"/apps/{on.pk}/", f"/apps/{on.pk}/egress/disable/", f"/apps/{on.pk}/egress/outage/", "/notifications/"
    for path in ("/", f"/apps/{off.pk}/", f"/apps/{off.pk}/egress/enable/", *below):
        page.goto(path)
        assert_looks_right(page)


def test_pages_while_changes_wait(open_page: Open, crew: rows.Crew) -> None:
    app = rows.app(crew)
    rows.bring(app, "provisioning", by=crew.owner)
    installation.hold(reason="a backup was restored")
    page = open_page(log_in_as=crew.owner.email)
    for path in ("/", f"/apps/{app.pk}/"):
        page.goto(path)
        assert page.locator(".notice.held").is_visible()
        assert_looks_right(page)

    # The open page learns by itself that it is over.
    installation.resume()
    page.wait_for_selector(".notice.held", state="detached")


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
    """In one scheme only: neither the policy nor what fits hangs on colours."""
    _fill_admin(crew)
    page = open_page(log_in_as="root@example.com")
    import_module(settings.ROOT_URLCONF)  # registers them
    model_admins = [admin.site.get_model_admin(model) for model in apps.get_models() if admin.site.is_registered(model)]
    assert len(model_admins) >= 11

    own = (reverse("admin:index"), reverse("admin:billing_revenue"), reverse("admin:billing_margin"))
    for path in (*own, *(path for model_admin in model_admins for path in _admin_paths(model_admin))):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("h1").first.is_visible(), path
        # What is django-unfold's own isn't made for the narrowest.
        for width in WIDTHS if path in own else WIDTHS[1:]:
            page.set_viewport_size({"width": width, "height": 900})
            assert _page_overflow(page) <= 0, f"{path} at {width}"


def test_the_admin_start_page_is_accessible_and_leads_to_what_needs_a_look(open_page: Open, crew: rows.Crew) -> None:
    _fill_admin(crew)
    page = open_page(log_in_as="root@example.com")
    page.goto("/admin/")
    assert page.locator("h1").inner_text() == "What needs a look"
    inside = broken_rules(page, "'section'")
    assert [rule["id"] for rule in inside if rule["impact"] in {"serious", "critical"}] == []

    page.click("text=Active, gateway unhealthy")

    page.wait_for_url("**/assignment/?attention=degraded")
    assert page.locator("text=gateway B unhealthy").is_visible()


def _fill_admin(crew: rows.Crew) -> None:
    """Put a row of each kind there, so that each page has something to show."""
    root = rows.person("root@example.com", is_staff=True, is_superuser=True)
    app = rows.app(crew)
    rows.bring(app, "degraded", by=crew.owner)
    rows.node(crew.cluster, 0, containers={app.namespace: 2}, health="unhealthy", detail="nft failed")
    rows.token(crew)
    billing_rows.trouble(app.team, app)
    root.groups.create(name="operators")
    gateways = [
        {"slot": slot, "private_address": "10.110.0.9", "public_address": "203.0.113.9", "state": "active"}
        for slot in (0, 1)
    ]
    route = {"pair": 1, "state": "active", "gateways": gateways}
    RouteChange.objects.create(cluster=crew.cluster, namespace=app.namespace, revision=7, route=route)
    StrayServer.objects.create(server_id="4711", name="sluicegate-gw", tags=[], created_at="2026-11-23T08:00:00Z")
    installation.here()
    stopped = clock.now()
    ClusterRepair.objects.create(cluster=crew.cluster, stopped_at=stopped, reason="5 of 9 gateways look bad")
    rollout = Rollout.objects.create(cluster=crew.cluster, status=RolloutStatus.PAUSED, created_by=root)
    for gateway, state in zip(Gateway.objects.order_by("slot"), (ItemState.DONE, ItemState.WAITING), strict=False):
        RolloutItem.objects.create(rollout=rollout, gateway=gateway, state=state)


def _admin_paths(model_admin: Any) -> Iterator[str]:
    """Name the list, the form to add where there is one, the first row's page, and what its actions ask."""
    opts = model_admin.opts
    named = f"admin:{opts.app_label}_{opts.model_name}"
    yield reverse(f"{named}_changelist")
    request = RequestFactory().get("/")
    request.user = User.objects.get(email="root@example.com")
    if model_admin.has_add_permission(request):
        yield reverse(f"{named}_add")
    row = model_admin.model.objects.first()
    yield reverse(f"{named}_change", args=[row.pk])
    for action in model_admin.actions_detail:
        yield reverse(f"{named}_{action}", args=[row.pk])


def _page_overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
