"""When the service manager is told that the agent is ready: what starts containers after a boot waits for that."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .rig import PATIENCE_SECONDS, Node, StandIn, net_config, ptp_result, route, table, wait_acknowledged


@pytest.fixture
def manager(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The end of systemd's socket that systemd reads."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        listening.settimeout(PATIENCE_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        yield listening


@pytest.fixture
def away(node: Node, control_plane: StandIn) -> Node:
    """A node that was in sync and went down; since then "late" was enabled as well."""
    control_plane.table = table(route("shop"))
    node.start()
    wait_acknowledged(control_plane, 1)
    node.stop()
    control_plane.publish(route("shop"), route("late", 2))
    return node


def test_a_node_that_was_away_starts_nothing_before_it_knows_who_was_enabled_meanwhile(
    away: Node, control_plane: StandIn, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = control_plane.answer

    def slowly(*arguments: Any) -> tuple[int, object]:
        # So that whoever doesn't wait for the answer is found out.
        time.sleep(1)
        return answer(*arguments)

    monkeypatch.setattr(control_plane, "answer", slowly)
    away.start()
    assert "late" not in (away.state_dir / "namespaces").read_text()
    assert manager.recv(100) == b"READY=1"
    assert "late" in (away.state_dir / "namespaces").read_text()
    away.stop()
    # What starts containers starts now: the one of the app that was enabled meanwhile waits for its rules.
    assert away.call("ADD", net_config(ptp_result()), namespace="late").json["code"] == 11


def test_without_the_control_plane_the_routes_known_last_are_in_force(
    away: Node, control_plane: StandIn, manager: socket.socket
) -> None:
    control_plane.stop()
    away.start()
    assert manager.recv(100) == b"READY=1"
    assert "no sync within 10 s of the start" in away.log
    assert away.call("ADD", net_config(ptp_result()), namespace="shop").code == 0
    assert away.call("ADD", net_config(ptp_result("10.244.1.6")), namespace="late", container="c2").code == 0
