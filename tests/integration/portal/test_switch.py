"""Enable, disable and try again from the pages."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from egress.control.models import App, Assignment, AssignmentStatus, Gateway, Wish
from tests.integration.portal import rows

pytestmark = pytest.mark.costly

Clients = Callable[[str], Client]


def test_confirmation_shows_the_price_before_anything_happens(client_of: Clients, app: App) -> None:
    text = client_of("owner").get(reverse("web:enable", args=[app.pk])).content.decode()

    assert "$25.00" in text
    assert "$0.0372" in text
    assert not Assignment.objects.exists()


def test_double_click_enables_once(client_of: Clients, app: App) -> None:
    client = client_of("owner")

    for _ in range(2):
        response = client.post(reverse("web:enable", args=[app.pk]))
        assert response.headers["Location"] == reverse("web:app", args=[app.pk])

    assert Assignment.objects.count() == 1
    assert Gateway.objects.count() == 2


def test_enabling_what_is_on_leads_back_and_says_so(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)

    response = client_of("owner").get(reverse("web:enable", args=[app.pk]), follow=True)

    assert b"nothing to enable" in response.content


@pytest.mark.parametrize("state", ["draining", "releasing"])
def test_enabling_while_disabling_is_a_conflict_that_says_what_to_do(
    client_of: Clients, crew: rows.Crew, app: App, state: str
) -> None:
    rows.bring(app, state, by=crew.owner)

    response = client_of("owner").post(reverse("web:enable", args=[app.pk]))

    assert response.status_code == 409
    assert b"enable it again once its addresses are released" in response.content
    assert Assignment.objects.get().wish == Wish.DISABLED


def test_disabling_warns_and_names_the_addresses(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)

    text = client_of("owner").get(reverse("web:disable", args=[app.pk])).content.decode()

    assert "will be lost" in text
    for address in rows.ADDRESSES:
        assert address in text
    assert "at most 1 hour" in text


@pytest.mark.parametrize("typed", ["", "shop", "SHOP-API", "blog"])
def test_disabling_wants_the_very_name(client_of: Clients, crew: rows.Crew, app: App, typed: str) -> None:
    rows.bring(app, "active", by=crew.owner)

    response = client_of("owner").post(reverse("web:disable", args=[app.pk]), {"name": typed})

    assert response.status_code == 200
    assert b'aria-invalid="true"' in response.content
    assert Assignment.objects.get().wish == Wish.ENABLED


def test_disabling_twice_is_harmless(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    client = client_of("member")

    for _ in range(2):
        response = client.post(reverse("web:disable", args=[app.pk]), {"name": "shop-api"})
        assert response.headers["Location"] == reverse("web:app", args=[app.pk])

    assert Assignment.objects.get().wish == Wish.DISABLED


@pytest.mark.parametrize(
    ("state", "label"),
    [
        ("provisioning", "Releasing addresses"),
        ("distributing", "Switching off"),
        ("active", "Switching off"),
        ("dark", "Switching off"),
        ("error", "Releasing addresses"),
    ],
)
def test_disabling_shows_before_any_worker_took_it_up(
    client_of: Clients, crew: rows.Crew, app: App, state: str, label: str
) -> None:
    rows.bring(app, state, by=crew.owner)
    client = client_of("owner")

    page = client.post(reverse("web:disable", args=[app.pk]), {"name": "shop-api"}, follow=True).content.decode()

    for text in (page, client.get(reverse("web:apps")).content.decode()):
        assert f">{label}</span>" in text
    assert 'id="disable"' not in page
    assert 'data-copy="' not in page
    assert "Try again" not in page


def test_trying_again_starts_anew(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "error", by=crew.owner)

    client_of("owner").post(reverse("web:retry", args=[app.pk]))

    assert Assignment.objects.get().status == AssignmentStatus.PROVISIONING


def test_trying_again_what_works_is_a_conflict(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)

    response = client_of("owner").post(reverse("web:retry", args=[app.pk]))

    assert response.status_code == 409
    assert b"nothing to retry" in response.content


def test_links_to_actions_change_nothing(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "error", by=crew.owner)

    client_of("owner").get(reverse("web:retry", args=[app.pk]))
    client_of("owner").get(reverse("web:disable", args=[app.pk]))

    assert Assignment.objects.get().status == AssignmentStatus.ERROR


def test_choice_for_an_outage_shows_what_follows_and_is_kept(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    client, url = client_of("member"), reverse("web:outage", args=[app.pk])

    text = " ".join(client.get(url).content.decode().split())
    assert "your firewall would see other addresses" in text
    assert 'value="reject" checked' in text

    assert client.post(url, {"on_outage": "shared"}).headers["Location"] == reverse("web:app", args=[app.pk])
    page = " ".join(client.get(reverse("web:app", args=[app.pk])).content.decode().split())
    assert "<strong>shared addresses</strong>: your firewall would see other addresses" in page
    assert "Set to use shared addresses if both gateways are down by member@northwind.example" in page
    assert 'value="shared" checked' in " ".join(client.get(url).content.decode().split())


@pytest.mark.parametrize("posted", [{}, {"on_outage": ""}, {"on_outage": "open"}])
def test_no_choice_is_told_and_changes_nothing(client_of: Clients, app: App, posted: dict[str, str]) -> None:
    response = client_of("owner").post(reverse("web:outage", args=[app.pk]), posted)

    assert b"Choose one of the two." in response.content
    assert App.objects.get().on_outage == "reject"
