"""Operate on a gateway: `manage.py gateway drain|undrain|reboot|power_cycle|rebuild GATEWAY_ID`."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from egress.control.errors import EgressError
from egress.control.maintenance import gateway_drain, gateway_maintain, gateway_undrain
from egress.control.models import Gateway
from egress.control.models_rollouts import Maintenance

_ACTIONS = {
    "drain": "keep new connections off it until it is taken back",
    "undrain": "take it back into use; maintenance that it drains for is called off",
    Maintenance.REBOOT.value: "drain it, reboot it, and take it into use again",
    Maintenance.POWER_CYCLE.value: "drain it, cut its power for a moment, and take it into use again",
    Maintenance.REBUILD.value: "drain it, lay its image anew, and take it into use again",
}


class Command(BaseCommand):
    """Operate on a gateway."""

    help = "Operate on a gateway. Its address and the app's connections are kept, whatever is done."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what to do, and to which gateway."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        for name, told in _ACTIONS.items():
            one = actions.add_parser(name, help=told)
            one.add_argument("gateway", type=UUID, metavar="GATEWAY_ID", help="as the admin and the API show it")

    def handle(self, *, action: str, gateway: UUID, **_: Any) -> None:
        """Do it. Raises CommandError with the reason when it can't be done."""
        row = Gateway.objects.filter(pk=gateway).first()
        if row is None:
            raise CommandError(f"There is no gateway {gateway}: look its id up in the admin.")
        try:
            row = _do(action, row)
        except EgressError as error:
            raise CommandError(str(error)) from None
        then = "" if action in {"drain", "undrain"} else "; it goes on by itself until it is ready"
        self.stdout.write(f"gateway {row} is {row.provisioning_status}{then}")


def _do(action: str, row: Gateway) -> Gateway:
    match action:
        case "drain":
            return gateway_drain(gateway=row, actor=None)
        case "undrain":
            return gateway_undrain(gateway=row, actor=None)
    return gateway_maintain(gateway=row, kind=Maintenance(action), actor=None)
