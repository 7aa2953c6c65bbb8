"""Statements to be collected, and what tests look at afterwards."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from billing.collecting import account_of, method_refresh, setup_session
from billing.models import BillingAccount, Invoice, Statement, StatementLine
from egress.control import clock
from portal.accounts.models import Role, Team
from tests.factories import make_team, make_user

from .stripe_side import StripeSide

#: Stripe's test cards.
GOOD, OTHER, FAILS_LATER = "4242424242424242", "5555555555554444", "4000000000000341"


def make_payer(stripe_side: StripeSide | None = None, *, card: str = "", **details: Any) -> Team:
    """Make a team with an owner and, given a card, a payment method that was taken down on Stripe's page."""
    team = make_team(make_user(), role=Role.OWNER)
    BillingAccount.objects.filter(pk=account_of(team).pk).update(**details)
    if card:
        assert stripe_side
        stripe_side.take_down(setup_session(team, ("https://portal.example/ok", "https://portal.example/no")), card)
        method_refresh(team)
    return team


def make_statement(team: Team, *cents: int, month: date = date(2026, 10, 1), **fields: Any) -> Statement:
    statement = Statement.objects.create(team=team, month=month, currency="USD", total_cents=sum(cents), **fields)
    begin = datetime(month.year, month.month, 1, tzinfo=UTC)
    StatementLine.objects.bulk_create(
        StatementLine(
            statement=statement,
            position=position,
            kind=StatementLine.Kind.USAGE,
            description=f"app-{position}, gateway A",
            begin=begin,
            end=begin + timedelta(days=31),
            exact=amount,
            cents=amount,
        )
        for position, amount in enumerate(cents)
    )
    return statement


def make_due(**rows: Any) -> None:
    """Let the claims of dead workers, and pauses, run out."""
    Invoice.objects.filter(due_at__isnull=False, **rows).update(due_at=clock.unmoved() - timedelta(seconds=1))


def check_collected(stripe_side: StripeSide, statement: Statement) -> None:
    """Check that Stripe has one invoice of `statement`, with its items only, each once, equal to the cent."""
    customer = account_of(statement.team).stripe_customer
    found = stripe_side.client.v1.customers.search({"query": f"metadata['team']:'{statement.team_id}'"}).data
    assert [each.id for each in found] == [customer]
    (invoice,) = stripe_side.invoices(customer)
    assert invoice.metadata["statement"] == str(statement.pk)
    assert invoice.status in {"open", "paid"}
    assert invoice.total == statement.total_cents
    assert stripe_side.items(invoice.id) == {str(line.pk): line.cents for line in statement.lines.all()}
    row = Invoice.objects.get(statement=statement)
    assert (row.stripe_id, row.status, row.error_code) == (invoice.id, invoice.status, "")
    assert not list(stripe_side.client.v1.invoice_items.list({"customer": customer, "pending": True}).data)
