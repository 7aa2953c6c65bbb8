"""Debian's ptp and bridge plugins with ours chained after them, in network namespaces, with the agent as a process."""

import json
import signal
import subprocess

import pytest

from tests.unit.node.rig import wait_for

from .conftest import NETNS, ChainError, Runtime, ip

pytestmark = [pytest.mark.netns, pytest.mark.cni]


def test_add_tells_the_containers_true_place(started: Runtime) -> None:
    name = started.container()
    result = started.add(name)
    address = result["ips"][0]["address"].split("/")[0]
    (pod,) = started.node.wish["pods"].values()
    assert (pod["address"], pod["namespace"], pod["container_id"], pod["netns"]) == (
        address,
        "shop",
        name,
        str(NETNS / name),
    )
    (inside,) = json.loads(ip("-n", name, "-j", "link", "show", "eth0"))
    (outside,) = json.loads(ip("-n", f"{started.prefix}-n", "-j", "link", "show", pod["interface"]))
    assert (pod["mac"], inside["link_index"]) == (inside["address"], outside["ifindex"])
    assert outside.get("master", "") == pod["bridge"]
    assert bool(pod["bridge"]) == (started.conflist["plugins"][0]["type"] == "bridge")


def test_the_chain_can_be_checked_and_deleted_twice(started: Runtime) -> None:
    name = started.container()
    result = started.add(name)
    started.run("CHECK", name, previous=result)
    for _ in range(2):
        started.run("DEL", name, previous=result)
    assert started.node.wish["pods"] == {}
    assert started.node.wish["call"] == "pod_removed"
    with pytest.raises(ChainError):
        started.run("CHECK", name, previous=result)


def test_containers_that_live_are_found_after_a_crash_and_dead_ones_are_not(started: Runtime) -> None:
    """One known from the runtime's cache, one from the agent's own notes, one that died meanwhile."""
    cached, noted, dead = (started.container() for _ in range(3))
    started.add(cached)
    started.add(noted, cache=False)
    started.add(dead)
    started.node.stop(signal.SIGKILL)
    for file in (started.node.run_dir / "containers").iterdir():
        if cached in file.name or dead in file.name:
            file.unlink()
    ip("netns", "delete", dead)
    started.node.record_file.unlink()
    started.node.start()
    assert {pod["container_id"] for pod in started.node.record[0]["pods"].values()} == {cached, noted}


def test_a_container_whose_address_was_taken_away_does_not_count(started: Runtime) -> None:
    name = started.container()
    started.add(name)
    started.node.stop(signal.SIGKILL)
    ip("-n", name, "address", "flush", "dev", "eth0")
    started.node.record_file.unlink()
    started.node.start()
    assert started.node.record[0]["pods"] == {}


def test_a_container_that_dies_without_del_is_noticed(started: Runtime) -> None:
    name = started.container()
    started.add(name)
    ip("netns", "delete", name)
    wait_for(lambda: started.node.wish["pods"] == {}, "the dead container is forgotten")


def test_without_the_agent_only_the_enabled_app_waits(started: Runtime) -> None:
    started.node.stop(signal.SIGKILL)
    assert started.add(started.container(), namespace="docs")["ips"]
    name = started.container()
    with pytest.raises(ChainError) as caught:
        started.add(name)
    assert (caught.value.answer["code"], caught.value.answer["cniVersion"]) == (11, "1.0.0")
    # What a runtime does then: DEL, and ADD again with a new namespace.
    started.run("DEL", name)
    started.node.start()
    again = started.container()
    assert started.add(again)["ips"]
    assert again in {pod["container_id"] for pod in started.node.wish["pods"].values()}


def test_containers_start_while_the_control_plane_is_gone(started: Runtime) -> None:
    subprocess.run(["ip", "-n", f"{started.prefix}-n", "link", "set", "lo", "down"], check=True)
    started.node.stop(signal.SIGKILL)
    started.node.start()
    name = started.container()
    assert started.add(name)["ips"]
    assert name in {pod["container_id"] for pod in started.node.wish["pods"].values()}
