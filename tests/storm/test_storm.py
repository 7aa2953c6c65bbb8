"""Many apps at once, while the provider fails and processes, PostgreSQL and Redis are killed: two gateways each.

50 PUTs ──▶ 3 web ──▶ PostgreSQL, Redis ──▶ 3 workers ──▶ the lab's cloud over TLS, every tenth request fails
3 nodes and 100 gateways, played at wire level ──▶ 3 web            2 schedulers
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from django.db import connection

from egress.control.models import (
    App,
    Assignment,
    AssignmentStatus,
    Event,
    Gateway,
    GatewayStatus,
)
from portal.accounts.models import ApiToken
from tests.contract.cloudlab import TOKEN, Certificates, CloudLab, Server, running
from tests.engines.servers import crash, redis_server
from tests.factories import make_app, make_cluster_and_token, make_team, make_user
from tests.storm.cloud import CREATION, LAYOUT, Deck, Hypervisor
from tests.storm.customers import Customer
from tests.storm.nodes import PlayedNode
from tests.storm.processes import ControlPlane

pytestmark = [
    pytest.mark.parametrize("database_engine", ["postgresql"], indirect=True),
    pytest.mark.django_db(transaction=True),
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.timeout(1500),
]

NODES = 3
#: Generous: eight apps take half a minute on a quiet machine.
LIMIT_SECONDS = 600


@dataclass
class Crashes:
    """What happens to the two servers on which all hangs. `done` counts."""

    database: Path
    broker: Path
    done: Counter[str] = field(default_factory=Counter)

    def one_of_each(self) -> list[Callable[[], None]]:
        return [self.crash_database, self.crash_broker, self.empty_broker]

    def crash_database(self) -> None:
        """Cut all connections and transactions; what was committed is there afterwards."""
        crash(self.database)
        connection.close()
        self.done["database"] += 1

    def crash_broker(self) -> None:
        """Lose at most the messages of the last second."""
        crash(self.broker)
        self.done["broker"] += 1

    def empty_broker(self) -> None:
        """Lose all messages, those in workers' hands as well."""
        shutil.rmtree(self.broker / "appendonlydir")
        crash(self.broker)
        self.done["broker, emptied"] += 1


@dataclass
class Storm:
    """One cluster with its apps, and all that plays round it."""

    server: Server
    lab: CloudLab
    hypervisor: Hypervisor
    plane: ControlPlane
    apps: list[str]
    customer: Customer
    nodes: list[PlayedNode]
    faults: Deck
    crashes: Crashes

    def ride(self, kind: str, state: str, *, kills: int) -> dict[str, Any]:
        """Wish for `kind` for all apps at once, strike meanwhile, and return all egresses once all are in `state`."""
        begun = monotonic()

        async def wish() -> dict[str, dict[str, Any]]:
            await self.customer.wish(self.apps, kind)
            return await self.customer.repeat_until(self.apps, kind, state)

        wished: Future[dict[str, dict[str, Any]]] = self.server.begin(wish())
        blows = [*[self.plane.kill_one] * kills, *self.crashes.one_of_each()]
        self.plane.wait(wished.done, lambda: f"all {state}: {statuses()}", limit_seconds=LIMIT_SECONDS, blows=blows)
        self.plane.wait(settled, lambda: f"all settled: {statuses()}", limit_seconds=LIMIT_SECONDS)
        print(  # noqa: T201  # what a reader of a run that failed wants
            f"{state} after {monotonic() - begun:.1f} s; answers {dict(self.customer.answers)}, "
            f"killed {dict(self.plane.killed + self.crashes.done)}, gave up {dict(self.plane.gave_up)}, "
            f"faults {dict(self.faults.struck)}"
        )
        return wished.result()

    def known_to(self, node: PlayedNode) -> dict[str, set[str]]:
        """Return the public addresses of every app that `node` has a route for."""
        apps = dict(App.objects.values_list("namespace", "pk"))
        return {
            str(apps[namespace]): {gateway.public_address for gateway in route.gateways}
            for namespace, route in node.routes.items()
        }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(Certificates(tmp_path))
    yield server
    server.stop()


@pytest.fixture
def broker() -> Iterator[str]:
    """Run a Redis that keeps its messages on disk, as one in production should."""
    with redis_server(appendonly=True) as url:
        yield url


@pytest.fixture
def storm_of(
    server: Server, tmp_path: Path, broker: str, postgresql: dict[str, Any], seed: int
) -> Iterator[Callable[..., Storm]]:
    """Return what starts a storm."""
    cleanup: list[Callable[[], object]] = []

    def start(apps: int, *, settings: str) -> Storm:
        user = make_user()
        team = make_team(user)
        cluster, join_token = make_cluster_and_token(region="fra1", vpc_id=LAYOUT.vpc_uuid)
        rows = [make_app(team, cluster) for _ in range(apps)]
        token = ApiToken.issue(team=team, name="storm", created_by=user)[1]

        hypervisor, faults = Hypervisor(), Deck(seed)
        context = running(server, hypervisor=hypervisor, layout=LAYOUT, faults=faults)
        lab = context.__enter__()
        cleanup.append(lambda: context.__exit__(None, None, None))
        environment = {
            "DJANGO_SETTINGS_MODULE": settings,
            "DATABASE_URL": f"postgres:///{connection.settings_dict['NAME']}",
            "CELERY_BROKER_URL": broker,
            "DIGITALOCEAN_TOKEN": TOKEN,
            "DIGITALOCEAN_API_URL": lab.url,
            "DIGITALOCEAN_CA_FILE": str(lab.certificates.ca_file),
        }
        plane = ControlPlane(tmp_path, environment, seed)
        cleanup.append(plane.stop)
        plane.start({"SLUICEGATE_AGENT_API_URL": f"http://127.0.0.1:{plane.where[1]}"})

        nodes = [PlayedNode(f"node-{number}", f"10.110.0.{21 + number}", plane.where) for number in range(NODES)]
        for node in nodes:
            running_node = server.begin(node.run(join_token))
            cleanup.append(running_node.cancel)
        customer = Customer(plane.where, token)
        crashes = Crashes(Path(postgresql["HOST"]), Path(broker.removeprefix("redis+socket://")).parent)
        return Storm(server, lab, hypervisor, plane, [str(row.pk) for row in rows], customer, nodes, faults, crashes)

    yield start
    for clean in reversed(cleanup):
        clean()


def statuses() -> dict[str, int]:
    return dict(Counter(Assignment.objects.values_list("status", flat=True)))


def settled() -> bool:
    """Say whether no row waits for anything, nor is held by a worker, dead or alive."""
    return not Assignment.objects.exclude(lease_until=None, due_at=None).exists()


def moved_twice() -> list[str]:
    """Return the moves that a gateway made more than once: in a storm without rebuilds there are none."""
    moves = Counter(Event.objects.filter(subject="gateway.status").values_list("gateway", "new"))
    return [f"{gateway} to {new}, {times} times" for (gateway, new), times in moves.items() if times > 1]


@pytest.mark.parametrize(
    ("apps", "kills", "settings"),
    [
        # Short leases: a killed worker's apps wait for less.
        pytest.param(8, 2, "tests.storm.settings", id="8-apps"),
        pytest.param(50, 15, "portal.config.settings", id="50-apps", marks=pytest.mark.full),
    ],
)
def test_enables_at_once_make_two_droplets_each_and_disables_leave_none(
    storm_of: Callable[..., Storm], postgresql: dict[str, Any], apps: int, kills: int, settings: str
) -> None:
    storm = storm_of(apps, settings=settings)

    egress = storm.ride("DEDICATED_IP", "active", kills=kills)
    droplets = storm.lab.state.droplets()
    assert len(droplets) == len(storm.hypervisor.gateways) == 2 * apps
    addresses = [ip["ip"] for each in egress.values() for ip in each["dedicated_ips"]]
    assert sorted(addresses) == sorted({droplet.public_address for droplet in droplets})
    for node in storm.nodes:
        assert storm.known_to(node) == {app: {ip["ip"] for ip in egress[app]["dedicated_ips"]} for app in storm.apps}
    assert statuses() == {AssignmentStatus.ACTIVE: apps}

    storm.ride("AUTOASSIGN", "off", kills=kills)
    assert storm.lab.state.droplets() == []
    assert all(node.routes == {} for node in storm.nodes)
    assert statuses() == {AssignmentStatus.RELEASED: apps}
    gateways = Gateway.objects.exclude(provisioning_status=GatewayStatus.DELETED)
    assert not gateways.exists()
    assert not Assignment.objects.exclude(error_code="").exists()

    # Every kind of trouble befell a creation, and none ever made a second machine for a gateway.
    assert {f"create {kind}" for kind in CREATION} <= storm.faults.struck.keys()
    assert storm.hypervisor.doubles == []
    assert moved_twice() == []
    log = (Path(postgresql["HOST"]) / "log").read_text()
    assert "ready to accept connections" in log
    assert "deadlock detected" not in log
