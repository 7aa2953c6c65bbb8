"""A gateway is laid anew under load: the same two addresses before and after, and nobody notices.

mail-worker ── both nodes ── VPC ── gateway A (drained, rebuilt, enrolled again) and B ── observer 192.0.2.80
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.system import NODE_NAMES, System, wait_for
from tests.e2e.test_toggle import APP, Load

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(420)]

OLD_DISK = "/var/lib/old-disk"


@pytest.fixture
def addresses(system: System) -> Iterator[set[str]]:
    yield system.enable(APP)
    system.disable(APP)


@pytest.fixture
def loads(system: System, addresses: set[str]) -> Iterator[list[Load]]:
    running = [Load(system, node, kind) for node in NODE_NAMES for kind in ("tcp", "udp")]
    yield running
    for load in running:
        load.stop()


def droplet_of(system: System, address: str) -> dict[str, Any]:
    (droplet,) = [each for each in system.lab.status()["droplets"] if each["public_address"] == address]
    return dict(droplet)


def on_old_disk(system: System, droplet: dict[str, Any]) -> bool:
    return system.lab.exec(f"droplet-{droplet['id']}", ["test", "-e", OLD_DISK]).code == 0


def test_a_rebuild_under_load_keeps_both_addresses_and_loses_nothing(
    system: System, addresses: set[str], loads: list[Load]
) -> None:
    gateway = system.egress(APP)["dedicated_ips"][0]
    droplet = droplet_of(system, gateway["ip"])
    assert system.lab.exec(f"droplet-{droplet['id']}", ["touch", OLD_DISK]).code == 0
    time.sleep(1)
    began_at = time.time()

    assert "is draining" in system.stack.manage("gateway", "rebuild", gateway["id"])
    log = system.stack.part_log("worker")
    wait_for("the new system is up", lambda: _running(system, gateway["ip"]) and not on_old_disk(system, droplet), 240)
    peer = addresses - {gateway["ip"]}
    assert system.seen_from_all_nodes(APP, "tcp", 5) <= addresses, log
    wait_for("both addresses are used again", lambda: system.seen_from_all_nodes(APP, "tcp", 4) == addresses, 120)
    ended_at = time.time()
    for load in loads:
        load.stop()

    assert [failure for load in loads for failure in load.failures()] == []
    assert set().union(*(load.addresses(began_at, ended_at) for load in loads)) == addresses
    assert peer
    assert droplet_of(system, gateway["ip"]) == droplet
    assert {each["ip"] for each in system.egress(APP)["dedicated_ips"]} == addresses
    assert system.egress(APP)["state"] == "active"
    # While it was away, its node used the peer.
    assert all(load.addresses(began_at, ended_at) >= peer for load in loads)


def _running(system: System, address: str) -> bool:
    return bool(droplet_of(system, address)["state"] == "on")
