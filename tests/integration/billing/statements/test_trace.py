"""Every line leads back to the ledger's rows and the events."""

from datetime import date, timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from billing.models import Credit, StatementLine, Terms
from billing.statements.close import close_month
from billing.statements.trace import trace
from egress.control.models import Assignment, Event
from tests.factories import make_team
from tests.integration.billing.statements.rows import (
    FEBRUARY,
    JANUARY,
    MARCH,
    at,
    book,
    go_to,
    make_assignment,
    make_price,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def assignment(settings: Settings) -> Assignment:
    """Return one that was used in January, corrected after January was stated, and used in February."""
    make_price("0.10")
    assignment = make_assignment(make_team())
    team = assignment.app.team
    Terms.objects.create(team=team, discount_percent=10, reason="friend", starts_at=JANUARY)
    Credit.objects.create(team=team, cents=1, reason="sorry")
    for when, subject, new in ((at(3), "assignment.status", "distributing"), (at(3, 10), "egress.disable", "")):
        Event.objects.create(at=when, kind=Event.Kind.STATUS, subject=subject, new=new, assignment=assignment)
    book(assignment, at(3), 10)
    go_to(settings, FEBRUARY + timedelta(days=1))
    close_month(date(2026, 1, 1))
    book(assignment, at(3), seconds=-600, sequence=1, reason="told late")
    book(assignment, at(2, month=2), 5)
    go_to(settings, MARCH + timedelta(days=1))
    close_month(date(2026, 2, 1))
    return assignment


def line(kind: str, slot: int | None = None, month: int = 1) -> StatementLine:
    return StatementLine.objects.get(kind=kind, slot=slot, statement__month=date(2026, month, 1))


def printed(row: StatementLine) -> str:
    out = StringIO()
    call_command("billing_trace", str(row.pk), stdout=out)
    return out.getvalue()


def test_a_usage_line_leads_to_its_rows_and_events(assignment: Assignment) -> None:
    found = trace(line("usage", 1))
    assert [(row.hour, row.slot, row.sequence) for row in found.rows] == [(at(3, hour), 1, 0) for hour in range(10)]
    assert sum(row.seconds for row in found.rows) == found.line.quantity == found.booked == found.stated
    assert [event.subject for event in found.events] == ["assignment.status", "egress.disable"]
    assert found.adds_up


def test_a_correction_leads_to_what_was_recorded_since(assignment: Assignment) -> None:
    found = trace(line("correction", 0, month=2))
    assert [(row.hour, row.seconds, row.reason) for row in found.rows] == [(at(3), -600, "told late")]
    assert (found.booked, found.stated, found.adds_up) == (35400, 35400, True)


def test_every_line_of_every_statement_adds_up(assignment: Assignment) -> None:
    kinds = [trace(row).line.kind for row in StatementLine.objects.all() if trace(row).adds_up]
    assert sorted(kinds) == ["correction"] * 2 + ["credit"] + ["discount"] * 2 + ["usage"] * 4


def test_the_command_prints_the_way_back(assignment: Assignment) -> None:
    text = printed(line("usage", 0))
    row = line("usage", 0)
    for words in (str(row.statement_id), str(assignment.pk), assignment.app.name, "2026-01-03 09h #0: 3600 s",
                  "assignment.status", "2026-01-03 10:00:00.000000", "they add up"):  # fmt: skip
        assert words in text
    assert "told late" not in text
    assert "-600 s (told late)" in printed(line("correction", 0, month=2))


def test_an_amount_alone_says_so(assignment: Assignment) -> None:
    assert "an amount alone" in printed(line("discount"))
    assert "an amount alone" in printed(line("credit"))


def test_the_command_fails_where_ledger_and_line_differ(assignment: Assignment) -> None:
    row = line("usage", 0)
    StatementLine.objects.bulk_create([
        StatementLine(statement=row.statement, position=99, kind="usage", assignment=assignment, slot=0, unit="second",
                      quantity=1, begin=row.begin, end=row.end, exact=0, cents=0)
    ])  # fmt: skip
    with pytest.raises(CommandError, match="differ"):
        printed(row)


def test_an_unknown_line_is_named() -> None:
    with pytest.raises(CommandError, match="There is no line"):
        call_command("billing_trace", str(uuid4()))
