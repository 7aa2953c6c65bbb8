"""A guard that refuses, as people meet it: before they enable, and when they do."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from egress.control.models import App, Assignment
from tests.integration.portal import billing_rows as made
from tests.integration.portal import rows

pytestmark = pytest.mark.costly
Clients = Callable[[str], Client]
REFUSALS = [
    ({"payment_method": ""}, "no payment method yet", "/teams/northwind/billing/payment/"),
    ({"quota": 0}, "may have 0", "/teams/northwind/billing/"),
    ({"spend_limit_cents": 1}, "The spend limit of Northwind is $0.01", "/teams/northwind/billing/limits/"),
]


@pytest.fixture(autouse=True)
def _stripe(settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_guards"


@pytest.mark.parametrize(("fields", "words", "way"), REFUSALS)
@pytest.mark.parametrize("headers", [{}, {"HX-Request": "true"}])
def test_who_may_not_enable_learns_it_before_the_button(
    client_of: Clients, crew: rows.Crew, app: App, fields: dict[str, object], words: str, way: str, headers: dict
) -> None:
    made.account(crew.team, **fields)
    body = client_of("member").get(reverse("web:enable", args=[app.pk]), headers=headers).content.decode()
    assert "It can't be enabled now." in body
    assert words in body
    assert f'href="{way}"' in body
    assert 'type="submit">Enable' not in body


@pytest.mark.parametrize(("fields", "words", "way"), REFUSALS)
def test_who_enables_all_the_same_is_told_what_to_do(
    client_of: Clients, crew: rows.Crew, app: App, fields: dict[str, object], words: str, way: str
) -> None:
    made.account(crew.team, **fields)
    response = client_of("member").post(reverse("web:enable", args=[app.pk]))
    assert response.status_code == 403
    assert "shop-api was not enabled" in response.content.decode()
    assert words in response.content.decode()
    assert f'href="{way}"' in response.content.decode()
    assert not Assignment.objects.exists()


def test_who_may_enable_sees_the_button(client_of: Clients, crew: rows.Crew, app: App) -> None:
    made.account(crew.team)
    body = client_of("member").get(reverse("web:enable", args=[app.pk])).content.decode()
    assert 'type="submit">Enable' in body
    assert client_of("member").post(reverse("web:enable", args=[app.pk])).status_code == 302
