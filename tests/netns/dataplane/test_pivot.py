"""The whole agent, with gateways that fall silent: what becomes of new connections and of those that exist."""

import signal

import pytest
from dataplane_world import N1, OBSERVER, A, B, World
from served_world import served, wait_health, wait_source

from tests.unit.node.conftest import folder
from tests.unit.node.rig import Node, StandIn, wait_for

__all__ = ["folder", "served"]
pytestmark = pytest.mark.netns


def test_a_hung_gateway_gets_no_new_connections_and_keeps_its_old_ones(served: tuple[World, Node, StandIn]) -> None:
    world, _, control_plane = served
    assert world["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    world["gw-a"].process.send_signal(signal.SIGSTOP)
    wait_source(world, B)
    assert world["shop1"]("say", name="old") == A, "its kernel still forwards"
    assert world["shop1"]("open", name="moved", to=OBSERVER, port=80) == B
    assert world["blog1"]("ask", to=OBSERVER, port=80) == N1
    wait_health(control_plane, **{"gw-a": "unhealthy", "gw-b": "healthy"})
    world["gw-a"].process.send_signal(signal.SIGCONT)
    wait_source(world, A)
    assert [world["shop1"]("say", name=name) for name in ("old", "moved")] == [A, B]


def test_a_gateway_that_is_cut_off_gets_no_new_connections_until_it_is_back(
    served: tuple[World, Node, StandIn],
) -> None:
    world, _, _ = served
    assert world["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    world.sources()
    world.ip("vpc", "link set p-gw-a down")
    wait_source(world, B)
    assert {world["shop1"]("ask", to=OBSERVER, port=80, kind=kind) for kind in ("tcp", "udp")} == {B}
    world.ip("vpc", "link set p-gw-a up")
    wait_source(world, A)
    wait_for(lambda: world["shop1"]("say", name="old") == A, "the connection from before goes on")
    assert N1 not in world.sources()


def test_both_cut_off_one_after_the_other_refuses_at_once(served: tuple[World, Node, StandIn]) -> None:
    world, _, control_plane = served
    world.ip("vpc", "link set p-gw-a down")
    wait_health(control_plane, **{"gw-a": "unhealthy", "gw-b": "healthy"})
    world.ip("vpc", "link set p-gw-b down")
    wait_for(lambda: world["shop1"]("ask", to=OBSERVER, port=80, timeout=0.2) == "Connection refused", "refusal")
    world.ip("vpc", "link set p-gw-b up")
    wait_source(world, B)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("nft flush ruleset", "table inet sluicegate was missing"),
        ("ip route flush table 52001", "missing route unicast default"),
        ("nft flush chain inet sluicegate fresh_7", "chain fresh_7 was altered"),
    ],
)
def test_the_agent_at_rest_repairs_what_others_alter(
    served: tuple[World, Node, StandIn], command: str, said: str
) -> None:
    """Long before its next full look, which a minute would bring; and once is enough."""
    world, node, _ = served
    assert world["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    world.sh("n1", *command.split())
    wait_for(lambda: said in node.log, "it is put right", seconds=20)
    wait_source(world, A)
    assert world["shop1"]("say", name="old") == A
    assert node.log.count(said) == 1


def test_the_agent_does_not_wake_itself(served: tuple[World, Node, StandIn]) -> None:
    """A repair is a change too: it must not lead to the next look, and that to the next."""
    world, node, _ = served
    world.sh("n1", "nft", "flush", "ruleset")
    wait_for(lambda: "was missing" in node.log, "it is put right")
    world.sh("n1", "nft", "add chain inet sluicegate stranger")
    wait_for(lambda: "extra chain stranger" in node.log, "it hears again after a repair")
    assert node.log.count("was missing") == 2
    assert node.log.count("extra chain stranger") == 1
