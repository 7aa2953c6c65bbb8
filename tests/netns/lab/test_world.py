"""The world without dedicated egress: shared addresses, and everything that must stay local.

container ── node-1 (ptp)    ── eth0 198.51.100.21 ── internet ── observer 192.0.2.80
container ── node-2 (bridge) ── eth0 198.51.100.22 ──┘
              └ eth1 10.110.0.2N ── VPC
"""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from egress.lab.client import LabClient, LabError

from .conftest import Lab, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni]

NODES = {"node-1": "198.51.100.21", "node-2": "198.51.100.22"}
SERVE = ["python3", "-m", "http.server", "8000"]
Call = Callable[[LabClient], object]
FETCH = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).status)"


@pytest.fixture(scope="module")
def shop(lab: Lab) -> Iterator[dict[str, str]]:
    """A container of the app "shop" on each node, serving HTTP on port 8000; by node."""
    names = {node: lab.client.start_container("shop", node=node, command=SERVE) for node in NODES}
    for node in NODES:
        own = ["python3", "-c", FETCH, "http://127.0.0.1:8000/"]
        wait_for("its server is up", lambda node=node, own=own: lab.client.exec("shop", own, node=node).code == 0)
    yield names
    lab.client.stop_container("shop")


def address_of(lab: Lab, name: str) -> str:
    return next(one["address"] for one in lab.client.status()["containers"] if one["name"] == name)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("node", NODES)
def test_the_internet_sees_the_nodes_address(lab: Lab, shop: dict[str, str], node: str, kind: str) -> None:
    answers = lab.client.requests("shop", node=node, kind=kind, count=20)
    assert {(answer["address"], answer["error"]) for answer in answers} == {(NODES[node], "")}


def test_ip_asks_from_inside(lab: Lab, shop: dict[str, str]) -> None:
    assert [lab.client.ip("shop", node=node) for node in NODES] == list(NODES.values())


def test_every_public_address_answers(lab: Lab, shop: dict[str, str]) -> None:
    for kind in ("tcp", "udp"):
        (answer,) = lab.client.requests("shop", node="node-1", kind=kind, address="8.8.4.4")
        assert answer["address"] == NODES["node-1"]


def test_private_addresses_are_not_on_the_internet(lab: Lab, shop: dict[str, str]) -> None:
    (answer,) = lab.client.requests("shop", node="node-1", address="172.16.3.4")
    assert answer["error"]


def test_a_held_connection_lasts_its_time(lab: Lab, shop: dict[str, str]) -> None:
    (answer,) = lab.client.requests("shop", node="node-2", kind="hold", hold_seconds=1)
    assert answer["address"] == NODES["node-2"]


@pytest.mark.parametrize("node", NODES)
def test_services_metadata_and_pods_see_the_pods_own_address(lab: Lab, shop: dict[str, str], node: str) -> None:
    own = address_of(lab, shop[node])
    for address in ("10.96.0.10", "169.254.169.254"):
        (answer,) = lab.client.requests("shop", node=node, address=address)
        assert answer == answer | {"address": own, "error": ""}
    for other in shop.values():
        url = f"http://{address_of(lab, other)}:8000/"
        assert lab.client.exec("shop", ["python3", "-c", FETCH, url], node=node).stdout == "200\n"
    assert any(own in line for line in lab.client.container_log(shop[node]))


def test_the_internet_reaches_a_node_port(lab: Lab, shop: dict[str, str]) -> None:
    for port, name in enumerate(shop.values(), 30_080):
        at = lab.client.expose(name, node_port=port, port=8000)
        url = f"http://{at['address']}:{at['port']}/"
        assert lab.client.exec("observer", ["python3", "-c", FETCH, url]).stdout == "200\n"
        assert any("192.0.2.80" in line for line in lab.client.container_log(name))


def test_every_packet_is_counted_since_a_mark(lab: Lab, shop: dict[str, str]) -> None:
    lab.client.requests("shop", node="node-1", kind="udp", address="192.0.2.200", count=3)
    mark = lab.client.mark()
    lab.client.requests("shop", node="node-1", kind="udp", address="192.0.2.200", count=7)
    seen = lab.client.observed(mark)
    flows = {flow.direction: flow for flow in seen.flows if flow.destination == "192.0.2.200"}
    assert {name: flow.packets for name, flow in flows.items()} == {"out": 7, "in": 7}
    assert {(flow.source, flow.protocol, flow.port) for flow in flows.values()} == {(NODES["node-1"], "udp", 7)}
    assert [call.source for call in seen.calls if call.destination == "192.0.2.200"] == [NODES["node-1"]] * 7
    assert (seen.missed, seen.calls_lost) == (0, 0)


def test_fragments_are_counted_too(lab: Lab, shop: dict[str, str]) -> None:
    mark = lab.client.mark()
    send = "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(bytes(4000), ('192.0.2.201', 9))"
    assert lab.client.exec("shop", ["python3", "-c", send], node="node-1").code == 0
    flows = [flow for flow in lab.client.observed(mark).flows if flow.destination == "192.0.2.201"]
    assert sum(flow.packets for flow in flows if flow.direction == "out") == 3


def test_a_containers_command_runs_as_soon_as_it_is_wired(lab: Lab) -> None:
    mark = lab.client.mark()
    get = "import urllib.request as u; u.urlopen('http://192.0.2.202/', timeout=5)"
    name = lab.client.start_container("early", node="node-2", command=["python3", "-c", get])
    wait_for("its request", lambda: [c for c in lab.client.observed(mark).calls if c.destination == "192.0.2.202"])
    lab.client.stop_container(name)


def test_exec_passes_output_and_exit_code_on(lab: Lab, shop: dict[str, str]) -> None:
    pieces: list[tuple[str, str]] = []
    result = lab.client.exec(
        "shop-1", ["sh", "-c", "echo out; echo err >&2; exit 7"], on_output=lambda *piece: pieces.append(piece)
    )
    assert (result.code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert sorted(pieces) == [("stderr", "err\n"), ("stdout", "out\n")]
    assert lab.client.exec("shop-1", ["hostname"]).stdout == "shop-1\n"


def test_exec_ends_what_takes_too_long_and_what_nobody_waits_for(lab: Lab, shop: dict[str, str]) -> None:
    with pytest.raises(LabError, match=r"didn't end within 0\.3 s"):
        lab.client.exec("shop-1", ["sleep", "97531"], timeout_seconds=0.3)

    def leave(_: str, __: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        lab.client.exec("shop-1", ["sh", "-c", "echo here; exec sleep 97531"], on_output=leave)
    wait_for("they are killed", lambda: "97531" not in lab.client.exec("shop-1", ["ps", "ax"]).stdout)


def test_many_containers_at_once_get_addresses_of_their_own_and_leave_nothing(lab: Lab) -> None:
    before = lab.client.exec("node-1", ["sh", "-c", "ls /sys/class/net /run/netns | sort"]).stdout
    with ThreadPoolExecutor(6) as pool:
        names = list(pool.map(lambda _: lab.client.start_container("many", node="node-1"), range(12)))
    addresses = [one["address"] for one in lab.client.status()["containers"] if one["namespace"] == "many"]
    assert len(set(names)) == len(set(addresses)) == 12
    assert sorted(lab.client.stop_container("many")) == sorted(names)
    assert lab.client.exec("node-1", ["sh", "-c", "ls /sys/class/net /run/netns | sort"]).stdout == before


def test_the_runtimes_cache_is_libcnis(lab: Lab) -> None:
    name = lab.client.start_container("cached", node="node-2")
    show = "for file in /run/lab/nodes/node-2/cni/results/pods-*-eth0; do cat $file; echo; done"
    written = lab.client.exec("node-2", ["sh", "-c", show]).stdout
    entries = [json.loads(line) for line in written.splitlines()]
    (entry,) = (one for one in entries if ["K8S_POD_NAMESPACE", "cached"] in one["cniArgs"])
    (shown,) = (one for one in lab.client.status()["containers"] if one["name"] == name)
    assert (entry["kind"], entry["ifName"], entry["networkName"]) == ("cniCacheV1", "eth0", "pods")
    assert (entry["containerId"], entry["netns"]) == (shown["id"], shown["netns"])
    assert entry["result"]["ips"][0]["address"] == f"{shown['address']}/24"
    lab.client.stop_container(name)
    assert shown["id"] not in lab.client.exec("node-2", ["ls", "/run/lab/nodes/node-2/cni/results"]).stdout


def test_check_notices_what_was_altered(lab: Lab) -> None:
    name = lab.client.start_container("checked", node="node-2")
    lab.client.check_container(name)
    assert lab.client.exec(name, ["ip", "address", "flush", "dev", "eth0"]).code == 0
    with pytest.raises(LabError, match="refused CHECK"):
        lab.client.check_container(name)
    lab.client.stop_container(name)


def test_the_longest_namespace_name_works(lab: Lab) -> None:
    name = lab.client.start_container("x" * 63, node="node-1")
    assert lab.client.exec(name, ["hostname"]).stdout == "x" * 63 + "\n"
    lab.client.stop_container(name)


def test_a_refused_add_leaves_nothing(lab: Lab) -> None:
    leases = "/run/lab/nodes/node-1/cni/networks"
    fill = f"for i in $(seq 2 254); do echo x > {leases}/pods/10.244.1.$i; done"
    lab.client.start_container("space", node="node-1")
    names = "ls /run/netns"
    before = lab.client.exec("node-1", ["sh", "-c", f"cp -r {leases} /run/lab/kept; {fill}; {names}"])
    with pytest.raises(LabError, match=r"ptp refused ADD: .*no IP addresses available") as caught:
        lab.client.start_container("late", node="node-1")
    assert caught.value.code == "cni_error"
    put_back = f"rm -r {leases}; mv /run/lab/kept {leases}"
    assert lab.client.exec("node-1", ["sh", "-c", f"{put_back}; {names}"]).stdout == before.stdout
    lab.client.stop_container("space")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lab: lab.start_container("shop", node="nope"), "there is no node 'nope': node-1, node-2"),
        (lambda lab: lab.start_container("Shop!", node="node-1"), "'Shop!' is no name for a namespace"),
        (lambda lab: lab.ip("nobody"), r"no container of 'nobody' runs; running: .*shop-1 \(node-1\)"),
        (lambda lab: lab.stop_container("shop", node="nope"), "there is no node 'nope'"),
        (lambda lab: lab.observed("never"), "there is no mark 'never'"),
        (lambda lab: lab.exec("droplet-1", ["true"]), "there is no Droplet 1"),
        (lambda lab: lab.exec("shop-1", []), "argv must name a command"),
        (lambda lab: lab.call("nonsense"), "no command 'nonsense'"),
        (lambda lab: lab.call("exec", where="shop-1", argv="ls"), "argument argv must be a list"),
        (lambda lab: lab.call("status", verbose=True), "unknown argument verbose"),
        (lambda lab: lab.call("start-container", node="node-1"), "argument namespace is missing"),
        (lambda lab: lab.call("exec", where="shop-1", argv=["x" * 70_000]), "at most 65536 bytes"),
        (lambda lab: lab.agent("node-1", "kill"), "without node agents"),
        (lambda lab: lab.expose("shop-1", node_port=80, port=80), "30000-32767"),
    ],
)
def test_mistakes_get_clear_answers(lab: Lab, shop: dict[str, str], call: Call, message: str) -> None:
    with pytest.raises(LabError, match=message):
        call(lab.client)


def test_status_names_everything(lab: Lab, shop: dict[str, str]) -> None:
    status = lab.client.status()
    assert [(node["name"], node["network"], node["agent"]) for node in status["nodes"]] == [
        ("node-1", "ptp", "none"),
        ("node-2", "bridge", "none"),
    ]
    assert {one["name"] for one in status["containers"]} >= set(shop.values())


def test_callers_at_once_are_bounded_and_answered(lab: Lab, shop: dict[str, str]) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> int:
        barrier.wait(30)
        return lab.client.exec("shop-1", ["true"]).code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [0] * 8
