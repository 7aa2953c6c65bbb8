"""manage.py seed."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from portal.demo.seed import database, is_empty, seed


class Command(BaseCommand):
    """Fill an empty database with the demo's rows and print log-ins and tokens as JSON."""

    help = __doc__ or ""

    def handle(self, **_options: Any) -> None:
        """Run."""
        if not is_empty():
            raise CommandError(f"{database()} isn't empty: the demo's rows go into an empty database only.")
        self.stdout.write(json.dumps(seed()))
