"""Errors are pages of the family or JSON of one shape, never raw; policies stand on every answer."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from egress.control.models import App
from tests.integration.portal import rows

Clients = Callable[[str], Client]


def test_form_without_its_token_is_refused_in_words(crew: rows.Crew, app: App) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(crew.owner)

    response = client.post(reverse("web:enable", args=[app.pk]))

    assert response.status_code == 403
    assert b"This form has expired" in response.content
    assert b"app.css" in response.content


def test_forbidden_page_says_whom_to_ask(client_of: Clients, app: App) -> None:
    response = client_of("viewer").get(reverse("web:enable", args=[app.pk]))

    assert response.status_code == 403
    assert b"Ask an owner of the team" in response.content


def test_unforeseen_failure_shows_the_page_and_not_its_inside(
    crew: rows.Crew, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr("portal.web.views.egress_enable", fail)
    client = Client(raise_request_exception=False)
    client.force_login(crew.owner)

    response = client.post(reverse("web:enable", args=[app.pk]))

    assert response.status_code == 500
    assert b"Something broke on our side" in response.content
    assert b"secret inside" not in response.content


def test_malformed_request_gets_the_family_page(client_of: Clients) -> None:
    response = client_of("owner").get("/", headers={"host": "not a host"})

    assert response.status_code == 400
    assert b"made no sense" in response.content


@pytest.mark.parametrize("path", ["/", "/login/", "/nowhere/", "/api/v1/apps/"])
def test_strict_policy_stands_on_every_answer(client_of: Clients, path: str) -> None:
    policy = client_of("owner").get(path).headers["Content-Security-Policy"]

    assert "script-src 'self';" in policy + ";"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_admin_has_a_policy_of_its_own(db: None) -> None:
    client = Client()
    client.force_login(rows.person("root@example.com", is_staff=True, is_superuser=True))

    policy = client.get("/admin/").headers["Content-Security-Policy"]

    assert "script-src 'self' 'unsafe-eval' 'unsafe-inline'" in policy
    assert "frame-ancestors 'none'" in policy


def test_pages_hold_no_inline_script_or_style(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    for url in ("/", reverse("web:app", args=[app.pk]), reverse("web:disable", args=[app.pk])):
        text = client_of("owner").get(url).content.decode()
        assert " style=" not in text
        assert "<style" not in text
        assert " onclick=" not in text
        assert "https://" not in text
