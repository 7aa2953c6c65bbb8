"""manage.py seed."""

import json
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from portal.accounts.models import Team
from portal.demo import stripe
from portal.demo.seed import database, is_empty, seed


class Command(BaseCommand):
    """Migrate an empty database, fill it with the demo's rows and print log-ins and tokens as JSON.

    Where a stand-in for Stripe collects, the team's payment method is saved there: a newcomer can enable at once.
    """

    help = __doc__ or ""

    def handle(self, **_options: Any) -> None:
        """Run: one process does both, since every start of Django takes a second."""
        call_command("migrate", verbosity=0)
        if not is_empty():
            raise CommandError(f"{database()} isn't empty: the demo's rows go into an empty database only.")
        made = seed()
        if stripe.is_there():
            stripe.save_card(Team.objects.get())
        self.stdout.write(json.dumps(made))
