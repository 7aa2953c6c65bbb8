"""A cluster's gateways are rebooted by a rollout, under load: nobody notices, and connections end in their own time.

two apps ── both nodes ── VPC ── two gateways each, one of each pair at a time ── observer 192.0.2.80
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.system import NODE_NAMES, System, wait_for
from tests.e2e.test_rebuild import boots, droplets
from tests.e2e.test_toggle import Load

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.full, pytest.mark.timeout(900)]

APPS = ("mail-worker", "docs-site")
LIMIT_SECONDS = 600
#: How long the held connections last: longer than it takes to begin with the first gateways, far below the deadline.
HELD_SECONDS = 20


@pytest.fixture
def addresses(system: System) -> Iterator[dict[str, set[str]]]:
    yield {app: system.enable(app) for app in APPS}
    for app in APPS:
        system.disable(app)


@pytest.fixture
def loads(system: System, addresses: dict[str, set[str]]) -> Iterator[dict[str, list[Load]]]:
    running = {
        app: [Load(system, node, kind, app=app) for node in NODE_NAMES for kind in ("tcp", "udp")] for app in addresses
    }
    yield running
    Load.stop([load for loads in running.values() for load in loads])


def test_a_rollout_under_load_fails_no_request_and_cuts_no_connection(
    system: System, addresses: dict[str, set[str]], loads: dict[str, list[Load]]
) -> None:
    machines = droplets(system)
    booted = {droplet: boots(system, droplet) for droplet in machines.values()}
    began_at = time.time()
    with ExitStack() as holding:
        held = {
            (app, node): holding.enter_context(system.holding(app, node=node, seconds=HELD_SECONDS))
            for app in APPS
            for node in NODE_NAMES
        }
        told = system.stack.manage("rollout", "start", "fra1", "--kind", "reboot", "--batch", "2")
        wait_for("a gateway drains", lambda: "finishes its connections" in _status(system, told), 60)
    wait_for("the rollout is done", lambda: "(done)" in _status(system, told), LIMIT_SECONDS)
    Load.stop([load for loads_of in loads.values() for load in loads_of])

    # Connections that were there before went on to their own end, on an address of their app.
    assert {key: connection.address in addresses[key[0]] for key, connection in held.items()} == dict.fromkeys(
        held, True
    )
    assert [failure for loads_of in loads.values() for load in loads_of for failure in load.failures()] == []
    for app, loads_of in loads.items():
        assert all(load.addresses(began_at, time.time()) <= addresses[app] for load in loads_of)
    # All of them have booted once, on the same servers.
    assert droplets(system) == machines
    assert {droplet: boots(system, droplet) - before for droplet, before in booted.items()} == dict.fromkeys(booted, 1)


def _status(system: System, started: str) -> str:
    """Return what the command says of the rollout that `started` tells of: "rollout 3: checking; …"."""
    return system.stack.manage("rollout", "status", started.split()[1].rstrip(":"))
