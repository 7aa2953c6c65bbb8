"""The whole agent, with gateways that fall silent: what becomes of new connections and of those that exist."""

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dataplane_world import N1, OBSERVER, A, B, World

from egress.wire.messages import Probing, Route, RouteGateway
from tests.unit.node.conftest import folder
from tests.unit.node.rig import Node, StandIn, ptp_result, table, wait_for

__all__ = ["folder"]
pytestmark = pytest.mark.netns
GATEWAYS = {"gw-a": ("10.110.0.11", A), "gw-b": ("10.110.0.12", B)}


@pytest.fixture
def served(pods: World, folder: Path) -> Iterator[tuple[World, Node, StandIn]]:
    """The world with the agent on n1, in sync, and both gateways found healthy."""
    netns = f"/run/netns/{pods.ns('n1')}"
    gateways = tuple(
        RouteGateway(id=name, slot=slot, private_address=private, public_address=public)
        for slot, (name, (private, public)) in enumerate(GATEWAYS.items())
    )
    with contextlib.ExitStack() as cleanup:
        pods.ip("n1", "link set lo up")
        control_plane = StandIn(folder, netns=netns)
        told = table(Route(namespace="shop", pair=7, state="active", gateways=gateways))
        control_plane.table = replace(told, settings=replace(told.settings, probing=Probing(hold_down_seconds=1)))
        control_plane.start()
        cleanup.callback(control_plane.stop)
        node = Node(folder / "node", f"https://localhost:{control_plane.port}", control_plane.ca_file, netns=netns)
        cleanup.callback(lambda: node.agent and node.stop())
        for name, pod in pods.pods.items():
            if not pod["bridge"]:
                (node.cache_dir / name).write_text(json.dumps(cached(pods, name)))
        for name, (private, _) in GATEWAYS.items():
            pods[name]("answer_probes", host=private, key=control_plane.table.probe_key)
        node.start(real=True)
        wait_health(control_plane, **{"gw-a": "healthy", "gw-b": "healthy"})
        assert pods["shop1"]("ask", to=OBSERVER, port=80) == A
        yield pods, node, control_plane


def cached(world: World, name: str) -> dict[str, object]:
    pod = world.pods[name]
    netns = f"/run/netns/{world.ns(name)}"
    return {
        "kind": "cniCacheV1",
        "containerId": name,
        "ifName": "eth0",
        "networkName": "pods",
        "netns": netns,
        "cniArgs": [["K8S_POD_NAMESPACE", pod["namespace"]]],
        "result": ptp_result(pod["address"], netns=netns, veth=pod["interface"]),
    }


def wait_health(control_plane: StandIn, **health: str) -> None:
    wait_for(lambda: control_plane.reports and control_plane.reports[-1].gateways == health, f"{health} is reported")


def wait_source(world: World, source: str) -> None:
    """Ask until the answer is `source`; until then it is the other gateway's, or none, but never the node's."""

    def asked() -> bool:
        answer = world["shop1"]("ask", to=OBSERVER, port=80, timeout=0.2)
        assert answer != N1
        return answer == source

    wait_for(asked, f"new connections leave from {source}")


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
