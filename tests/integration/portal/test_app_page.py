"""The app's page: what each state shows, and the fragment that it asks for again."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from egress.control import installation
from egress.control.models import App, Gateway, GatewayStatus, Node
from egress.control.selectors import egress_view
from egress.control.transitions import gateway_transition
from portal.web.page import BUSY_SECONDS, CALM_SECONDS, app_page
from tests.integration.portal import rows

pytestmark = pytest.mark.costly

Clients = Callable[[str], Client]
HTMX = {"HX-Request": "true"}
LABELS = {
    "off": "Shared addresses",
    "provisioning": "Setting up",
    "distributing": "Almost there",
    "active": "Dedicated egress active",
    "degraded": "Gateway B down",
    "dark": "Both gateways down",
    "failed": "Gateway A down",
    "lost": "Gateway A down",
    "draining": "Switching off",
    "releasing": "Releasing addresses",
    "error": "Needs attention",
}


@pytest.mark.parametrize("state", LABELS)
def test_state_has_its_word_and_its_pace(client_of: Clients, crew: rows.Crew, app: App, state: str) -> None:
    rows.bring(app, state, by=crew.owner)

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()

    assert LABELS[state] in text
    calm = {"active", "degraded", "dark", "failed", "lost", "error"}
    seconds = 0 if state == "off" else CALM_SECONDS if state in calm else BUSY_SECONDS
    assert (f'hx-trigger="every {seconds}s"' in text) == (seconds > 0)
    assert ('http-equiv="refresh"' in text) == (seconds == BUSY_SECONDS)


def test_page_and_fragment_are_the_same_partial(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "provisioning", by=crew.owner)
    client = client_of("owner")
    url = reverse("web:app", args=[app.pk])

    page = client.get(url)
    fragment = client.get(url, headers=HTMX)

    assert "web/_egress.html" in [template.name for template in page.templates]
    assert fragment.templates[0].name == "web/_egress.html"
    assert b"<html" not in fragment.content
    assert b'hx-swap-oob="innerHTML">Setting up.' in fragment.content


def test_unchanged_page_is_answered_with_nothing(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    url = f"{reverse('web:app', args=[app.pk])}?seen={app_page(app, crew.owner).digest}"
    client = client_of("owner")

    assert client.get(url, headers=HTMX).status_code == 204
    rows.fall_silent(Gateway.objects.get(slot=1))
    changed = client.get(url, headers=HTMX)
    assert changed.status_code == 200
    assert b"Gateway B down" in changed.content


def test_error_says_why_and_what_to_do(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "error", by=crew.owner)

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()

    assert "no room for new gateways" in text
    assert "Try again" in text


@pytest.mark.parametrize(
    ("state", "copies"), [("provisioning", 0), ("distributing", 0), ("active", 2), ("draining", 0)]
)
def test_addresses_are_copied_only_once_they_cannot_change(
    client_of: Clients, crew: rows.Crew, app: App, state: str, copies: int
) -> None:
    rows.bring(app, state, by=crew.owner)

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()

    assert (rows.ADDRESSES[0] in text) == (state != "provisioning")
    assert text.count('data-copy="address-') == copies
    assert ("They may still change" in text) == (state in {"provisioning", "distributing"})


def test_list_shows_no_address_that_may_still_change(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "provisioning", by=crew.owner)

    assert rows.ADDRESSES[0] not in client_of("owner").get(reverse("web:apps")).content.decode()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            "degraded",
            "<strong>Gateway B is down.</strong> New connections leave from 203.0.113.10. The app works, without",
        ),
        (
            "dark",
            "<strong>Neither gateway can be used.</strong> New connections are blocked, not sent from shared",
        ),
    ],
)
def test_dead_gateway_is_told_with_what_comes_of_it(
    client_of: Clients, crew: rows.Crew, app: App, state: str, words: str
) -> None:
    rows.bring(app, state, by=crew.owner)

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()

    assert words in text
    assert " Both addresses stay yours." in text


def test_an_address_that_is_lost_is_not_told_as_the_apps_own(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "lost", by=crew.owner)

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()

    assert f"{rows.ADDRESSES[0]} is lost with its server and may become a stranger&#x27;s" in text
    assert "stay yours" not in text
    assert "They may still change" not in text
    assert "ufw allow" not in text
    assert [ip.status for ip in egress_view(app).ips] == ["REMOVED", "ASSIGNED"]


@pytest.mark.parametrize("away", [GatewayStatus.DRAINING, GatewayStatus.MAINTENANCE, GatewayStatus.BOOTING])
def test_with_one_gateway_under_maintenance_and_the_other_dead_nothing_gets_out(
    client_of: Clients, crew: rows.Crew, app: App, away: GatewayStatus
) -> None:
    rows.bring(app, "degraded", by=crew.owner)
    Gateway.objects.filter(slot=0).update(provisioning_status=away)
    node = rows.node(crew.cluster, 7, containers={app.namespace: 1})

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()

    assert "Both gateways down" in text
    assert f"1 container on node {node.name} reach the internet through no gateway" in text


@pytest.mark.parametrize("state", ["off", "active"])
def test_failover_is_promised_as_it_was_measured(client_of: Clients, crew: rows.Crew, app: App, state: str) -> None:
    rows.bring(app, state, by=crew.owner)

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode().lower()

    assert "new connections move to" in text
    assert "in about a second" in text
    assert "within a second" not in text


def test_snippets_hold_both_addresses_only_once_they_are_assigned(
    client_of: Clients, crew: rows.Crew, app: App
) -> None:
    rows.bring(app, "provisioning", by=crew.owner)
    url = reverse("web:app", args=[app.pk])
    assert b"pg_hba.conf" not in client_of("owner").get(url).content

    other = rows.app(crew, "blog")
    rows.bring(other, "active", by=crew.owner, addresses=("203.0.113.1", "203.0.113.2"))
    text = client_of("owner").get(reverse("web:app", args=[other.pk])).content.decode()
    for line in ("203.0.113.1/32", "203.0.113.2/32", "ufw allow from 203.0.113.1", "address:203.0.113.2"):
        assert line in text


def test_page_costs_a_bounded_number_of_queries(
    client_of: Clients, crew: rows.Crew, app: App, django_assert_max_num_queries: Callable[..., object]
) -> None:
    rows.bring(app, "active", by=crew.owner)
    installation.here()
    client = client_of("owner")

    with django_assert_max_num_queries(13):  # type: ignore[attr-defined]
        client.get(reverse("web:app", args=[app.pk]))


def test_list_costs_the_same_for_many_apps(
    client_of: Clients, crew: rows.Crew, app: App, django_assert_max_num_queries: Callable[..., object]
) -> None:
    for number in range(12):
        other = rows.app(crew, f"app-{number}")
        rows.bring(other, "active", by=crew.owner, addresses=(f"203.0.113.{number}", f"203.0.114.{number}"))
    installation.here()
    client = client_of("owner")

    with django_assert_max_num_queries(10):  # type: ignore[attr-defined]
        response = client.get(reverse("web:apps"))
    assert response.content.count(b"Dedicated egress active") == 12
    assert b"203.0.114.11" in response.content


def test_list_is_cut_into_pages(client_of: Clients, crew: rows.Crew) -> None:
    for number in range(51):
        rows.app(crew, f"app-{number:02}")
    client = client_of("owner")

    first = client.get(reverse("web:apps")).content
    assert b"app-49" in first
    assert b"app-50" not in first
    assert b"app-50" in client.get(reverse("web:apps"), {"page": 2}).content
    assert b"app-00" in client.get(reverse("web:apps"), {"page": "many"}).content


def test_somebody_without_apps_is_told_where_they_come_from(client_of: Clients, crew: rows.Crew) -> None:
    assert b"No apps yet" in client_of("outsider").get(reverse("web:apps")).content


def test_chosen_shared_addresses_are_drawn_and_told_while_both_are_down(
    client_of: Clients, crew: rows.Crew, app: App
) -> None:
    App.objects.update(on_outage="shared")
    rows.bring(app, "dark", by=crew.owner)

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()

    assert "Both gateways down" in text
    assert "New connections leave from shared addresses, as you chose: your firewall sees other addresses." in text
    assert "reach the internet through shared addresses" in text
    assert "no gateway" not in text


def test_planned_maintenance_is_told_without_alarm(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    gateway_transition(gateway=Gateway.objects.get(slot=0), to=GatewayStatus.DRAINING)

    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()

    assert '<span class="state busy">Gateway A in maintenance</span>' in text
    assert "Gateway A is being updated, as planned. New connections leave from 203.0.113.20." in text
    assert "notice warn" not in text
    assert "notice bad" not in text


def test_nodes_that_reach_no_gateway_are_believed_over_the_gateways_own_word(
    client_of: Clients, crew: rows.Crew, app: App
) -> None:
    rows.bring(app, "active", by=crew.owner)
    bad = {str(gateway.pk): "unhealthy" for gateway in Gateway.objects.all()}
    first, second = Node.objects.order_by("ordinal")
    Node.objects.filter(pk=first.pk).update(gateways=bad)
    text = client_of("owner").get(reverse("web:app", args=[app.pk])).content.decode()
    assert "Of 2 nodes with containers of the app 1 reaches neither gateway." in text

    Node.objects.filter(pk=second.pk).update(gateways=bad)
    for url in (reverse("web:app", args=[app.pk]), reverse("web:apps")):
        assert "Both gateways down" in client_of("owner").get(url).content.decode()
