"""Billing's notices among the others: who reads them, in which order, and at what cost."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import Notice
from billing.notices import notify
from egress.control import clock
from egress.control.models import App, Assignment
from egress.control.models_told import Notification
from egress.control.told import notices
from portal.web.news import PER_PAGE
from tests.integration.portal import rows

pytestmark = [pytest.mark.costly]
Clients = Callable[[str], Client]
URL = "/notifications/"
KINDS = ("payment_failed", "disable_warning", "disabled", "paid", "budget")


def tell(crew: rows.Crew, kind: str, *, minutes_ago: int = 0, key: str = "") -> Notice:
    notice = notify(crew.team, kind=kind, key=key or kind, subject=f"Northwind: about {kind} {key}", amount="12.50 USD")
    Notice.objects.filter(pk=notice.pk).update(created_at=clock.now() - timedelta(minutes=minutes_ago))
    return notice


def tell_of_app(app: App, key: str, *, minutes_ago: int = 0) -> Notification:
    kind = Notification.Kind.ADDRESS_REPLACED
    told = notices.notify(Assignment.objects.get(app=app), kind, key, old=rows.ADDRESSES[0], new="203.0.113.99")
    Notification.objects.filter(pk=told.pk).update(created_at=clock.now() - timedelta(minutes=minutes_ago))
    return told


@pytest.mark.parametrize(("who", "reads"), [("owner", True), ("member", True), ("viewer", False), ("outsider", False)])
def test_owners_and_members_read_what_they_may_get_by_mail(
    client_of: Clients, crew: rows.Crew, who: str, *, reads: bool
) -> None:
    for kind in KINDS:
        tell(crew, kind)
    body = client_of(who).get(URL).content.decode()
    assert [f"Northwind: about {kind}" in body for kind in KINDS] == [reads] * len(KINDS)
    assert (reverse("web:billing-overview", args=["northwind"]) in body) == reads


def test_money_and_apps_come_in_one_order_newest_first(client_of: Clients, crew: rows.Crew, app: App) -> None:
    rows.bring(app, "active", by=crew.owner)
    tell(crew, "payment_failed", minutes_ago=3)
    app_news = tell_of_app(app, "address:1", minutes_ago=2)
    tell(crew, "paid", minutes_ago=1)
    body = client_of("owner").get(URL).content.decode()
    places = [body.index(words) for words in ("about paid", app_news.subject, "about payment_failed")]
    assert places == sorted(places)


def test_a_page_is_bounded_and_costs_the_same_however_much_there_is(
    client_of: Clients, crew: rows.Crew, app: App
) -> None:
    rows.bring(app, "active", by=crew.owner)
    client = client_of("owner")

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            client.get(URL)
        return len(queries)

    tell(crew, "paid", key="first")
    tell_of_app(app, "address:first")
    asked()
    few = asked()
    for number in range(PER_PAGE):
        tell(crew, "paid", key=str(number), minutes_ago=number)
        tell_of_app(app, f"address:{number}", minutes_ago=number)
    assert asked() == few
    pages = [client.get(URL, {"page": number}).context["entries"] for number in (1, 2, 3)]
    assert [len(page) for page in pages] == [PER_PAGE, PER_PAGE, 2]
    times = [told.created_at for page in pages for told in page]
    assert times == sorted(times, reverse=True)
    assert "Page 1 of 3" in client.get(URL).content.decode()
