"""Random stories: usage, corrections, outages and price changes come in any order between the closes of months.

In the end all statements together say of each month what is due for it, and of each slot the ledger's seconds.
"""

import random
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models import Sum
from pytest_django import Settings

from billing.models import Credit, Statement, StatementLine, Terms, UsageRecord
from billing.rating import months
from billing.statements.close import close_months
from billing.statements.reading import read
from billing.statements.trace import trace
from egress.control.models import SLOTS, Assignment
from portal.accounts.models import Team
from tests.factories import make_team
from tests.integration.billing.statements.rows import HOUR, JANUARY, at, book, go_to, make_assignment, make_price

pytestmark = pytest.mark.django_db
MONTHS = 4


def set_prices(dice: random.Random, team: Team) -> None:
    turns = sorted(JANUARY + timedelta(seconds=dice.randrange(100 * 86_400)) for _ in range(3))
    for since, until in zip([JANUARY, *turns], [*turns, None], strict=True):
        amount = f"0.{dice.randrange(10**8):08}"
        make_price(amount, since, ends_at=until, cap_hours=dice.choice([20, 40, 744]))
    for n, since in enumerate(turns[:2]):
        Terms.objects.create(
            team=team, starts_at=since, ends_at=turns[n + 1] if n == 0 else None, reason="dice",
            discount_percent=Decimal(dice.randrange(10_001)) / 100, free_slot_hours=dice.randrange(30),
        )  # fmt: skip
    Credit.objects.create(team=team, cents=dice.randrange(1, 2_000), reason="dice", granted_at=JANUARY)


def go_on(dice: random.Random, assignments: list[Assignment], month: int) -> None:
    """Use some hours of a month, and learn something new about earlier ones."""
    for assignment in assignments:
        if dice.random() < 0.8:
            begin = at(1, month=month) + dice.randrange(20 * 24) * HOUR
            book(assignment, begin, dice.randrange(1, 60), seconds=dice.choice([3600, 3600, 1234]))
    known = list(UsageRecord.objects.filter(slot=0, sequence=0, hour__lt=at(1, month=month)))
    for row in dice.sample(known, min(len(known), dice.randrange(6))):
        earlier = UsageRecord.objects.filter(assignment=row.assignment, hour=row.hour, slot=0)
        left = earlier.aggregate(sum=Sum("seconds"))["sum"]
        lost = dice.randrange(left + 1)
        book(row.assignment, row.hour, seconds=-lost, outage_seconds=dice.choice([0, lost]), sequence=earlier.count())


@pytest.mark.parametrize("number", range(3))
def test_all_statements_together_say_what_is_due(settings: Settings, seed: int, number: int) -> None:
    dice = random.Random(seed + number)  # noqa: S311 - no secret
    team = make_team()
    assignments = [make_assignment(team) for _ in range(2)]
    set_prices(dice, team)
    book(assignments[0], JANUARY)
    for month in range(1, MONTHS + 1):
        go_on(dice, assignments, month)
        go_to(settings, at(2, month=month + 1))
        close_months()
        close_months()
    for month in range(1, MONTHS):
        begin, end = at(1, month=month), months.end_of(at(1, month=month).date())
        said = StatementLine.objects.filter(begin__gte=begin, begin__lt=end).exclude(kind="credit")
        due = read(team, begin.date(), "USD").lines()
        assert said.aggregate(sum=Sum("cents", default=0))["sum"] == sum(line.cents for line in due)
    for assignment in assignments:
        for slot in SLOTS:
            slots = {"assignment": assignment, "slot": slot}
            stated = StatementLine.objects.filter(unit="second", **slots).aggregate(sum=Sum("quantity", default=0))[
                "sum"
            ]
            assert stated == UsageRecord.objects.filter(**slots).aggregate(sum=Sum("seconds", default=0))["sum"]
    for statement in Statement.objects.all():
        assert statement.total_cents == sum(line.cents for line in statement.lines.all()) >= 0
    assert all(trace(line).adds_up for line in StatementLine.objects.select_related("statement"))
    for credit in Credit.objects.all():
        assert credit.cents + sum(line.cents for line in credit.lines.all() if line.cents < 0) >= 0
