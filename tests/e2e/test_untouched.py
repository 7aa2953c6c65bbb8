"""Only the internet is diverted: every other destination sees of an enabled app's containers what it saw before.

shop-api ─┬─ docs-site, same node (10.244.N.x)         node fra1-w1 10.110.0.21 (ptp)
          ├─ docs-site, other node                     node fra1-w2 10.110.0.22 (bridge)
          ├─ both nodes (:10080)                       VPC machine 10.110.0.9
          ├─ metadata address 169.254.169.254          service 10.96.0.10 ── DNAT ── 10.110.0.21:10080
          └─ load balancer 192.0.2.200 ── DNAT ── 10.110.0.21:10080
observer 192.0.2.80 ── node's public address, node port ── DNAT ── shop-api
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from portal.demo.stack import NODES
from tests.e2e.system import NODE_NAMES, System, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP, NEIGHBOUR = "shop-api", "docs-site"
PORT, NODE_PORT, BACKEND_PORT = 8080, 31080, 10_080
VPC_MACHINE, SERVICE, METADATA, LOAD_BALANCER = "10.110.0.9", "10.96.0.10", "169.254.169.254", "192.0.2.200"
#: Answers with the address that it sees of the caller.
SERVER = f"""
import socketserver
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(f"HTTP/1.1 200 OK\\r\\n\\r\\n{{self.client_address[0]}}\\n".encode())
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", {PORT}), Answer).serve_forever()
"""
#: What a cluster's software does with the address of a load balancer of its own.
LOAD_BALANCER_TABLE = f"""table ip sgt_lb {{
    chain prerouting {{ type nat hook prerouting priority dstnat;
        ip daddr {LOAD_BALANCER} tcp dport 80 dnat to {NODES[0].private_address}:{BACKEND_PORT}
    }}
}}"""


@dataclass(frozen=True)
class World:
    """Containers that serve, by node: the app's own and the neighbour's, as name and address."""

    system: System
    own: dict[str, tuple[str, str]]
    neighbours: dict[str, tuple[str, str]]


def run(system: System, where: str, *argv: str) -> str:
    done = system.lab.exec(where, argv)
    assert done.code == 0, done.stderr
    return done.stdout.strip()


def start_server(system: System, app: str, node: str) -> tuple[str, str]:
    name = system.lab.start_container(app, node=node, command=("python3", "-c", SERVER))
    address = next(one["address"] for one in system.lab.status()["containers"] if one["name"] == name)
    return name, address


@pytest.fixture(scope="module")
def world(system: System) -> Iterator[World]:
    """Everything that the app talks to, beside the internet."""
    own = {node: start_server(system, APP, node) for node in NODE_NAMES}
    neighbours = {node: start_server(system, NEIGHBOUR, node) for node in NODE_NAMES}
    for number, node in enumerate(NODES):
        run(system, node.name, "nft", LOAD_BALANCER_TABLE)
        system.lab.expose(own[node.name][0], node_port=NODE_PORT + number, port=PORT)
    stop_vpc_machine = start_vpc_machine(system)
    yield World(system, own, neighbours)
    run(system, "vpc", "sh", "-c", stop_vpc_machine)
    for number, node in enumerate(NODES):
        run(system, node.name, "nft", "delete table ip sgt_lb")
        run(system, node.name, "nft", f"delete element ip kube node_ports {{ {NODE_PORT + number} }}")
    for name, _ in (*own.values(), *neighbours.values()):
        system.lab.stop_container(name)


def start_vpc_machine(system: System) -> str:
    """Let the VPC's switch be a machine with a server as well; returns the command that undoes it."""
    steps = [f"ip address add {VPC_MACHINE}/20 dev vpc0"]
    steps += [f"ip route add {node.pod_network} via {node.private_address}" for node in NODES]
    run(system, "vpc", "sh", "-ec", "\n".join(steps))
    pid = run(system, "vpc", "sh", "-c", 'setsid python3 -c "$0" >/dev/null 2>&1 & echo $!', SERVER)
    routes = "; ".join(f"ip route del {node.pod_network}" for node in NODES)
    return f"kill {pid}; {routes}; ip address del {VPC_MACHINE}/20 dev vpc0"


def destinations(world: World, node: str) -> dict[str, tuple[str, int]]:
    """Return all destinations of a container on `node`, by what they are."""
    (here,) = (each for each in NODES if each.name == node)
    (other,) = (each for each in NODES if each.name != node)
    return {
        "pod on the same node": (world.neighbours[here.name][1], PORT),
        "pod on the other node": (world.neighbours[other.name][1], PORT),
        "own pod on the other node": (world.own[other.name][1], PORT),
        "its node": (here.private_address, BACKEND_PORT),
        "the other node": (other.private_address, BACKEND_PORT),
        "a machine in the VPC": (VPC_MACHINE, PORT),
        "the metadata address": (METADATA, 80),
        "a service": (SERVICE, 80),
        "a load balancer's address": (LOAD_BALANCER, 80),
    }


def outbound(world: World) -> dict[tuple[str, str], str]:
    """Return what every destination sees of the app's container on every node."""
    return {
        (node, what): ask(world.system, name, *destination)
        for node, (name, _) in world.own.items()
        for what, destination in destinations(world, node).items()
    }


def inbound(world: World) -> dict[str, tuple[str, set[str]]]:
    """Return, for every node, what the app sees of the internet that calls it, and where its answers come from."""
    seen = {}
    for number, node in enumerate(NODES):
        mark = world.system.lab.mark()
        caller = ask(world.system, "observer", node.public_address, NODE_PORT + number)
        seen[node.name] = caller, world.system.sources(mark)
    return seen


def ask(system: System, where: str, address: str, port: int) -> str:
    def answer() -> str | None:
        (made,) = system.lab.requests(where, address=address, port=port)
        # Only a server that is still starting may refuse.
        assert not made["error"] or "refused" in made["error"].lower(), f"{where} to {address}: {made['error']}"
        return str(made["address"])

    return wait_for(f"{where} is answered by {address}", answer, 20)


@dataclass(frozen=True)
class Sights:
    """What was seen before enabling and while it was on, also of containers that started only then."""

    addresses: set[str]
    internet: set[str]
    before: dict[tuple[str, str], str]
    after: dict[tuple[str, str], str]
    inbound_before: dict[str, tuple[str, set[str]]]
    inbound_after: dict[str, tuple[str, set[str]]]
    later: World
    seen_of_later: dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def sights(world: World) -> Iterator[Sights]:
    """Look, enable, look again."""
    system = world.system
    before, inbound_before = outbound(world), inbound(world)
    addresses = system.enable(APP)
    later = World(system, {node: start_server(system, APP, node) for node in NODE_NAMES}, world.neighbours)
    try:
        yield Sights(
            addresses=addresses,
            internet=system.seen_from_all_nodes(APP, "tcp", 10)
            | set().union(*(system.seen(name, "tcp", 10) for name, _ in later.own.values())),
            before=before,
            after=outbound(world),
            inbound_before=inbound_before,
            inbound_after=inbound(world),
            later=later,
            seen_of_later=outbound(later),
        )
    finally:
        for name, _ in later.own.values():
            system.lab.stop_container(name)
        system.disable(APP)


def test_the_internet_is_diverted(sights: Sights) -> None:
    assert sights.internet == sights.addresses


def test_every_other_destination_sees_what_it_saw_before(world: World, sights: Sights) -> None:
    assert sights.before == {(node, what): world.own[node][1] for node, what in sights.before}
    assert sights.after == sights.before


def test_replies_to_inbound_connections_go_the_way_they_went(sights: Sights) -> None:
    assert sights.inbound_before == {node.name: ("192.0.2.80", {node.public_address}) for node in NODES}
    assert sights.inbound_after == sights.inbound_before


def test_containers_that_start_later_reach_all_of_it_as_well(sights: Sights) -> None:
    assert sights.seen_of_later == {(node, what): sights.later.own[node][1] for node, what in sights.seen_of_later}
    assert sights.seen_of_later.keys() == sights.before.keys()
