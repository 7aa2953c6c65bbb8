"""The control plane as it runs: a Celery worker and web servers in processes of their own, on one database."""

import http.client
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import kombu.pools
import pytest
from django.db import connection

from egress.control import clock, distribution
from egress.control.models import Assignment, AssignmentStatus, Cluster
from egress.control.services import egress_disable, egress_enable
from egress.wire.codec import decode, encode
from egress.wire.messages import NodeSync, NodeSyncRequest
from portal.config import celery_app
from tests.factories import make_app, make_cluster, make_node, make_team, make_user

from .cloud import HANG
from .fleet import Fleet
from .processes import LIMIT_SECONDS, kill, running, wait_for, web_command, worker_command

pytestmark = [
    pytest.mark.costly,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(240),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short: the path of a unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="sgt-") as name:
        yield Path(name)


def _send_to(url: str) -> None:
    celery_app.conf.update(broker_url=url)
    kombu.pools.reset()
    celery_app._pool = None
    celery_app.amqp._producer_pool = None


@pytest.fixture
def hints(redis: str) -> Iterator[None]:
    """Let this process's messages reach the real broker."""
    _send_to(redis)
    yield
    _send_to("memory://localhost")


def status(fleet: Fleet) -> str:
    return fleet.assignment.status


def enable_to_active(fleet: Fleet) -> None:
    egress_enable(app=fleet.app, actor=fleet.user)
    wait_for(lambda: all(gateway.public_address for gateway in fleet.gateways()), "addresses")
    fleet.boot_gateways()
    wait_for(lambda: status(fleet) == AssignmentStatus.DISTRIBUTING, "the route")
    fleet.nodes_follow()
    wait_for(lambda: status(fleet) == AssignmentStatus.ACTIVE, "active")


def disable_to_released(fleet: Fleet) -> None:
    egress_disable(app=fleet.app, actor=fleet.user)
    wait_for(lambda: status(fleet) == AssignmentStatus.DRAINING, "the drain")
    fleet.nodes_follow()
    wait_for(lambda: status(fleet) == AssignmentStatus.RELEASING, "the withdrawal")
    fleet.nodes_follow()
    wait_for(lambda: status(fleet) == AssignmentStatus.RELEASED, "the release")


def test_messages_alone_bring_an_assignment_up_and_down(fleet: Fleet, folder: Path, redis: str, hints: None) -> None:
    with running(worker_command(folder, beat=False), folder / "worker.log", CELERY_BROKER_URL=redis):
        enable_to_active(fleet)
        assert len(fleet.cloud.servers()) == 2
        disable_to_released(fleet)
        assert fleet.cloud.servers() == []


def test_with_every_message_lost_the_sweep_alone_does_it(fleet: Fleet, folder: Path, redis: str) -> None:
    with running(worker_command(folder, beat=True), folder / "worker.log", CELERY_BROKER_URL=redis):
        enable_to_active(fleet)
        disable_to_released(fleet)
        assert fleet.cloud.calls("create_or_adopt") == 2


def test_a_worker_killed_while_the_provider_creates_is_replaced_without_a_third_server(
    fleet: Fleet, folder: Path, redis: str, hints: None
) -> None:
    fleet.cloud.fail("create_or_adopt", HANG)
    with running(worker_command(folder, beat=True), folder / "worker.log", CELERY_BROKER_URL=redis) as first:
        egress_enable(app=fleet.app, actor=fleet.user)
        wait_for(lambda: len(fleet.cloud.servers()) == 1, "the first server")
        kill(first)
    assert [gateway.provisioning_status for gateway in fleet.gateways()] == ["creating", "pending"]
    # Its lease runs out: no need to watch it do so.
    Assignment.objects.update(lease_until=clock.now())
    with running(worker_command(folder, beat=True), folder / "worker.log", CELERY_BROKER_URL=redis):
        wait_for(lambda: all(gateway.server_id for gateway in fleet.gateways()), "both servers")
        fleet.boot_gateways()
        wait_for(lambda: status(fleet) == AssignmentStatus.DISTRIBUTING, "the route")
    assert len(fleet.cloud.servers()) == 2


def test_requests_at_once_make_one_assignment_and_different_pairs(fleet: Fleet) -> None:
    apps = [fleet.app, *(make_app(fleet.app.team, fleet.cluster) for _ in range(5))]

    def enable(number: int) -> int:
        try:
            return egress_enable(app=apps[number % len(apps)], actor=fleet.user).pair
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(enable, range(24)))
    pairs = list(Assignment.objects.values_list("pair", flat=True))
    assert len(pairs) == len(set(pairs)) == len(apps)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def _poll(port: int, token: str, message: NodeSyncRequest) -> NodeSync:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        client.request("POST", "/agent/v1/nodes/sync", encode(message), headers)
        return decode(NodeSync, client.getresponse().read())
    finally:
        client.close()


def test_a_change_wakes_the_polls_of_all_web_processes(folder: Path, db: None) -> None:
    cluster = make_cluster()
    app = make_app(make_team(make_user()), cluster)
    tokens = [f"node-token-{make_node(cluster).name}" for _ in range(8)]
    port = _free_port()
    with running(web_command(port, workers=2), folder / "web.log"), ThreadPoolExecutor(len(tokens)) as threads:
        wait_for(lambda: _answers(port), "the web server")
        epoch = str(Cluster.objects.get().epoch)
        asked = NodeSyncRequest(epoch=epoch, applied_revision=0, wait_seconds=40)
        # A first poll without waiting: both processes have started when all are answered.
        at_once = NodeSyncRequest(epoch=epoch, applied_revision=0, wait_seconds=0)
        assert {reply.revision for reply in threads.map(lambda token: _poll(port, token, at_once), tokens)} == {0}
        polls = [threads.submit(_poll, port, token, asked) for token in tokens]
        # Nothing shows that a poll waits; one that comes late is answered at once, which is right too.
        sleep(1)
        assert not any(poll.done() for poll in polls)
        begun = monotonic()
        distribution.publish(cluster.pk, app.namespace, None)
        assert {poll.result(LIMIT_SECONDS).revision for poll in polls} == {1}
        assert monotonic() - begun < 20
