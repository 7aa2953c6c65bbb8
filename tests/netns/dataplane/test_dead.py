"""The whole agent, with gateways that die or only seem to: what is reset and what goes on."""

import signal
import time

import pytest
from dataplane_world import N1, OBSERVER, A, B, World
from served_world import cut, mend, probing, publish, served, wait_health, wait_reasons, wait_source

from egress.wire import probe
from tests.unit.node.conftest import folder
from tests.unit.node.rig import Node, StandIn, wait_for

__all__ = ["folder", "served"]
pytestmark = pytest.mark.netns
#: For an application whose sockets speak both IPv6 and IPv4.
MAPPED = f"::ffff:{OBSERVER}"
Served = tuple[World, Node, StandIn]


def open_kinds(world: World) -> None:
    """Open connections over gateway A, and one of a neighbour without dedicated egress."""
    for name, to, kind in (("idle", OBSERVER, "tcp"), ("mapped", MAPPED, "tcp"), ("udp", OBSERVER, "udp")):
        assert world["shop1"]("open", name=name, to=to, port=80, kind=kind) == A
    assert world["blog1"]("open", name="neighbour", to=OBSERVER, port=80) == N1


def standings(world: World) -> list[object]:
    return [world["shop1"]("standing", name=name) for name in ("idle", "mapped")]


def wait_reset(world: World) -> None:
    wait_for(lambda: "open" not in standings(world), "the idle connections are reset")


def assert_still(world: World) -> None:
    """All goes on as it was, over A."""
    assert standings(world) == ["open", "open"]
    assert [world["shop1"]("say", name=name) for name in ("idle", "mapped", "udp")] == [A, A, A]


def test_a_dead_gateways_connections_are_reset_idle_ones_too_and_datagrams_go_on(served: Served) -> None:
    world, _, control_plane = served
    open_kinds(world)
    world["shop1"]("serve", port=8080, host="0.0.0.0")
    world.sources()
    cut(world, "gw-a")
    wait_source(world, B)
    assert world["shop1"]("open", name="peers", to=OBSERVER, port=80) == B
    assert world["net"]("open", name="inbound", to="198.51.100.21", port=30080) == "198.51.100.1"
    wait_reset(world)
    assert world["shop1"]("say", name="udp") == B, "a connected datagram socket goes on from the other address"
    assert world["shop1"]("say", name="peers") == B
    assert world["blog1"]("say", name="neighbour") == N1
    assert world["net"]("say", name="inbound") == "198.51.100.1"
    wait_reasons(control_plane, **{"gw-a": "dead"})
    mend(world, "gw-a")
    wait_source(world, A)
    assert [world["shop1"]("say", name=name) for name in ("peers", "udp")] == [B, B], "connections don't flap back"


def test_a_blip_shorter_than_death_resets_nothing(served: Served) -> None:
    world, _, control_plane = served
    probing(control_plane, dead_after_ms=8_000, hold_down_seconds=1)
    open_kinds(world)
    cut(world, "gw-a")
    wait_source(world, B)
    time.sleep(0.5)
    mend(world, "gw-a")
    wait_source(world, A)
    assert_still(world)


def test_a_frozen_responder_resets_nothing(served: Served) -> None:
    """Not even idle connections: the gateway's kernel answers. And where it doesn't, what comes back is enough."""
    world, _, control_plane = served
    probing(control_plane, dead_after_ms=1_000, hold_down_seconds=1)
    open_kinds(world)
    world["gw-a"].process.send_signal(signal.SIGSTOP)
    wait_source(world, B)
    time.sleep(3)
    wait_reasons(control_plane, **{"gw-a": "silent"})
    assert_still(world)
    world.sh(
        "gw-a", "nft", "-f", "-", text="table ip mute { chain in { type filter hook input priority 0; policy drop; }; }"
    )
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert_still(world)
    wait_reasons(control_plane, **{"gw-a": "silent"})
    wait_reset(world)


def test_a_gateway_that_booted_anew_lost_its_connections(served: Served) -> None:
    world, _, control_plane = served
    open_kinds(world)
    world["gw-a"]("answer_otherwise", boot="another boot")
    wait_reset(world)
    wait_source(world, A)
    assert world["shop1"]("say", name="udp") in {A, B}
    wait_health(control_plane, **{"gw-a": "healthy", "gw-b": "healthy"})


def test_a_gateway_that_the_control_plane_knows_to_be_off_is_dead_at_once(served: Served) -> None:
    world, _, control_plane = served
    probing(control_plane, dead_after_ms=30_000, hold_down_seconds=1)
    open_kinds(world)
    publish(control_plane, "gw-a", down=True)
    wait_reset(world)
    wait_source(world, B)
    publish(control_plane, "gw-a", down=False)
    wait_source(world, A)


def test_a_gateway_that_leaves_is_dead_as_soon_as_it_is_silent(served: Served) -> None:
    world, _, control_plane = served
    probing(control_plane, dead_after_ms=30_000, hold_down_seconds=1)
    open_kinds(world)
    world["gw-a"]("answer_otherwise", flags=probe.FORWARDING | probe.LEAVING)
    wait_source(world, B)
    assert_still(world)
    cut(world, "gw-a")
    wait_reset(world)


def test_an_agent_killed_before_the_verdict_keeps_off_the_gateway_and_resets_after_its_restart(served: Served) -> None:
    world, node, control_plane = served
    probing(control_plane, dead_after_ms=2_000, hold_down_seconds=1)
    open_kinds(world)
    world["gw-a"].process.send_signal(signal.SIGSTOP)
    wait_reasons(control_plane, **{"gw-a": "silent"})
    wait_for(lambda: '"silent"' in (node.state_dir / "verdicts.json").read_text(), "it is kept")
    node.stop(signal.SIGKILL)
    cut(world, "gw-a")
    node.start(real=True)
    assert world["shop1"]("ask", to=OBSERVER, port=80, timeout=0.5) == B, "what was known is known"
    wait_reset(world)


def test_gateways_that_lost_the_internet_or_their_link(served: Served) -> None:
    world, _, control_plane = served
    open_kinds(world)
    lost = probe.FORWARDING | probe.NO_INTERNET
    world["gw-a"]("answer_otherwise", flags=lost)
    wait_source(world, B)
    wait_reasons(control_plane, **{"gw-a": "no_internet"})
    world["gw-b"]("answer_otherwise", flags=lost)
    wait_reasons(control_plane)
    assert world["shop1"]("ask", to=OBSERVER, port=80) in {A, B}, "lost on both: it is the targets that are at fault"
    for name in ("gw-a", "gw-b"):
        world[name]("answer_otherwise", flags=probe.FORWARDING | probe.NO_LINK)
    wait_reasons(control_plane, **{"gw-a": "no_link", "gw-b": "no_link"})
    wait_for(lambda: world["shop1"]("ask", to=OBSERVER, port=80) == "Connection refused", "no link on both: refused")
    assert_still(world)
