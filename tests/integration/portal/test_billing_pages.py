"""Billing's pages: who sees what, what they say, that they add up, and that a thousand apps cost no more queries."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from billing.models import BillingAccount, Credit, UsageRecord
from egress.control import clock
from egress.control.models import App, Assignment
from portal.accounts.models import Membership, Role, Team
from tests.integration.billing.statements.rows import go_to
from tests.integration.portal import billing_rows as made
from tests.integration.portal import rows

pytestmark = pytest.mark.costly
Clients = Callable[[str], Client]
OK, FOUND, FORBIDDEN, NOT_FOUND, CONFLICT = 200, 302, 403, 404, 409
WHO = ("owner", "member", "viewer", "outsider", "anonymous")
PAGES = ("overview", "statements", "payment", "details", "limits", "exports")
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
#: Two fewer than what is asked for: with a ledger of traffic there are two more.
MOST_QUERIES = 13


@pytest.fixture(autouse=True)
def _june(settings: Settings, db: None) -> None:
    go_to(settings, JUNE + 20 * DAY + timedelta(hours=1, seconds=30))


@pytest.fixture
def used(app: App) -> Assignment:
    """Ten days in use, of which both gateways were down for two hours."""
    assignment = made.assignment(app)
    made.used(assignment, JUNE + 10 * DAY, 240, outages=(30, 31))
    made.event(assignment, JUNE + 10 * DAY, "assignment.status", "distributing")
    return assignment


def url(page: str, *args: object) -> str:
    return reverse(f"web:billing-{page}", args=["northwind", *args])


def text(client: Client, path: str) -> str:
    """Return a page's words, blanks folded."""
    response = client.get(path)
    assert response.status_code == OK
    body = response.content.decode()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body[body.index("<main") : body.index("</main>")]))


# --- who may -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_everybody_in_the_team_reads_and_nobody_else(client_of: Clients, used: Assignment, page: str) -> None:
    answers = [client_of(who).get(url(page)).status_code for who in WHO]
    assert answers == [OK, OK, OK, NOT_FOUND, FOUND]


@pytest.mark.parametrize(
    ("page", "posted"),
    [
        ("limits", {"budget": "50"}),
        ("details", {"name": "Northwind Ltd"}),
        ("payment", {"to": "setup"}),
    ],
)
def test_only_owners_change(client_of: Clients, crew: rows.Crew, page: str, posted: dict[str, str]) -> None:
    for who, answer in zip(WHO, (None, FORBIDDEN, FORBIDDEN, NOT_FOUND, FOUND), strict=True):
        if answer is None:
            continue
        response = client_of(who).post(url(page), posted)
        assert response.status_code == answer
        assert not BillingAccount.objects.exists()
        if answer == FORBIDDEN:
            assert "Only owners of a team change how it pays" in response.content.decode()
        assert '<button class="button primary" type="submit">Save' not in client_of(who).get(url(page)).content.decode()


def test_what_belongs_to_another_team_is_not_found(client_of: Clients, crew: rows.Crew, used: Assignment) -> None:
    other = Team.objects.get(slug="elsewhere")
    theirs = rows.app(crew, "secret", team=other)
    statement = made.statement(other, date(2026, 5, 1), [])
    for path in (url("usage", theirs.pk), url("statement", statement.pk)):
        assert client_of("owner").get(path).status_code == NOT_FOUND
    assert client_of("outsider").get(url("usage", used.app_id)).status_code == NOT_FOUND


def test_the_way_leads_to_the_only_team_and_lets_choose_among_several(client_of: Clients, crew: rows.Crew) -> None:
    assert client_of("owner").get("/billing/").headers["Location"] == url("overview")
    Membership.objects.create(user=crew.owner, team=Team.objects.get(slug="elsewhere"), role=Role.VIEWER)
    words = text(client_of("owner"), "/billing/")
    assert "Northwind" in words
    assert "Elsewhere" in words
    Membership.objects.filter(user=crew.viewer).delete()
    assert "No team yet" in text(client_of("viewer"), "/billing/")


# --- overview ------------------------------------------------------------------------------------------------------


def test_overview_says_what_it_came_to_and_where_it_leads(client_of: Clients, used: Assignment) -> None:
    words = text(client_of("viewer"), url("overview"))
    # 238 hours of two gateways; then to the month's end, ten days more; the cap is lowered by two hours of 720.
    assert "June 2026 so far" in words
    assert "$8.86" in words
    assert "Forecast for the month $17.78" in words
    assert "At most, by the caps $24.94" in words
    assert "In use now 1 app" in words
    assert "Hours until 2026-06-21 00:00:00 UTC are counted" in words
    assert "shop-api in use 238 h 2 h $8.86 $24.94" in words


def test_the_table_of_days_adds_up_to_what_the_month_came_to(
    client_of: Clients, crew: rows.Crew, used: Assignment
) -> None:
    Credit.objects.create(team=crew.team, cents=123, reason="sorry", granted_at=JUNE)
    body = client_of("owner").get(url("overview")).content.decode()
    table = body[body.index("<details") : body.index("</details>")]
    cells = re.findall(r'<td class="number">(.*?)</td>', table)
    cents = [int(cell.replace("$", "").replace(".", "").replace("\N{MINUS SIGN}", "-")) for cell in cells]
    assert "Credit" in table
    assert sum(cents[:-1]) == cents[-1] == 886 - 123


def test_the_chart_has_a_bar_for_each_day_in_use_and_says_it_in_words(client_of: Clients, used: Assignment) -> None:
    body = client_of("owner").get(url("overview")).content.decode()
    assert body.count('class="bar"') == 2 * 10
    assert 'aria-label="Cost by day: $8.86 on 10 days' in body
    assert "<title>12 June: $" in body


def test_an_app_at_its_cap_is_told_so(client_of: Clients, app: App, settings: Settings) -> None:
    go_to(settings, JUNE + 29 * DAY)
    made.used(made.assignment(app), JUNE, 690)
    words = text(client_of("owner"), url("overview"))
    assert "cap reached: the rest of the month costs nothing more 690 h none $25.00 $25.00" in words
    assert "Forecast for the month $25.00" in words


def test_an_app_being_set_up_is_listed_and_not_charged(client_of: Clients, app: App) -> None:
    made.assignment(app, "provisioning")
    words = text(client_of("owner"), url("overview"))
    assert "shop-api not in use yet, so not charged 0 h none $0.00 $0.00" in words
    assert "In use now 0 apps" in words


def test_without_any_usage_the_page_says_so(client_of: Clients, crew: rows.Crew) -> None:
    words = text(client_of("owner"), url("overview"))
    assert "No app of this team has used dedicated egress this month" in words
    assert "No hour is counted yet" in words


def test_a_month_without_a_price_is_an_answer_not_a_failure(
    client_of: Clients, crew: rows.Crew, used: Assignment
) -> None:
    made.account(crew.team, currency="EUR")
    response = client_of("owner").get(url("overview"))
    assert response.status_code == CONFLICT
    assert b"there is no price in its team&#x27;s currency" in response.content


def test_a_thousand_apps_cost_no_more_queries(client_of: Clients, crew: rows.Crew, settings: Settings) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_pages"
    apps = App.objects.bulk_create(
        App(team=crew.team, cluster=crew.cluster, name=f"app-{n}", namespace=f"app-{n}") for n in range(1000)
    )
    assignments = Assignment.objects.bulk_create(
        Assignment(app=app, cluster=crew.cluster, pair=n, status="active") for n, app in enumerate(apps)
    )
    UsageRecord.objects.bulk_create(
        UsageRecord(assignment=assignment, slot=slot, hour=JUNE + DAY * day, seconds=3600)
        for assignment in assignments
        for day in (3, 4)
        for slot in (0, 1)
    )
    made.account(crew.team, budget_cents=1, spend_limit_cents=1)
    made.invoice(made.statement(crew.team, date(2026, 5, 1), []), "open", failed_at=clock.now(), due_cents=5)
    client = client_of("owner")
    # The first page of all makes the installation's row.
    client.get(url("limits"))
    with CaptureQueriesContext(connection) as captured:
        body = client.get(url("overview")).content.decode()
    assert "Page 1 of 20" in body
    assert body.count("/billing/apps/") == 50
    assert len(captured) <= MOST_QUERIES, "\n".join(query["sql"][:400] for query in captured)
    # Each hour of a slot is rounded alone: 2 hours are 4 cents a slot.
    assert "$80.00" in body
    with CaptureQueriesContext(connection) as captured:
        assert "Page 20 of 20" in client.get(url("overview") + "?page=20").content.decode()
    assert len(captured) <= MOST_QUERIES


# --- failed payments -----------------------------------------------------------------------------------------------


def test_a_failed_payment_is_on_top_of_every_page(
    client_of: Clients, crew: rows.Crew, used: Assignment, settings: Settings
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_pages"
    statement = made.statement(crew.team, date(2026, 5, 1), [made.usage_line(used, 0, date(2026, 5, 1))])
    again = JUNE + 24 * DAY
    invoice = made.invoice(statement, "open", due_cents=1250, failed_at=clock.now(), next_try_at=again)
    for page in PAGES:
        body = client_of("owner").get(url(page)).content.decode()
        assert "The payment of $12.50 for May 2026 failed." in body
        assert "tried again on 25 June 2026" in body
        assert invoice.hosted_url in body
    assert "Ask an owner of the team to see to it" in text(client_of("viewer"), url("overview"))
    invoice.status, invoice.failed_at = "paid", None
    invoice.save()
    assert "failed" not in text(client_of("owner"), url("overview"))


# --- usage ---------------------------------------------------------------------------------------------------------


def test_usage_traces_to_days_hours_and_events(client_of: Clients, used: Assignment) -> None:
    UsageRecord.objects.create(
        assignment=used, slot=0, hour=JUNE + 11 * DAY, sequence=1, seconds=-90, reason="an event came late"
    )
    UsageRecord.objects.create(
        assignment=used, slot=1, hour=JUNE + 11 * DAY, sequence=1, seconds=-90, reason="an event came late"
    )
    made.event(used, JUNE + 20 * DAY, "egress.disable")
    words = text(client_of("viewer"), url("usage", used.app_id) + "?day=2026-06-12")
    assert "shop-api, June 2026" in words
    assert "In use 237 h 58 min 30 s" in words
    assert "lowered by the outage 670 h 8 min" in words
    assert "Both gateways were down for 2 h" in words
    assert "Price of a gateway's hour $0.01860119" in words
    assert "12 June 2026 : its hours 21 h 58 min 30 s 2 h" in words
    assert "12 June 2026, hour by hour" in words
    assert re.search(r"00:00 correction, \S+ \S+ ?: an event came late -90 s -90 s 0 s", words)
    assert "06:00 0 s 0 s 3600 s" in words
    assert "Billed from here 2026-06-11 00:00:00 UTC" in words
    assert "Billed until here 2026-06-21 00:00:00 UTC" in words


def test_usage_of_a_finished_month_is_its_statements(client_of: Clients, crew: rows.Crew, used: Assignment) -> None:
    may = date(2026, 5, 1)
    lines = [made.usage_line(used, slot, may, cents=1111, hours=700) for slot in (0, 1)]
    statement = made.statement(crew.team, may, lines)
    words = text(client_of("owner"), url("usage", used.app_id) + "?month=2026-05")
    assert "shop-api, May 2026" in words
    assert "$22.22" in words
    assert "statement of May 2026" in words
    assert "In use 700 h" in words
    assert "Charged 672 h" in words
    body = client_of("owner").get(url("statement", statement.pk)).content.decode()
    assert f"{url('usage', used.app_id)}?month=2026-05" in body


def test_what_was_on_when_the_month_began_is_told(client_of: Clients, used: Assignment, settings: Settings) -> None:
    go_to(settings, JUNE + 40 * DAY)
    words = text(client_of("owner"), url("usage", used.app_id))
    assert "In use since before the month began; nothing changed in it." in words
    assert "June 2026" in words


@pytest.mark.parametrize("query", ["?month=2026-13", "?month=nonsense", "?month=2099-01", "?day=2026-05-31", "?day=x"])
def test_a_month_or_day_that_makes_no_sense_shows_the_present_month(
    client_of: Clients, used: Assignment, query: str
) -> None:
    words = text(client_of("owner"), url("usage", used.app_id) + query)
    assert "shop-api, June 2026" in words
    assert "hour by hour" not in words


# --- statements ----------------------------------------------------------------------------------------------------


def test_statements_are_listed_with_their_invoices(
    client_of: Clients, crew: rows.Crew, used: Assignment, settings: Settings
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_pages"
    months = [date(2026, number, 1) for number in (3, 4, 5)]
    statements = [made.statement(crew.team, month, [made.usage_line(used, 0, month)]) for month in months]
    paid = made.invoice(statements[0], "paid", paid_cents=1250)
    made.invoice(statements[1], "open", due_cents=1250)
    words = text(client_of("viewer"), url("statements"))
    assert re.search(r"May 2026 .*\$12.50 none .*April 2026 .*To be paid .*March 2026 .*Paid", words)
    body = client_of("viewer").get(url("statement", statements[0].pk)).content.decode()
    assert paid.hosted_url in body
    assert paid.pdf_url in body
    assert "Total, before taxes" in body


def test_lines_of_a_statement_come_by_pages(client_of: Clients, crew: rows.Crew, used: Assignment) -> None:
    may = date(2026, 5, 1)
    statement = made.statement(crew.team, may, [made.usage_line(used, n % 2, may, cents=1) for n in range(230)])
    assert "Page 1 of 3" in text(client_of("owner"), url("statement", statement.pk))
    last = text(client_of("owner"), url("statement", statement.pk) + "?page=3")
    assert "Total, before taxes $2.30" in last


# --- forms ---------------------------------------------------------------------------------------------------------


def test_owner_sets_budget_and_limit_and_takes_them_back(client_of: Clients, crew: rows.Crew) -> None:
    client = client_of("owner")
    assert client.post(url("limits"), {"budget": "49.99", "spend_limit": "100"}).status_code == FOUND
    account = BillingAccount.objects.get(team=crew.team)
    assert (account.budget_cents, account.spend_limit_cents) == (4999, 10000)
    assert 'value="49.99"' in client.get(url("limits")).content.decode()
    client.post(url("limits"), {"budget": "", "spend_limit": ""})
    account.refresh_from_db()
    assert (account.budget_cents, account.spend_limit_cents) == (None, None)


@pytest.mark.parametrize("amount", ["-1", "0", "1.005", "many", "1e9", "NaN", "99999999999"])
def test_an_amount_that_makes_no_sense_changes_nothing(client_of: Clients, crew: rows.Crew, amount: str) -> None:
    response = client_of("owner").post(url("limits"), {"budget": amount, "spend_limit": "100"})
    assert response.status_code == OK
    assert b'aria-invalid="true"' in response.content
    assert not BillingAccount.objects.exists()


DETAILS = {
    "name": "Northwind Ltd",
    "email": "bills@northwind.example",
    "line1": "Kaistraat 1",
    "city": "Gent",
    "country": "BE",
    "tax_kind": "eu_vat",
    "tax_value": "BE0123456789",
    "po_number": "PO-7",
}


def test_owner_gives_billing_details(client_of: Clients, crew: rows.Crew) -> None:
    client = client_of("owner")
    assert client.post(url("details"), DETAILS).status_code == FOUND
    account = BillingAccount.objects.get(team=crew.team)
    assert (account.name, account.email, account.po_number) == (
        "Northwind Ltd",
        "bills@northwind.example",
        "PO-7",
    )
    assert account.address == {"line1": "Kaistraat 1", "city": "Gent", "country": "BE"}
    assert account.tax_ids == [{"type": "eu_vat", "value": "BE0123456789"}]
    body = client.get(url("details")).content.decode()
    assert '<option value="BE" selected>Belgium</option>' in body
    assert '<option value="eu_vat" selected>' in body


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"email": "nonsense"}, "email"),
        ({"country": "XX"}, "country"),
        ({"country": ""}, "country"),
        ({"line1": ""}, "line1"),
        ({"tax_value": ""}, "tax_value"),
        ({"tax_kind": ""}, "tax_value"),
        ({"tax_kind": "nonsense"}, "tax_kind"),
        ({"name": "x" * 201}, "name"),
    ],
)
def test_details_that_are_half_or_wrong_change_nothing(
    client_of: Clients, crew: rows.Crew, changed: dict[str, str], field: str
) -> None:
    response = client_of("owner").post(url("details"), {**DETAILS, **changed})
    assert response.status_code == OK
    assert f'id="{field}-error"' in response.content.decode()
    assert not BillingAccount.objects.exists()


def test_one_tax_id_more_than_the_form_has_stays(client_of: Clients, crew: rows.Crew) -> None:
    second = {"type": "ch_vat", "value": "CHE-123.456.789 MWST"}
    made.account(crew.team, tax_ids=[{"type": "eu_vat", "value": "BE0000000000"}, second])
    client_of("owner").post(url("details"), DETAILS)
    assert BillingAccount.objects.get().tax_ids == [{"type": "eu_vat", "value": "BE0123456789"}, second]


def test_without_stripe_pages_say_that_no_payments_are_taken(client_of: Clients, crew: rows.Crew) -> None:
    words = text(client_of("owner"), url("payment"))
    assert "isn't connected to Stripe" in words or "isn&#x27;t connected to Stripe" in words
    response = client_of("owner").post(url("payment"), {"to": "setup"})
    assert response.status_code == CONFLICT
    assert b"STRIPE_SECRET_KEY is empty" in response.content


def test_months_to_export_are_those_since_the_first_usage(client_of: Clients, used: Assignment) -> None:
    made.used(used, JUNE - 40 * DAY, 1)
    response = client_of("owner").get(url("exports"))
    assert [f"{month:%Y-%m}" for month in response.context["months"]] == ["2026-06", "2026-05", "2026-04"]
