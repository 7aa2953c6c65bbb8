"""The whole agent, both gateways cut off: where new connections go is the owner's choice, at any time."""

from dataclasses import replace

import pytest
from dataplane_world import N1, OBSERVER, A, B, World
from test_pivot import folder, served, wait_health, wait_source

from tests.unit.node.rig import Node, StandIn, wait_for

__all__ = ["folder", "served"]
pytestmark = pytest.mark.netns
PLUGGED = "link set p-gw-b up"


def ask(world: World) -> str:
    return str(world["shop1"]("ask", to=OBSERVER, port=80, timeout=0.5))


def cut_both(world: World, control_plane: StandIn) -> None:
    """One after the other: all at once would be the node's own fault, which moves nothing."""
    world.ip("vpc", "link set p-gw-a down")
    wait_health(control_plane, **{"gw-a": "unhealthy", "gw-b": "healthy"})
    world.ip("vpc", "link set p-gw-b down")


def wait_asked(world: World, answer: str) -> None:
    wait_for(lambda: ask(world) == answer, f"new connections meet {answer}")


def test_chosen_shared_addresses_are_used_while_both_are_dead_and_never_after(
    served: tuple[World, Node, StandIn],
) -> None:
    world, _, control_plane = served
    (route,) = control_plane.table.routes
    cut_both(world, control_plane)
    wait_asked(world, "Connection refused")
    assert N1 not in world.sources()

    # The owner chooses in the middle of the outage: it counts at once.
    control_plane.publish(replace(route, on_outage="shared"))
    wait_asked(world, N1)
    assert {ask(world) for _ in range(5)} == {N1}

    world.ip("vpc", PLUGGED)
    wait_asked(world, B)
    world.sources()
    assert {ask(world) for _ in range(20)} <= {A, B}
    assert N1 not in world.sources()


def test_who_goes_back_to_blocking_is_blocked_at_once(served: tuple[World, Node, StandIn]) -> None:
    world, _, control_plane = served
    (route,) = control_plane.table.routes
    control_plane.publish(replace(route, on_outage="shared"))
    cut_both(world, control_plane)
    wait_asked(world, N1)

    control_plane.publish(route)
    wait_asked(world, "Connection refused")
    world.sources()
    assert {ask(world) for _ in range(5)} == {"Connection refused"}
    assert N1 not in world.sources()
    world.ip("vpc", PLUGGED)
    wait_source(world, B)
