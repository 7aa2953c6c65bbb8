"""Billing in the API: the present month and finished ones, of the token's team alone, as the description says."""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import Settings

from egress.control.models import App, Assignment
from portal.accounts.models import Team
from tests.integration.billing.statements.rows import go_to
from tests.integration.portal import billing_rows as made
from tests.integration.portal import rows
from tests.integration.portal.test_api_access import caller

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
MAY = date(2026, 5, 1)
DAY = timedelta(days=1)


@pytest.fixture
def client(crew: rows.Crew, settings: Settings) -> Client:
    go_to(settings, JUNE + 20 * DAY + timedelta(minutes=5))
    return caller(rows.token(crew, can_write=False)[1])


@pytest.fixture
def used(app: App) -> Assignment:
    assignment = made.assignment(app)
    made.used(assignment, JUNE + 10 * DAY, 240, outages=(30, 31))
    return assignment


def test_the_present_month(client: Client, used: Assignment) -> None:
    month = client.get("/api/v1/billing/").json()
    days = month.pop("days")
    assert month == {
        "month": "2026-06-01",
        "currency": "USD",
        "counted_until": "2026-06-21T00:00:00Z",
        "cost_cents": 886,
        "forecast_cents": 1778,
        "cap_cents": 2494,
        "apps": [
            {
                "id": str(used.app_id),
                "name": "shop-api",
                "in_use": True,
                "seconds": 238 * 3600,
                "outage_seconds": 7200,
                "cost_cents": 886,
                "cap_cents": 2494,
                "cap_reached": False,
            }
        ],
    }
    assert len(days) == 30
    assert sum(day["cost_cents"] for day in days) == 886
    assert [day["day"] for day in days if day["cost_cents"]] == [f"2026-06-{n}" for n in range(11, 21)]


def test_a_team_that_used_nothing_gets_zeros(client: Client) -> None:
    month = client.get("/api/v1/billing").json()
    assert (month["cost_cents"], month["apps"], month["counted_until"]) == (0, [], None)


def test_statements_and_their_lines(client: Client, crew: rows.Crew, used: Assignment) -> None:
    older = made.statement(crew.team, date(2026, 4, 1), [])
    lines = [made.usage_line(used, slot, MAY, cents=1111, hours=700) for slot in (0, 1)]
    statement = made.statement(crew.team, MAY, lines)
    invoice = made.invoice(statement, "open")
    listed = client.get("/api/v1/billing/statements/").json()
    assert [row["id"] for row in listed["results"]] == [str(statement.pk), str(older.pk)]
    assert (listed["results"][1]["invoice_status"], listed["results"][1]["invoice_number"]) == (None, "")
    detail = client.get(f"/api/v1/billing/statements/{statement.pk}/").json()
    assert (detail["invoice_status"], detail["invoice_number"]) == ("open", "NW-2605")
    assert detail["invoice_url"] == invoice.hosted_url
    assert detail["total_cents"] == sum(line["amount_cents"] for line in detail["lines"]) == 2222
    first = detail["lines"][0]
    assert (first["kind"], first["app"], first["slot"], first["quantity"]) == ("usage", str(used.app_id), 0, 700 * 3600)


def test_another_teams_billing_is_not_to_be_had(client: Client, crew: rows.Crew, used: Assignment) -> None:
    other = Team.objects.get(slug="elsewhere")
    theirs = made.statement(other, MAY, [])
    assert client.get("/api/v1/billing/statements/").json()["count"] == 0
    for key in (theirs.pk, uuid4(), "nonsense"):
        response = client.get(f"/api/v1/billing/statements/{key}/")
        assert response.status_code == 404
        assert "no such statement" in response.json()["message"]


def test_without_a_token_nothing_is_told(crew: rows.Crew) -> None:
    for path in ("billing/", "billing/statements/", f"billing/statements/{uuid4()}/"):
        assert Client().get(f"/api/v1/{path}").status_code == 401


def test_what_cannot_be_rated_is_said(client: Client, crew: rows.Crew, used: Assignment) -> None:
    made.account(crew.team, currency="EUR")
    response = client.get("/api/v1/billing/")
    assert response.status_code == 409
    assert response.json()["code"] == "price_missing"


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"payment_method": ""}, "payment_method_needed", "adds one under Billing"),
        ({"quota": 0}, "quota_reached", "may have 0"),
        ({"spend_limit_cents": 1}, "spend_limit_reached", "An owner can raise the limit under Billing"),
    ],
)
def test_a_guard_that_refuses_says_why_and_what_to_do(
    crew: rows.Crew, app: App, settings: Settings, fields: dict[str, object], code: str, words: str
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_api"
    made.account(crew.team, **fields)
    client = caller(rows.token(crew)[1])
    path = f"/api/v1/apps/{app.pk}/egress"
    response = client.put(path, {"type": "DEDICATED_IP", "on_outage": "shared"}, content_type="application/json")
    assert response.status_code == 403
    assert response.json()["code"] == code
    assert words in response.json()["message"]
    assert not Assignment.objects.exists()
    app.refresh_from_db()
    assert app.on_outage == "reject", "all of a wish, or nothing"
