"""A gateway is laid anew under load: the same two addresses before and after, and nobody notices.

mail-worker ── both nodes ── VPC ── gateway A (drained, rebuilt, enrolled again) and B ── observer 192.0.2.80
"""

import time
from collections.abc import Iterator

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
    Load.stop(running)


def droplets(system: System) -> dict[str, int]:
    """Return {public address: the Droplet's id} of those that are on."""
    rows = system.lab.status()["droplets"]
    return {row["public_address"]: row["id"] for row in rows if row["state"] == "on"}


def boots(system: System, droplet: int) -> int:
    return system.lab.console(droplet).count("--- boot ---")


def test_a_rebuild_under_load_keeps_both_addresses_and_loses_nothing(
    system: System, addresses: set[str], loads: list[Load]
) -> None:
    gateway = system.egress(APP)["dedicated_ips"][0]
    before = droplets(system)
    droplet = before[gateway["ip"]]
    booted = boots(system, droplet)
    assert system.lab.exec(f"droplet-{droplet}", ["touch", OLD_DISK]).code == 0
    began_at = time.time()

    assert "is draining" in system.stack.manage("gateway", "rebuild", gateway["id"])
    wait_for("the Droplet boots anew", lambda: boots(system, droplet) > booted, 240)
    back_at = time.time()
    wait_for("both addresses are used again", lambda: system.seen_from_all_nodes(APP, "tcp", 4) == addresses, 120)
    Load.stop(loads)

    assert [failure for load in loads for failure in load.failures()] == []
    assert all(load.addresses(began_at, time.time()) <= addresses for load in loads)
    # While the gateway was away, the node that uses it used its peer.
    assert all(load.addresses(began_at, back_at) >= addresses - {gateway["ip"]} for load in loads)
    assert system.lab.exec(f"droplet-{droplet}", ["test", "-e", OLD_DISK]).code == 1
    assert droplets(system) == before
    egress = system.egress(APP)
    assert (egress["state"], {each["ip"] for each in egress["dedicated_ips"]}) == ("active", addresses)
