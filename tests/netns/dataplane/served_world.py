"""The whole agent on n1, with gateways that answer its probes: what tests of pivots share."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dataplane_world import N1, OBSERVER, A, B, World

from egress.wire.messages import Probing, Route, RouteGateway
from tests.unit.node.rig import Node, StandIn, ptp_result, table, wait_acknowledged, wait_for

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


def wait_reasons(control_plane: StandIn, **reasons: str) -> None:
    wait_for(lambda: control_plane.reports[-1].reasons == reasons, f"{reasons} is reported")


def probing(control_plane: StandIn, **terms: int) -> None:
    """Have the node judge by these settings."""
    told = control_plane.table
    control_plane.table = replace(told, settings=replace(told.settings, probing=Probing(**terms)))
    _republish(control_plane, told.routes)


def publish(control_plane: StandIn, gateway: str, **terms: object) -> None:
    """Tell the node of a change of one gateway."""
    (route,) = control_plane.table.routes
    gateways = tuple(replace(each, **terms) if each.id == gateway else each for each in route.gateways)
    _republish(control_plane, (replace(route, gateways=gateways),))


def _republish(control_plane: StandIn, routes: tuple[Route, ...]) -> None:
    control_plane.publish(*routes)
    wait_acknowledged(control_plane, control_plane.table.revision)


def cut(world: World, name: str) -> None:
    """Cut a gateway off from both sides, as a loss of power does."""
    for hub in ("vpc", "net"):
        world.ip(hub, f"link set p-{name} down")


def mend(world: World, name: str) -> None:
    for hub in ("vpc", "net"):
        world.ip(hub, f"link set p-{name} up")
