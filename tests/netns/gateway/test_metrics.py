"""The gateway's metrics: for named addresses on the private side, with the token, and for nobody else."""

import contextlib
import http.client
import json
import time
from dataclasses import replace
from subprocess import Popen

import pytest

from egress.gateway.metrics import METRICS
from egress.wire.scrape import PORT, token_digest
from tests.exposed import Exposed

from .plane import ControlPlane
from .world import PRIVATE, PUBLIC, STRANGER, World, eventually, inside, run

pytestmark = pytest.mark.netns

TOKEN = "a-token-for-metrics-0123456789"


def ask(namespace: str, *, at: str = PRIVATE, token: str = TOKEN, seconds: float = 10) -> tuple[int, str] | None:
    """Return what `namespace` gets for its request; None when nobody answers."""

    def get() -> tuple[int, str]:
        connection = http.client.HTTPConnection(at, PORT, timeout=seconds)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    try:
        return inside(namespace, get)
    except OSError:
        return None


def refused(namespace: str, *, at: str = PRIVATE) -> bool:
    return ask(namespace, at=at, seconds=0.7) is None


def open_door(plane: ControlPlane, *scrapers: str, digest: str = token_digest(TOKEN)) -> None:
    with plane.changed:
        revision = plane.sync.revision + 1
        plane.sync = replace(
            plane.sync, revision=revision, scrapers=scrapers, scrape_digest=digest, app="app-id", slot=1
        )
        plane.changed.notify_all()
    eventually(lambda: plane.acknowledged == revision, what="the door's opening acknowledged")


def listens(world: World) -> bool:
    return f"{PRIVATE}:{PORT}" in run("ip", "netns", "exec", world.gateway, "ss", "-ltnH")


def test_the_door_is_closed_until_somebody_is_named(world: World, plane: ControlPlane, serving: Popen[bytes]) -> None:
    assert not listens(world)
    assert refused(world.node)
    assert refused(world.stranger)


def test_only_who_is_named_comes_in_and_only_with_the_token(
    world: World, plane: ControlPlane, serving: Popen[bytes]
) -> None:
    open_door(plane, STRANGER)
    eventually(lambda: listens(world), what="the listener")
    assert (ask(world.stranger) or (0,))[0] == 200
    assert ask(world.stranger, token="wrong") == (401, "Unauthorized\n")
    # A node, which forwards by this gateway, may not ask; nor may the internet, at either address.
    assert refused(world.node)
    assert refused(world.internet, at=PUBLIC)
    assert refused(world.internet)


def test_it_shows_what_the_gateway_reports(world: World, plane: ControlPlane, serving: Popen[bytes]) -> None:
    open_door(plane, STRANGER)
    eventually(lambda: ask(world.stranger), what="a page")
    assert world.tcp_source(world.node) == PUBLIC
    page = Exposed((ask(world.stranger) or (0, ""))[1])
    page.is_exactly(METRICS)
    assert page.value("sluicegate_gateway_info", gateway="gw-1", app="app-id", slot="B") == 1
    assert page.value("sluicegate_gateway_forwarding") == 1
    assert page.value("sluicegate_gateway_applied_revision") == plane.sync.revision
    assert (page.value("sluicegate_gateway_transmit_bytes_total") or 0) > 0


def test_the_door_closes_again_and_stays_closed_for_another_token(
    world: World, plane: ControlPlane, serving: Popen[bytes]
) -> None:
    open_door(plane, STRANGER)
    eventually(lambda: ask(world.stranger), what="a page")
    open_door(plane, STRANGER, digest=token_digest("another-token-0123456789"))
    eventually(lambda: (ask(world.stranger) or (0,))[0] == 401, what="the old token refused")
    open_door(plane)
    eventually(lambda: refused(world.stranger), what="the door closed")


def test_connections_go_on_while_the_door_is_opened(world: World, plane: ControlPlane, serving: Popen[bytes]) -> None:
    with world.tcp(world.node) as connection:
        assert connection.recv(100).decode() == PUBLIC
        open_door(plane, STRANGER)
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"


def test_a_flood_of_scrapes_is_cut_and_the_next_is_served(
    world: World, plane: ControlPlane, serving: Popen[bytes]
) -> None:
    open_door(plane, STRANGER)
    eventually(lambda: ask(world.stranger), what="a page")

    def flood() -> int:
        served = 0
        for _ in range(60):
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection(PRIVATE, PORT, timeout=0.02)
                with contextlib.closing(connection):
                    connection.connect()
                    served += 1
        return served

    began = time.monotonic()
    served = inside(world.stranger, flood)
    # The rule lets in 5 a second and 5 at once, and a SYN is sent once more after a second at the earliest.
    assert served <= 5 * (time.monotonic() - began) + 10
    eventually(lambda: (ask(world.stranger) or (0,))[0] == 200, what="a page after the flood")


def test_the_page_is_the_agents_and_no_door_into_it(world: World, plane: ControlPlane, serving: Popen[bytes]) -> None:
    open_door(plane, STRANGER)
    eventually(lambda: ask(world.stranger), what="a page")
    text = json.dumps((ask(world.stranger) or (0, ""))[1])
    for secret in (plane.token, plane.sync.probe_key, TOKEN, token_digest(TOKEN), PUBLIC, PRIVATE):
        assert secret not in text
