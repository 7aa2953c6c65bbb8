"""Fill a lab with made-up history: `manage.py billing_replay --months 6 --apps 12 --seed 1`."""

from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.exports.selection import month_of
from billing.replay.run import replay
from billing.replay.summary import by_month, table
from egress.control.errors import EgressError
from portal.accounts.models import User


class Command(BaseCommand):
    """Play history through metering, rating, statements and, where Stripe is set up, invoicing."""

    help = (
        "Play made-up history (enabling, disabling, undo, outages, replacements, price changes, traffic) through real"
        " metering, rating, statements and invoicing. Only for a lab in which nothing was enabled yet, with its workers"
        " stopped. Given the same again, it goes on where it was interrupted, and says what came of it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare how much, and which."""
        parser.add_argument("--months", type=int, default=3, help="so many whole months (default: 3)")
        parser.add_argument("--apps", type=int, default=8, help="of so many apps (default: 8)")
        parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same history (default: 1)")
        parser.add_argument("--first", default="", metavar="YYYY-MM", help="the first month; else the last ones over")
        parser.add_argument("--owner", default="", metavar="EMAIL", help="who owns the teams; else a user is made")

    def handle(self, *, months: int, apps: int, seed: int, first: str, owner: str, **_: Any) -> None:
        """Play it, and print a table. Raises CommandError with the reason when it can't be played."""
        try:
            played = replay(seed=seed, count=months, apps=apps, first=_month(first), owner=_user(owner))
        except EgressError as error:
            raise CommandError(str(error)) from None
        for line in table([month.cells() for month in by_month(played)]):
            self.stdout.write(line)


def _month(text: str) -> date | None:
    return month_of(text) if text else None


def _user(email: str) -> User | None:
    if not email:
        return None
    user = User.objects.filter(email=email).first()
    if user is None:
        raise CommandError(f"There is no user {email}.")
    return user
