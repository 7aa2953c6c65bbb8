"""After a backup was restored: `manage.py restored`, look, `manage.py restored --resume`."""

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Q

from egress.control import clock, installation, naming
from egress.control.inventory import adoption
from egress.control.models import App, Assignment, AssignmentStatus, Gateway, GatewayStatus, Node, NodeStatus
from egress.control.models_installation import Installation, StrayServer

SHOWN = 20


class Command(BaseCommand):
    """Stand still after a restore, show what it left, and go on."""

    help = (
        "Run this right after a backup of the database was restored, before anything is started. All stands still;"
        " nodes and gateways go on with what they know. Run it again to see what is missing; --resume goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the way on."""
        parser.add_argument("--resume", action="store_true", help="go on with what this database knows now")

    def handle(self, *, resume: bool, **_: Any) -> None:
        """Hold or resume, and say how things are."""
        if resume:
            went_on = installation.resume()
            self.stdout.write("It goes on." if went_on else "Nothing was held.")
            return
        installation.hold(reason="an operator said that a backup was restored")
        for line in lines(installation.here()):
            self.stdout.write(line)


def lines(row: Installation) -> Iterator[str]:
    """Say what differs between this database and the world, and what to do about each."""
    yield installation.why_still()
    since = row.held_since or clock.now()
    silent = Q(reported_at=None) | Q(reported_at__lt=since)
    live = Node.objects.filter(status=NodeStatus.LIVE)
    yield from _some("Nodes not heard of since (wait for them; remove those that are gone)", live.filter(silent))
    yield from _some("Nodes that know newer routes", live.filter(ahead_since__isnull=False))
    ready = Gateway.objects.filter(provisioning_status=GatewayStatus.READY).select_related("assignment__app")
    yield from _some("Gateways not heard of since (they enrol again on resume)", ready.filter(silent))
    active = Assignment.objects.filter(status=AssignmentStatus.ACTIVE).select_related("app")
    gone = active.exclude(gateways__provisioning_status=GatewayStatus.READY)
    yield from _some("Apps whose servers are all gone (disable those that were disabled since the backup)", gone)
    strays = list(StrayServer.objects.all()[: SHOWN + 1])
    yield from _some("Servers in quarantine (the admin gives pairs back, or deletes)", map(_of_app, strays))
    yield "What was revoked since the backup is valid again: API tokens, join tokens, removed nodes and people."


def _of_app(stray: StrayServer) -> str:
    origin = naming.origin_of(stray.tags)
    app = App.objects.filter(pk=origin.app_id).first() if origin else None
    pair = " (can have its pair back)" if app and adoption.find_for(app.pk) else ""
    return f"{stray}, app {app or 'unknown'}{pair}"


def _some(title: str, rows: Iterable[object]) -> Iterator[str]:
    """Name the first of `rows` under `title`."""
    names = [str(row) for row, _ in zip(rows, range(SHOWN + 1), strict=False)]
    if names:
        yield f"{title}:"
        yield from (f"  {name}" for name in names[:SHOWN])
        yield from ["  and more"] if len(names) > SHOWN else []
