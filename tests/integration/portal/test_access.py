"""Everybody meets every page: owner, member, viewer, outsider, anonymous."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from egress.control.models import App, Assignment
from tests.integration.portal import rows

pytestmark = pytest.mark.costly

Clients = Callable[[str], Client]
OK, FOUND, FORBIDDEN, NOT_FOUND = 200, 302, 403, 404

#: {page: (app's state, method, answers to owner, member, viewer, outsider, anonymous)}
PAGES = {
    ("web:apps", "off", "get"): (OK, OK, OK, OK, FOUND),
    ("web:app", "off", "get"): (OK, OK, OK, NOT_FOUND, FOUND),
    ("web:app", "active", "get"): (OK, OK, OK, NOT_FOUND, FOUND),
    ("web:enable", "off", "get"): (OK, OK, FORBIDDEN, NOT_FOUND, FOUND),
    ("web:enable", "off", "post"): (FOUND, FOUND, FORBIDDEN, NOT_FOUND, FOUND),
    ("web:disable", "active", "get"): (OK, OK, FORBIDDEN, NOT_FOUND, FOUND),
    ("web:disable", "active", "post"): (FOUND, FOUND, FORBIDDEN, NOT_FOUND, FOUND),
    ("web:retry", "error", "post"): (FOUND, FOUND, FORBIDDEN, NOT_FOUND, FOUND),
    ("web:outage", "active", "get"): (OK, OK, FORBIDDEN, NOT_FOUND, FOUND),
    ("web:outage", "active", "post"): (FOUND, FOUND, FORBIDDEN, NOT_FOUND, FOUND),
}
#: What the forms want between them.
POSTED = {"name": "shop-api", "on_outage": "shared"}
WHO = ("owner", "member", "viewer", "outsider", "anonymous")


@pytest.mark.parametrize(
    ("page", "state", "method", "who", "answer"),
    [(*key, who, answer) for key, answers in PAGES.items() for who, answer in zip(WHO, answers, strict=True)],
)
def test_page_answers_by_role(
    client_of: Clients, crew: rows.Crew, app: App, page: str, state: str, method: str, who: str, answer: int
) -> None:
    rows.bring(app, state, by=crew.owner)
    before = _wish(app)
    url = reverse(page) if page == "web:apps" else reverse(page, args=[app.pk])

    response = getattr(client_of(who), method)(url, POSTED if method == "post" else {})

    assert response.status_code == answer
    if who == "anonymous":
        assert response.headers["Location"].startswith(reverse("web:login"))
    if answer in {FORBIDDEN, NOT_FOUND} or who == "anonymous":
        assert _wish(app) == before


def test_viewer_is_offered_no_action(client_of: Clients, crew: rows.Crew, app: App) -> None:
    for state in ("off", "active", "error"):
        other = rows.app(crew, f"app-{state}")
        rows.bring(other, state, by=crew.owner, addresses=(f"203.0.113.{len(state)}", f"203.0.114.{len(state)}"))
        text = client_of("viewer").get(reverse("web:app", args=[other.pk])).content.decode()
        for page in ("web:enable", "web:disable", "web:retry", "web:outage"):
            assert reverse(page, args=[other.pk]) not in text
        assert "lets you look, not change" in text


def test_app_of_an_unknown_id_is_not_found(client_of: Clients) -> None:
    response = client_of("owner").get("/apps/00000000-0000-4000-8000-000000000000/")

    assert response.status_code == NOT_FOUND
    assert b"There is nothing here" in response.content


def test_no_page_of_a_person_is_stored(client_of: Clients, app: App) -> None:
    for url in (reverse("web:apps"), reverse("web:app", args=[app.pk]), reverse("web:enable", args=[app.pk])):
        assert "no-store" in client_of("owner").get(url).headers["Cache-Control"]


def test_polling_after_the_session_ended_sends_the_whole_page_to_the_log_in(client_of: Clients, app: App) -> None:
    response = client_of("anonymous").get(reverse("web:app", args=[app.pk]), headers={"HX-Request": "true"})

    assert response.headers["HX-Redirect"] == reverse("web:login")
    assert response.content == b""


def _wish(app: App) -> list[tuple[str, str, str]]:
    return list(Assignment.objects.filter(app=app).values_list("wish", "status", "app__on_outage"))
