"""Log in with e-mail address and password, and out."""

import pytest
from django.test import Client
from django.urls import reverse

from egress.control.models import App
from tests.integration.portal import rows


def test_log_in_leads_to_where_one_wanted_to_go(crew: rows.Crew, app: App) -> None:
    client = Client()
    wanted = reverse("web:app", args=[app.pk])
    login = client.get(wanted).headers["Location"]

    response = client.post(login, {"username": "Owner@Northwind.example", "password": rows.PASSWORD, "next": wanted})

    assert response.headers["Location"] == wanted
    assert client.get(wanted).status_code == 200


@pytest.mark.parametrize(("email", "password"), [("owner@northwind.example", "wrong"), ("nobody@x.example", "x")])
def test_wrong_words_are_refused_without_telling_which(crew: rows.Crew, email: str, password: str) -> None:
    response = Client().post(reverse("web:login"), {"username": email, "password": password})

    assert response.status_code == 200
    assert b"don&#x27;t match" in response.content
    assert password.encode() + b'"' not in response.content


def test_log_in_leads_nowhere_else(crew: rows.Crew) -> None:
    words = {"username": crew.owner.email, "password": rows.PASSWORD, "next": "https://evil.example/"}

    assert Client().post(reverse("web:login"), words).headers["Location"] == reverse("web:apps")


def test_log_out_ends_the_session(crew: rows.Crew) -> None:
    client = Client()
    client.force_login(crew.owner)

    assert client.post(reverse("web:logout")).headers["Location"] == reverse("web:login")
    assert client.get(reverse("web:apps")).status_code == 302
