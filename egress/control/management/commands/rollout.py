"""Roll a maintenance over a cluster: `manage.py rollout start CLUSTER`, `manage.py rollout pause|resume|… ROLLOUT`."""

from argparse import ArgumentParser
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from egress.control.errors import EgressError
from egress.control.models import Cluster
from egress.control.models_rollouts import Rollout, RolloutKind, RolloutStatus
from egress.control.rollout_progress import progress_of
from egress.control.rollouts import rollout_abort, rollout_pause, rollout_resume, rollout_start

_SERVICES: dict[str, Callable[..., Rollout]] = {
    "pause": rollout_pause,
    "resume": rollout_resume,
    "abort": rollout_abort,
}
_LOOK_SECONDS = 1.0
_LISTED = 20


class Command(BaseCommand):
    """Roll a maintenance over a cluster."""

    help = "Roll a maintenance over all gateways of a cluster: never both of a pair, and no connection is broken."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what to do."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        start = actions.add_parser("start", help="begin one")
        start.add_argument("cluster", metavar="CLUSTER", help="its name")
        start.add_argument("--kind", choices=RolloutKind.values, default=RolloutKind.REBUILD.value)
        start.add_argument("--image", default="", help="for a rebuild: the cluster's image from now on")
        start.add_argument("--batch", type=int, default=1, help="so many pairs at once (1)")
        start.add_argument("--max-failures", type=int, default=1, help="stop once so many didn't come back (1)")
        start.add_argument("--wait", type=int, default=0, metavar="SECONDS", help="until it is done; fail if it stops")
        for name in _SERVICES:
            one = actions.add_parser(name, help=f"{name} one")
            one.add_argument("rollout", type=int, metavar="ROLLOUT", help="its number, as `status` shows it")
        status = actions.add_parser("status", help="show one, and what each gateway waits for; or list the latest")
        status.add_argument("rollout", type=int, nargs="?", metavar="ROLLOUT")

    def handle(self, *, action: str, **options: Any) -> None:
        """Do it. Raises CommandError with the reason when it can't be done."""
        try:
            if action == "start":
                self._start(**options)
            elif action == "status":
                self._show(options["rollout"])
            else:
                rollout = _SERVICES[action](rollout=_rollout(options["rollout"]), actor=None)
                self.stdout.write(f"rollout {rollout.pk}: {rollout.status}; {progress_of(rollout)}")
        except EgressError as error:
            raise CommandError(str(error)) from None

    def _start(self, *, cluster: str, wait: int, **options: Any) -> None:
        row = Cluster.objects.filter(name=cluster).first()
        if row is None:
            raise CommandError(f"There is no cluster {cluster}: look its name up in the admin.")
        wanted = {name: options[name] for name in ("kind", "image", "batch", "max_failures")}
        rollout = rollout_start(cluster=row, actor=None, **wanted)
        self.stdout.write(f"rollout {rollout.pk}: {rollout.status}; {progress_of(rollout)}")
        if wait:
            self._wait(rollout, wait)

    def _wait(self, rollout: Rollout, seconds: int) -> None:
        ends_at = monotonic() + seconds
        told = ""
        while rollout.status in {RolloutStatus.CHECKING, RolloutStatus.RUNNING}:
            if monotonic() > ends_at:
                raise CommandError(f"rollout {rollout.pk} isn't over after {seconds} s; it goes on: {told}")
            sleep(_LOOK_SECONDS)
            rollout.refresh_from_db()
            if (now := f"{rollout.status}; {progress_of(rollout)}") != told:
                told = now
                self.stdout.write(f"rollout {rollout.pk}: {told}")
        if rollout.status != RolloutStatus.DONE:
            raise CommandError(f"rollout {rollout.pk} is {rollout.status}: {rollout.reason or 'by an operator'}")

    def _show(self, number: int | None) -> None:
        if number is None:
            for row in Rollout.objects.select_related("cluster")[:_LISTED]:
                self.stdout.write(f"rollout {row.pk}: {row}; {progress_of(row)}")
            return
        row = _rollout(number)
        progress = progress_of(row)
        self.stdout.write(f"rollout {row.pk}: {row}; {progress}" + (f"; {row.reason}" if row.reason else ""))
        for line in progress.lines:
            self.stdout.write(f"  {line.item.gateway}: {line.state}" + (f", {line.says}" if line.says else ""))


def _rollout(number: int) -> Rollout:
    row = Rollout.objects.filter(pk=number).select_related("cluster").first()
    if row is None:
        raise CommandError(f"There is no rollout {number}: `rollout status` lists the latest.")
    return row
