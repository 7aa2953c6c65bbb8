"""Show what a line of a statement comes from: `manage.py billing_trace LINE`."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from billing.models import StatementLine
from billing.statements.trace import in_words, trace


class Command(BaseCommand):
    """Print a line's way back to the events; fails if the ledger and the line disagree."""

    help = "Show from which app, slot, hours, rows of the ledger and events a line of a statement comes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare which line."""
        parser.add_argument("line", type=UUID, help="the line's id, as on invoices and in exports")

    def handle(self, *, line: UUID, **_: Any) -> None:
        """Print it."""
        row = StatementLine.objects.select_related("statement__team", "app", "assignment").filter(pk=line).first()
        if row is None:
            raise CommandError(f"There is no line {line}: its id is on the statement, the invoice and in exports.")
        found = trace(row)
        for words in in_words(found):
            self.stdout.write(words)
        if not found.adds_up:
            raise CommandError("The ledger and what was stated differ: see above, and check the ledger.")
