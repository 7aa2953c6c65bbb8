"""Packets seen outside: who leaves from where."""

import time

import pytest
from dataplane_world import N1, OBSERVER, A, World, route

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_enabled_pods_leave_by_their_gateway_and_neighbours_by_the_node(pods: World, kind: str) -> None:
    pods.start(pods.wish(routes=(route(),)))
    for name in ("shop1", "shop2"):
        assert {pods[name]("ask", to=OBSERVER, port=80, kind=kind) for _ in range(20)} == {A}
    for name in ("blog1", "blog2"):
        assert {pods[name]("ask", to=OBSERVER, port=80, kind=kind) for _ in range(20)} == {N1}
    assert pods.sources() == {A, N1}


def test_the_nodes_word_on_a_late_answer_leaves_by_no_other_leg(pods: World) -> None:
    """Of a connection that it has forgotten: a reset, or that nobody is there. It would bear its private address."""
    pods.start(pods.wish(routes=(route(),)))
    assert pods["shop1"]("open", name="late", to=OBSERVER, port=80) == A
    assert pods["shop1"]("ask", to=OBSERVER, port=80, kind="udp") == A
    pods.sh("n1", "conntrack", "-D", "-s", pods.pods["shop1"]["address"])
    before = rejected(pods)
    pods["net"]("push")
    end = time.monotonic() + 20
    while rejected(pods) < before + 2:
        assert time.monotonic() < end, "the late answers haven't come"
    assert pods["blog1"]("ask", to=OBSERVER, port=80) == N1
    assert pods.sources() == {A, N1}


def rejected(world: World) -> int:
    """Return how often node n1 has told somebody that nobody is there."""
    lines = world.sh("n1", "cat", "/proc/net/snmp").splitlines()
    tcp, icmp = (
        dict(zip(*(line.split()[1:] for line in lines if line.startswith(f"{name}:")), strict=True))
        for name in ("Tcp", "Icmp")
    )
    return int(tcp["OutRsts"]) + int(icmp["OutDestUnreachs"])
