"""What a gateway says of its connection table, and how it fares when that is full."""

import contextlib
import socket
from functools import partial
from subprocess import Popen

import pytest

from egress.gateway.connections import SAMPLE, Connections
from tests.netns.hostile import frames as f

from .ear import TARGETS, Ear, add_targets, well
from .plane import ControlPlane
from .table import fill
from .world import NODE, OBSERVER, PRIVATE, World, eventually, inside, run

pytestmark = pytest.mark.netns


def test_reports_tell_the_table_and_the_ports_that_the_busiest_destination_takes(
    world: World, plane: ControlPlane, serving: Popen[bytes]
) -> None:
    """Probes take no entries, so they count for nothing."""
    ears = [Ear(world) for _ in range(40)]
    for ear in ears:
        eventually(ear.hear, what="an answer")
    with contextlib.ExitStack() as stack:
        for each in (*ears, *(world.tcp(world.node) for _ in range(20))):
            stack.callback(each.close)
        for _ in range(5):
            assert world.udp_source(world.node)
        # The agent's own connections, to the control plane, are two.
        eventually(lambda: plane.reports[-1].snat_ports_worst > 2)
        report = plane.reports[-1]
    assert report.snat_ports_worst == 20
    assert 25 <= report.conntrack_entries < 60
    assert report.conntrack_limit > 60_000


def test_a_large_table_is_judged_by_a_sample(world: World) -> None:
    tracking = "add table ip t\nadd chain ip t c { type filter hook input priority 0; }\nadd rule ip t c ct state new\n"
    run("ip", "netns", "exec", world.stranger, "nft", "-f", "-", text=tracking)
    total, worst = SAMPLE * 4, SAMPLE

    def measure() -> tuple[int, int]:
        fill((NODE, OBSERVER, 1024 + number, 443) for number in range(worst))
        fill((NODE, f"198.51.{n // 250}.{n % 250}", 1024 + n, 443) for n in range(total - worst))
        connections = Connections()
        return connections.entries, connections.worst

    entries, estimated = inside(world.stranger, measure)
    assert entries == total
    # Ten standard errors of such a sample.
    assert abs(estimated - worst) < worst * 0.27


def pinged(world: World) -> bool:
    """Tell whether the gateway answers a node's ping on its private address."""
    with inside(world.node, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as node:
        node.settimeout(5)
        node.sendto(f.icmp(8, 0, 0, b"are you there"), (PRIVATE, 0))
        return b"are you there" in node.recv(1000)


@pytest.mark.full
def test_a_full_table_is_neither_a_lost_internet_nor_a_silent_gateway(
    world: World, plane: ControlPlane, serving: Popen[bytes]
) -> None:
    limit = plane.reports[-1].conntrack_limit
    for first in range(0, limit + 5_000, 20_000):
        entries = ((NODE, f"198.51.{n // 250 % 250}.{n % 250}", n // 62_500, 443) for n in range(first, first + 20_000))
        inside(world.gateway, partial(fill, entries))
    assert world.blocked(world.node), "else the table isn't full"
    # Asked only now, so that no entry of before stands for the questions.
    add_targets(world)
    plane.set_targets(*TARGETS)
    eventually(lambda: plane.acknowledged == plane.sync.revision)
    ear = Ear(world)
    try:
        assert ear.always(well, seconds=6)
        assert pinged(world)
        eventually(lambda: plane.reports[-1].targets == dict.fromkeys(TARGETS, True))
        assert world.blocked(world.node), "else the table wasn't full all the time"
    finally:
        ear.close()
