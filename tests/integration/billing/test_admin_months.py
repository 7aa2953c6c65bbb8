"""The operators' pages of statements, their lines, and the closing of months."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from billing.models import BillingAccount, MonthClose, Statement, StatementProblem, UsageRecord
from billing.statements import metered
from billing.statements.close import close_month
from egress.control.models import Event
from portal.accounts.models import Team
from tests.factories import make_app, make_team
from tests.integration.portal import billing_rows

from .statements.rows import JANUARY, at, book, go_to, make_assignment, make_price, unguard

pytestmark = [pytest.mark.costly, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def _ledger_by_hand(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(metered, "close_hours", lambda _until, _seconds: True)
    go_to(settings, at(3, month=2))


def stated(team: Team | None = None, *, apps: int = 1) -> Statement:
    """Let a team's January be closed, 10 hours of each app."""
    team = team or make_team()
    for _ in range(apps):
        assignment = make_assignment(app=make_app(team))
        book(assignment, JANUARY, 10)
        billing_rows.event(assignment, JANUARY, "assignment.status", "distributing")
    close_month(JANUARY.date())
    return Statement.objects.get(team=team)


def shown(client: Client, name: str, *args: Any, **query: Any) -> str:
    answer = client.get(reverse(f"admin:billing_{name}", args=args), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_statement_leads_by_its_lines_to_the_ledgers_rows_and_the_events(admin_client: Client) -> None:
    make_price("0.10")
    statement = stated()
    line = statement.lines.get(slot=1)
    page = shown(admin_client, "statement_change", statement.pk)
    assert "$2.00" in page
    assert reverse("admin:billing_statementline_change", args=[line.pk]) in page

    traced = shown(admin_client, "statementline_change", line.pk)
    assert "agree: 36000 seconds" in traced
    assert all(f"2026-01-01 {hour:02d}:00" in traced for hour in range(10))
    assert reverse("admin:control_event_change", args=[Event.objects.get(subject="assignment.status").pk]) in traced


def test_a_line_that_the_ledger_does_not_bear_out_says_so(admin_client: Client) -> None:
    make_price("0.10")
    statement = stated()
    line = statement.lines.get(slot=0)
    late = UsageRecord.objects.create(assignment=line.assignment, slot=0, hour=JANUARY, sequence=1, seconds=-60)
    unguard("billing_statement")
    with connection.cursor() as cursor:
        # As if it had been there: a row below the statement's mark.
        cursor.execute("UPDATE billing_statement SET ledger_up_to = %s", [late.pk])
    assert "don't agree: 35940 and 36000 seconds" in shown(admin_client, "statementline_change", line.pk)


def test_a_line_is_found_by_the_id_that_the_invoice_shows(admin_client: Client) -> None:
    make_price("0.10")
    statement = stated(apps=2)
    line: Any = statement.lines.first()
    answer = admin_client.get(reverse("admin:billing_statementline_changelist"), {"q": str(line.pk)})
    assert list(answer.context["cl"].result_list) == [line]


def test_statements_are_found_by_month_and_team(admin_client: Client) -> None:
    make_price("0.10")
    statement, other = stated(), stated()

    def found(**choice: Any) -> set[Statement]:
        answer = admin_client.get(reverse("admin:billing_statement_changelist"), choice)
        return set(answer.context["cl"].result_list)

    assert found(in_month="2026-01") == {statement, other}
    assert found(in_month="2025-12") == set()
    assert found(team__id__exact=other.team_id) == {other}


def test_a_statement_of_many_lines_shows_them_page_by_page(admin_client: Client) -> None:
    make_price("0.10")
    few, many = stated(), stated(apps=27)

    def asked(statement: Statement) -> int:
        with CaptureQueriesContext(connection) as queries:
            shown(admin_client, "statement_change", statement.pk)
        return len(queries)

    asked(few)
    assert asked(few) == asked(many) <= 15
    assert shown(admin_client, "statement_change", many.pk).count("statementline/") <= 51


def test_a_statement_that_can_not_be_made_is_listed_with_why_until_it_is(admin_client: Client) -> None:
    team = make_team()
    BillingAccount.objects.create(team=team, currency="EUR")
    book(make_assignment(app=make_app(team)), JANUARY)
    close_month(JANUARY.date())

    problem = StatementProblem.objects.get()
    listed = shown(admin_client, "statementproblem_changelist", attention="unresolved")
    assert team.name in listed
    assert "price_missing" in listed
    row = admin_client.get(reverse("admin:billing_monthclose_changelist")).context["cl"].result_list[0]
    assert (row.month, row.made, row.kept) == (JANUARY.date(), 0, 1)

    make_price("0.10", currency="EUR")
    close_month(JANUARY.date())
    problem.refresh_from_db()
    assert problem.resolved_at
    assert team.name not in shown(admin_client, "statementproblem_changelist", attention="unresolved")
    assert MonthClose.objects.get().closed_at
