"""After a restore everything stands still: customers are told what that means, on every page and by the API."""

from collections.abc import Callable
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from egress.control import installation
from egress.control.models import App, Wish
from egress.control.selectors import current_assignment
from portal.web.page import app_page
from tests.integration.portal import rows

Clients = Callable[[str], Client]
HTMX = {"HX-Request": "true"}
WAITS = installation.CHANGES_WAIT
THIS_TOO = "This app's change waits, too."


@pytest.fixture
def held(crew: rows.Crew) -> None:
    installation.hold(reason="a backup was restored")


def text(client: Client, url: str, **headers: str) -> str:
    return unescape(client.get(url, headers=headers).content.decode())


@pytest.mark.parametrize("name", ["apps", "app", "enable"])
def test_every_page_says_that_changes_wait_while_they_do(client_of: Clients, held: None, app: App, name: str) -> None:
    url = reverse(f"web:{name}", args=[] if name == "apps" else [app.pk])
    client = client_of("owner")
    assert WAITS in text(client, url)
    installation.resume()
    assert WAITS not in text(client, url)


def test_who_is_not_logged_in_is_told_nothing(held: None) -> None:
    assert WAITS not in text(Client(), "/login/")


def test_a_click_is_noted_and_the_page_says_that_it_waits(client_of: Clients, held: None, app: App) -> None:
    client = client_of("owner")
    answer = client.post(reverse("web:enable", args=[app.pk]), follow=True)
    page = unescape(answer.content.decode())
    assert WAITS in page
    assert THIS_TOO in page
    assignment = current_assignment(app)
    assert assignment is not None
    assert (assignment.wish, assignment.due_at is None) == (Wish.ENABLED, False)


def test_an_app_that_nothing_was_asked_of_is_not_said_to_wait(
    client_of: Clients, crew: rows.Crew, held: None, app: App
) -> None:
    rows.bring(app, "active", by=crew.owner)
    page = text(client_of("owner"), reverse("web:app", args=[app.pk]))
    assert "Dedicated egress active" in page
    assert WAITS in page
    assert THIS_TOO not in page


def test_an_open_page_learns_when_it_begins_and_when_it_ends(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    client, url = client_of("owner"), reverse("web:app", args=[app.pk])

    def look_again(seen: str) -> str:
        answer = client.get(f"{url}?seen={seen}", headers=HTMX)
        assert answer.status_code == 200
        return unescape(answer.content.decode())

    before = app_page(app, crew.owner).digest
    installation.hold(reason="a backup was restored")
    fragment = look_again(before)
    assert '<div id="held" hx-swap-oob="true">' in fragment
    assert WAITS in fragment
    during = app_page(app, crew.owner).digest
    installation.resume()
    fragment = look_again(during)
    assert '<div id="held" hx-swap-oob="true">' in fragment
    assert WAITS not in fragment
