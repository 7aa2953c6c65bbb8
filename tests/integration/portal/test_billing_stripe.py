"""How a team pays, from its pages to Stripe's and back: against the stand-in, over HTTP."""

import re
from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from billing.collecting import setup_session
from billing.models import BillingAccount
from tests.integration.billing.collecting.rows import make_payer
from tests.integration.billing.collecting.stripe_side import KEY, StripeSide, running_stripe
from tests.integration.portal import rows

pytestmark = [pytest.mark.costly, pytest.mark.django_db]
Clients = Callable[[str], Client]
CARD, OTHER_CARD = "4242424242424242", "5555555555554444"
DETAILS = {"name": "Northwind Ltd", "tax_kind": "eu_vat", "tax_value": "DE1"}


@pytest.fixture(scope="module")
def stripe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StripeSide]:
    with running_stripe(tmp_path_factory.mktemp("stripe") / "state") as running:
        yield running


@pytest.fixture(autouse=True)
def _set_up(stripe: StripeSide, settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY, settings.STRIPE_API_URL = KEY, stripe.url


def payment() -> str:
    return reverse("web:billing-payment", args=["northwind"])


def leave(client: Client, which: str) -> str:
    """Press a button that leads to Stripe; returns the address there, which the page goes to by itself and links."""
    response = client.post(payment(), {"to": which})
    assert response.status_code == 200
    body = response.content.decode()
    opened = re.search(r'<meta http-equiv="refresh"\s+content="0;url=([^"]+)"', body)
    linked = re.search(r'<a class="button primary"\s+href="([^"]+)"', body)
    assert opened
    assert linked
    assert opened[1] == linked[1]
    return opened[1]


def test_a_card_is_given_on_stripes_page_and_shown_on_ours(
    client_of: Clients, crew: rows.Crew, stripe: StripeSide
) -> None:
    client = client_of("owner")
    assert "None yet" in client.get(payment()).content.decode()
    url = leave(client, "setup")
    assert url.startswith(stripe.url)
    stripe.take_down(url, CARD)
    # Back before the webhook.
    body = client.get(payment() + "?back=stripe", follow=True).content.decode()
    assert "4242" in body
    assert "Visa" in body
    assert BillingAccount.objects.get(team=crew.team).payment_method
    assert leave(client, "portal").startswith(stripe.url)
    assert "4242" in client_of("viewer").get(payment()).content.decode()


def test_who_comes_back_with_another_card_sees_that_one_at_once(client_of: Clients, stripe: StripeSide) -> None:
    client = client_of("owner")
    for number in (CARD, OTHER_CARD):
        url = leave(client, "setup")
        stripe.take_down(url, number)
        session = url.rpartition("/")[2]
        body = client.get(f"{payment()}?back=stripe&session={session}", follow=True).content.decode()
        assert number[-4:] in body


def test_a_page_of_another_teams_changes_nothing(client_of: Clients, crew: rows.Crew, stripe: StripeSide) -> None:
    client = client_of("owner")
    url = leave(client, "setup")
    stripe.take_down(url, CARD)
    client.get(payment() + "?back=stripe")
    other = make_payer(stripe, card=OTHER_CARD)
    foreign = setup_session(other, ("https://portal.example/ok", "https://portal.example/no"))
    stripe.take_down(foreign, OTHER_CARD)
    for session in (foreign.rpartition("/")[2], "cs_test_nowhere", "../customers", "x" * 5_000):
        body = client.get(payment(), {"back": "stripe", "session": session}, follow=True).content.decode()
        assert CARD[-4:] in body
    assert BillingAccount.objects.get(team=crew.team).payment_last4 == CARD[-4:]


def test_what_stripe_refuses_of_the_details_is_said_at_the_form_and_not_kept(
    client_of: Clients, crew: rows.Crew, stripe: StripeSide
) -> None:
    client = client_of("owner")
    leave(client, "setup")
    stripe.fault("refused", "tax_ids.create", code="tax_id_invalid", message="Invalid value for eu_vat.")
    body = client.post(reverse("web:billing-details", args=["northwind"]), DETAILS).content.decode()
    assert "Invalid value for eu_vat." in body
    assert "Nothing was changed: correct it and save again." in body
    assert 'value="DE1"' in body
    assert BillingAccount.objects.get(team=crew.team).tax_ids == []


def test_while_stripe_is_away_the_page_says_so_and_nothing_changes(
    client_of: Clients, crew: rows.Crew, stripe: StripeSide
) -> None:
    client = client_of("owner")
    leave(client, "setup")
    stripe.away()
    try:
        response = client.post(payment(), {"to": "setup"})
        assert response.status_code == 503
        assert "That can't be done right now" in response.content.decode()
        assert client.post(reverse("web:billing-details", args=["northwind"]), DETAILS).status_code == 503
        assert BillingAccount.objects.get(team=crew.team).tax_ids == []
        assert client.get(payment() + "?back=stripe", follow=True).status_code == 200
    finally:
        stripe.away(is_away=False)
