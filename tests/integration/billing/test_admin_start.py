"""What of billing stands on the operators' start page and in their sidebar."""

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import Invoice, Meter, MonthClose, Movement, StatementProblem, WebhookEvent
from egress.control import clock
from portal.config import navigation
from tests.factories import make_app, make_team, make_user
from tests.integration.portal import billing_rows

pytestmark = [pytest.mark.django_db, pytest.mark.costly]
START = "/admin/"
TITLES = [
    "metering",
    "months being closed",
    "statement problems",
    "refused by Stripe",
    "invoices to be paid",
    "disputes",
    "webhooks in hand",
    "month exports",
]


def sections(client: Client) -> dict[str, Any]:
    return {section.title: section for section in client.get(START).context["sections"]}


def trouble() -> None:
    app = make_app()
    billing_rows.trouble(app.team, app)
    Movement.objects.filter(kind="refund").update(kind="dispute", status="needs_response")
    WebhookEvent.objects.update(attempts=3)


def test_billing_that_is_well_needs_no_look(admin_client: Client) -> None:
    Meter.objects.create(closed_until=clock.now() - timedelta(hours=1))
    MonthClose.objects.create(month="2026-01-01", began_at=clock.now())
    found = sections(admin_client)
    assert list(found)[-len(TITLES) :] == TITLES
    assert [found[title].waiting for title in TITLES] == [0] * len(TITLES)


def test_each_trouble_is_told_with_its_reason_and_leads_to_its_list(admin_client: Client) -> None:
    trouble()
    found = sections(admin_client)
    matters = {title: found[title].rows[0].matter for title in TITLES}
    assert {title: found[title].waiting for title in TITLES} == dict.fromkeys(TITLES, 1)
    assert "aren't closed" in matters["metering"]
    assert matters["months being closed"] == "statements that can't be made: 1"
    assert matters["statement problems"] == "price_missing: There is no price in EUR."
    assert "can't be taxed" in matters["refused by Stripe"]
    assert "unpaid" in matters["invoices to be paid"]
    assert "$5.00" in matters["disputes"]
    assert "tried 3 times" in matters["webhooks in hand"]
    assert matters["month exports"] == "no space left"
    for title in TITLES:
        for figure in found[title].figures:
            assert admin_client.get(figure.url).context["cl"].result_count == figure.count
        assert admin_client.get(found[title].rows[0].url).status_code == 200


def test_what_is_settled_is_taken_off(admin_client: Client) -> None:
    trouble()
    now = clock.now()
    Meter.objects.update(closed_until=now)
    MonthClose.objects.update(closed_at=now)
    StatementProblem.objects.update(resolved_at=now)
    Invoice.objects.update(status="paid", failed_at=None)
    found = sections(admin_client)
    assert [found[title].waiting for title in TITLES] == [0, 0, 0, 1, 0, 1, 1, 1]


def test_the_start_page_asks_as_often_for_many_rows_as_for_few(admin_client: Client) -> None:
    trouble()

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(START)
        return len(queries)

    asked()
    few = asked()
    for number in range(6):
        team = make_team()
        StatementProblem.objects.create(team=team, month="2026-01-01", code="x", message="y")
        bill = billing_rows.statement(team, clock.now().date().replace(day=1), [])
        billing_rows.invoice(bill, "open", failed_at=clock.now(), number=f"N-{number}")
    assert asked() == few


def test_every_page_of_the_admin_stands_in_the_sidebar_once(admin_client: Client) -> None:
    admin_client.get(START)
    registered = {model._meta.label for model in apps.get_models() if admin.site.is_registered(model)}
    named = [label for labels in navigation.GROUPS.values() for label in labels]
    assert sorted(named) == sorted(registered)

    shown = admin_client.get(reverse("admin:billing_margin")).context["sidebar_navigation"]
    items = {item["title"]: item for group in shown for item in group["items"]}
    assert len(items) == len(named) + 3
    assert [title for title, item in items.items() if item["active"]] == ["Margin of apps"]


def test_the_sidebar_has_only_what_somebody_may_see() -> None:
    viewer = make_user(is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_price"))
    client = Client()
    client.force_login(viewer)
    groups = client.get(START).context["sidebar_navigation"]
    assert [item["title"] for group in groups for item in group["items"]] == ["What needs a look", "Prices"]
