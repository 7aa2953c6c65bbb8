"""Prove the ledger: `manage.py billing_check --from 2026-03-01 --to 2026-04-01`."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.metering import check

#: So many differences are corrected by one call.
CORRECTED_AT_ONCE = 100_000


class Command(BaseCommand):
    """Compare the ledger with what it was made from."""

    help = (
        "Compares the ledgers of usage and traffic with events, nodes' pivots and gateways' counters, hour by hour."
        " Names each difference and ends with 1 if there is one. What came late may be found here for the twenty"
        " minutes until it is corrected by itself."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the range."""
        parser.add_argument("--from", dest="begin", type=moment, required=True, help="the first hour, in UTC")
        parser.add_argument("--to", dest="end", type=moment, required=True, help="the hour after the last, in UTC")
        parser.add_argument("--correct", action="store_true", help="let the next close correct what differs")

    def handle(self, *, begin: datetime, end: datetime, correct: bool, **_: Any) -> None:
        """Compare, and say what differs."""
        try:
            begin, closed = check.checkable(begin, end)
        except check.CannotCheck as error:
            raise CommandError(str(error)) from None
        if closed < end:
            self.stdout.write(f"Hours from {closed:%Y-%m-%dT%H:%M}Z on aren't closed yet: left out.")
        count = 0
        found = check.findings(begin, closed)
        while some := list(islice(found, CORRECTED_AT_ONCE)):
            count += len(some)
            for one in some:
                self.stdout.write(str(one))
            if correct:
                check.have_corrected(some)
        if count:
            told = "the next close corrects them" if correct else "--correct lets the next close correct them"
            raise CommandError(f"{count} slot hours differ; {told}.")
        rows = check.booked_rows(begin, closed)
        self.stdout.write(f"The ledger's {rows} rows say what events, pivots and counters say.")


def moment(text: str) -> datetime:
    """Read a day or an hour in UTC."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time such as 2026-03-01 or 2026-03-01T13:00") from None
