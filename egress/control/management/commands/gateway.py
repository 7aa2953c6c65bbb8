"""Operate on a gateway: `manage.py gateway rebuild GATEWAY_ID`."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from egress.control.errors import EgressError
from egress.control.maintenance import gateway_maintain
from egress.control.models import Gateway
from egress.control.models_rollouts import Maintenance


class Command(BaseCommand):
    """Operate on a gateway."""

    help = "Operate on a gateway. A rebuild lays its image anew; its address and the app's connections are kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what to do, and to which gateway."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        rebuild = actions.add_parser("rebuild", help="drain it, lay its image anew, and take it into use again")
        rebuild.add_argument("gateway", type=UUID, metavar="GATEWAY_ID", help="as the admin and the API show it")

    def handle(self, *, gateway: UUID, **_: Any) -> None:
        """Do it. Raises CommandError with the reason when it can't be done."""
        row = Gateway.objects.filter(pk=gateway).first()
        if row is None:
            raise CommandError(f"There is no gateway {gateway}: look its id up in the admin.")
        try:
            row = gateway_maintain(gateway=row, kind=Maintenance.REBUILD, actor=None)
        except EgressError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"gateway {row} is {row.provisioning_status}; it goes on by itself until it is ready")
