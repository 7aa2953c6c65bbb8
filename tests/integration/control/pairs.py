"""Several pairs in one cluster, with the agents of all, and a worker that does what a worker does."""

from dataclasses import dataclass

from django.db.models import F
from pytest_django import Settings

from egress.control import clock, tasks
from egress.control.errors import EgressError
from egress.control.models import Assignment, Gateway, GatewayStatus, Node
from egress.control.reconcile.loop import reconcile
from tests.factories import make_app

from .cloud import FileCloud
from .fleet import Fleet, make_fleet

#: Longer than a gateway rests after its maintenance.
ROUND_SECONDS = 31


@dataclass
class Pairs:
    """`fleets`: one for each app of the cluster."""

    fleets: list[Fleet]
    cloud: FileCloud
    settings: Settings

    def gateways(self) -> list[Gateway]:
        return [gateway for fleet in self.fleets for gateway in fleet.gateways()]

    def statuses(self) -> list[str]:
        return [gateway.provisioning_status for gateway in self.gateways()]

    def away(self) -> list[str]:
        """Return the names of the gateways that aren't in use."""
        return [str(row) for row in self.gateways() if row.provisioning_status != GatewayStatus.READY]

    def work(self) -> None:
        """Do what a worker does in some seconds."""
        tasks.roll()
        for due in Assignment.objects.filter(due_at__isnull=False).values_list("pk", flat=True):
            reconcile(due)

    def agents(self, *, silent: frozenset[str] = frozenset()) -> None:
        """Let servers boot, and all agents but those of the `silent` gateways report."""
        ended = self.cloud.end_actions()
        heard = []
        for fleet in self.fleets:
            if ended:
                fleet.boot_anew(ended)
            for gateway in fleet.gateways():
                if str(gateway) in silent or not gateway.public_address:
                    continue
                if gateway.forwarding and gateway.provisioning_status == GatewayStatus.READY:
                    heard.append(gateway.pk)
                    continue
                try:
                    fleet.boot(gateway)
                except EgressError:
                    # It enrols again at its next attempt.
                    fleet.tokens.pop(str(gateway.pk), None)
        # What goes on as it was says so, in one statement.
        Gateway.objects.filter(pk__in=heard).update(reported_at=clock.now())
        if Node.objects.filter(applied_revision__lt=F("cluster__revision")).exists():
            self.fleets[0].nodes_follow()
        Node.objects.update(reported_at=clock.now())

    def round(self, *, silent: frozenset[str] = frozenset()) -> None:
        """Let half a minute pass."""
        self.settings.CLOCK_OFFSET_SECONDS += ROUND_SECONDS
        self.agents(silent=silent)
        self.work()


def make_pairs(cloud: FileCloud, settings: Settings, count: int) -> Pairs:
    """Return `count` pairs that serve."""
    first = make_fleet(cloud)
    team = first.app.team
    apps = [first.app, *(make_app(team, first.cluster, name=f"app-{number}") for number in range(1, count))]
    fleets = [Fleet(cluster=first.cluster, app=app, user=first.user, cloud=cloud, nodes=first.nodes) for app in apps]
    for fleet in fleets:
        fleet.bring_up()
    pairs = Pairs(fleets, cloud, settings)
    assert set(pairs.statuses()) == {"ready"}
    return pairs
