"""The plugin as a runtime executes it, while the agent is alive but in trouble: its disk is full, its kernel hangs."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from egress.cni import plugin
from tests.unit.node.rig import Node, StandIn, net_config, ptp_result, route, table, wait_for


@pytest.fixture
def running(node: Node, control_plane: StandIn) -> Node:
    """A node with its agent, on which only "shop" has dedicated egress."""
    control_plane.table = table(route("shop"))
    node.start()
    wait_for(lambda: node.wish["routes"] == {"shop": "active"}, "the routes are applied")
    return node


@pytest.fixture
def cramped(node: Node, control_plane: StandIn) -> Iterator[Node]:
    """A node whose agent runs, and whose disk then fills up: the agent can write nothing more."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system of its own")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "sgt", str(node.directory)], check=True)
    try:
        control_plane.table = table(route("shop"))
        crammed = Node(node.directory / "n", node.control_plane_url, node.ca_file)
        # What the recorder writes down is no part of the node.
        crammed.record_file, crammed.log_file = node.directory.parent / "record", node.directory.parent / "log"
        crammed.start()
        wait_for(lambda: crammed.wish["routes"] == {"shop": "active"}, "the routes are applied")
        with (node.directory / "ballast").open("wb", 0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        yield crammed
        crammed.stop()
    finally:
        subprocess.run(["umount", "-l", str(node.directory)], check=True)


def test_a_full_disk_stops_only_who_needs_rules(cramped: Node) -> None:
    added = cramped.call("ADD", net_config(ptp_result()), namespace="docs")
    assert (added.code, added.json) == (0, ptp_result())
    refused = cramped.call("ADD", net_config(ptp_result()), namespace="shop")
    assert (refused.json["code"], "No space left" in refused.json["details"]) == (11, True)
    for command in ("DEL", "STATUS"):
        assert cramped.call(command, net_config(ptp_result()), namespace="shop").code == 0
    (cramped.directory.parent / "ballast").unlink()
    assert cramped.call("ADD", net_config(ptp_result()), namespace="shop").code == 0


def test_a_data_plane_that_hangs_stops_only_who_needs_rules(running: Node) -> None:
    """Its thread doesn't come back from the kernel; the agent's loop goes on."""
    running.record_file.with_suffix(".slow").write_text("60")
    assert running.call("ADD", net_config(ptp_result()), namespace="docs").json == ptp_result()
    assert running.call("CHECK", net_config(ptp_result()), namespace="docs").code == 0
    valid = {"cni.dev/valid-attachments": []}
    for command in ("DEL", "STATUS", "GC"):
        assert running.call(command, net_config(ptp_result(), **valid), namespace="docs").code == 0
    refused = running.call("ADD", net_config(ptp_result("10.244.1.6")), namespace="shop", container="c2")
    assert refused.json["code"] == 11
    running.stop(signal.SIGKILL)


def test_what_the_plugin_waits_for_nobodys_sake_is_less_than_what_may_be_noticed() -> None:
    """The figure itself is `./dev bench`'s."""
    assert plugin.SHORT_SECONDS < 0.2
