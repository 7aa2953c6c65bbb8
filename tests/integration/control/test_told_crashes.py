"""A worker that tells is killed by SIGKILL before and after each of its commits: all is told, nothing twice.

Only a mail may come twice: if the worker dies after the server took it and before that is noted.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from pytest_django import Settings

from egress.control import clock
from egress.control.health import LOST, observe_gateway
from egress.control.models import Event, Gateway, GatewayStatus, Node
from egress.control.models_told import Carry, Mail, Notification
from egress.control.told.standing import look
from egress.control.transitions import gateway_transition
from tests.smtp import MailServer, mail_server

from .cloud import FileCloud
from .crash_worker import Done, Worker
from .fleet import Fleet, make_fleet
from .play import NEVER, Kill
from .processes import database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.costly, pytest.mark.timeout(240)]
#: Every commit of a run that has something to tell, in order.
POINTS = (
    "look:commit-note_carries",
    "look:commit-_look_at",
    "send_due:commit-_claim",
    "send_due:commit-_send",
)


@pytest.fixture(scope="module")
def worker(django_db_setup: None, database_engine: str) -> Iterator[Worker]:
    worker = Worker(database_url())
    yield worker
    worker.close()


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


def run(worker: Worker, fleet: Fleet, server: MailServer, settings: Settings, kill: Kill = NEVER) -> Done:
    handed_on = {
        "CLOCK_OFFSET_SECONDS": settings.CLOCK_OFFSET_SECONDS,
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": server.port,
    }
    return worker.do("tell", cloud=str(fleet.cloud.folder), settings=handed_on, kill=kill)


def in_trouble(cloud: FileCloud, settings: Settings) -> Fleet:
    """Return a fleet of which one address is lost, and whose containers have just been seen."""
    fleet = make_fleet(cloud)
    fleet.bring_up()
    look()
    Carry.objects.all().delete()
    settings.CLOCK_OFFSET_SECONDS += 60
    gateway_transition(gateway=fleet.gateways()[0], to=GatewayStatus.ERROR, detail=LOST)
    now = clock.now()
    Gateway.objects.update(reported_at=now)
    Node.objects.update(reported_at=now)
    observe_gateway(fleet.gateways()[1])
    return fleet


def test_the_list_of_points_is_complete(
    cloud: FileCloud, worker: Worker, server: MailServer, settings: Settings
) -> None:
    done = run(worker, in_trouble(cloud, settings), server, settings)
    assert done.error == ""
    # Standing still is asked about, which makes its row in a new database.
    assert set(done.points) - {"look:commit-here"} == set(POINTS)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_all_is_told_and_only_a_mail_may_come_twice(
    cloud: FileCloud, worker: Worker, server: MailServer, settings: Settings, point: str, when: str
) -> None:
    fleet = in_trouble(cloud, settings)
    assert run(worker, fleet, server, settings, Kill(point=point, when=when, countdown=1)).killed
    for _ in range(3):
        run(worker, fleet, server, settings)
        # The dead worker's claim runs out.
        Mail.objects.filter(due_at__isnull=False).update(due_at=clock.unmoved() - timedelta(seconds=1))
    assert Notification.objects.get().kind == Notification.Kind.ADDRESS_LOST
    assert Event.objects.filter(subject="address.lost").count() == 1
    assert Event.objects.filter(subject="assignment.standing").count() == 1
    assert Carry.objects.count() == 1
    assert Mail.objects.get().sent_at is not None
    twice = (point, when) == ("send_due:commit-_send", "before")
    assert len(server.taken) == (2 if twice else 1)
    assert len(set(server.ids())) == 1
