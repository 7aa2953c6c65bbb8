"""The whole agent: what it notes of pivots, how it meets a gateway that flaps, and liars in the VPC and on the node."""

import signal
import time

import pytest
from dataplane_world import OBSERVER, A, B, World
from served_world import cut, mend, probing, served, wait_health, wait_reasons, wait_source

from tests.unit.node.conftest import folder
from tests.unit.node.rig import Node, StandIn, wait_for

__all__ = ["folder", "served"]
pytestmark = pytest.mark.netns
Served = tuple[World, Node, StandIn]


def notes(control_plane: StandIn) -> list[tuple[str, str]]:
    """Return all pivots ever told, each once: the gateway and the reason, in the order of their numbers."""
    told = {pivot.number: pivot for report in control_plane.reports for pivot in report.pivots}
    assert sorted(told, key=lambda number: told[number].at) == sorted(told)
    return [(told[number].gateway, told[number].reason) for number in sorted(told)]


def test_an_outage_is_noted_with_the_nodes_own_times_while_nobody_listens_and_over_a_restart(served: Served) -> None:
    world, node, control_plane = served
    assert notes(control_plane) == [], "the first choice is no pivot"
    control_plane.away = True
    began = time.time() * 1000
    cut(world, "gw-a")
    wait_source(world, B)
    cut(world, "gw-b")
    wait_for(lambda: world["shop1"]("ask", to=OBSERVER, port=80, timeout=0.2) == "Connection refused", "an outage")
    notebook = node.state_dir / "pivots.json"
    wait_for(lambda: notebook.read_text().count('"at"') == 2, "it is on disk")
    node.stop(signal.SIGKILL)
    mend(world, "gw-b")
    node.start(real=True)
    wait_source(world, B)
    control_plane.away = False
    wait_for(lambda: [gateway for gateway, _ in notes(control_plane)] == ["gw-b", "", "gw-b"], "all of it is told")
    # Packets may take the new way a moment before its beginning is noted.
    ended = time.time() * 1000
    assert notes(control_plane)[0] == ("gw-b", "A silent, B active")
    times = sorted({pivot.at for report in control_plane.reports for pivot in report.pivots})
    assert began < times[0] < times[1] < times[2] < ended + 1
    wait_for(lambda: not control_plane.reports[-1].pivots, "what was acknowledged is told no more")
    numbers = [pivot.number for report in control_plane.reports for pivot in report.pivots]
    assert len(numbers) == len(set(numbers)), "and was told once"


def test_a_gateway_that_flaps_gets_nothing_new_until_it_has_been_well_for_long(served: Served) -> None:
    world, _, control_plane = served
    probing(control_plane, dead_after_ms=1_000, hold_down_seconds=3_600)
    for _ in range(3):
        world["gw-a"].process.send_signal(signal.SIGSTOP)
        wait_health(control_plane, **{"gw-a": "unhealthy", "gw-b": "healthy"})
        world["gw-a"].process.send_signal(signal.SIGCONT)
        wait_health(control_plane, **{"gw-a": "healthy", "gw-b": "healthy"})
        assert world["shop1"]("ask", to=OBSERVER, port=80) == B
    assert [gateway for gateway, _ in notes(control_plane)] == ["gw-b"]
    cut(world, "gw-b")
    wait_source(world, A)


def test_answers_that_were_recorded_are_no_sign_of_life(served: Served) -> None:
    """A host in the VPC that hears all and speaks as the gateway, from the right port."""
    world, _, control_plane = served
    world["vpc"]("record_answers", source="10.110.0.11")
    wait_for(lambda: world["vpc"]("recorded") > 20, "answers are recorded")
    cut(world, "gw-a")
    world["vpc"]("replay")
    wait_reasons(control_plane, **{"gw-a": "silent"})
    wait_reasons(control_plane, **{"gw-a": "dead"})
    wait_source(world, B)
    assert world["vpc"]("replayed") > 20


def test_a_container_that_speaks_as_a_gateway_brings_none_back(served: Served) -> None:
    """Even one that has got hold of the cluster's key: it doesn't see the nonces, nor what an echo must bear."""
    world, _, control_plane = served
    cut(world, "gw-a")
    wait_reasons(control_plane, **{"gw-a": "silent"})
    world["blog1"]("lie", source="10.110.0.11", to="10.110.0.21", key=control_plane.table.probe_key)
    wait_reasons(control_plane, **{"gw-a": "dead"})
    assert world["shop1"]("ask", to=OBSERVER, port=80) == B
