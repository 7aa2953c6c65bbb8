"""The canary: a packet through the node's real network tells whether dedicated egress can work there.

container ── ptp, bridge, macvlan … ── sgt-…-n eth0 ── sgt-…-w 198.51.100.1 (the internet, with a sniffer)
"""

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from egress.lab import bypass
from egress.node import canary
from egress.node.netns import entered
from egress.wire.messages import NodeReport
from tests.unit.node.rig import route, wait_for

from .conftest import NETNS, ChainError, Runtime, ip

pytestmark = [pytest.mark.netns, pytest.mark.cni]
MACVLAN = {"type": "macvlan", "master": "eth0", "mode": "bridge"}
NOTRACK = "table ip raw { chain pre { type filter hook prerouting priority raw; ip saddr 10.244.0.0/16 notrack; }; }"


class Wire:
    """What arrives on the internet's side: pairs of source and destination."""

    def __init__(self, place: str) -> None:
        with (NETNS / place).open() as namespace, ThreadPoolExecutor(1) as elsewhere:
            self._socket = elsewhere.submit(self._open, namespace.fileno()).result(10)
        self._stop, self._stopping = os.pipe()
        self.seen: set[tuple[str, str]] = set()
        self._thread = threading.Thread(target=self._sniff, daemon=True)
        self._thread.start()

    @staticmethod
    def _open(namespace: int) -> socket.socket:
        with entered(namespace):
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            wire.bind(("wire", 0))
            return wire

    def _sniff(self) -> None:
        while self._stop not in select.select([self._socket, self._stop], [], [])[0]:
            packet = self._socket.recv(200)[14:]
            self.seen.add((socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])))

    def close(self) -> None:
        os.write(self._stopping, b"x")
        self._thread.join(10)
        self._socket.close()
        os.close(self._stop)
        os.close(self._stopping)


@pytest.fixture
def wire(runtime: Runtime) -> Iterator[Wire]:
    """The node's way to the internet, watched; the node is to prove its network."""
    runtime.node.canary = True
    node, net = f"{runtime.prefix}-n", f"{runtime.prefix}-w"
    ip("netns", "add", net)
    runtime.made.append(net)
    ip("-n", node, "link", "add", "eth0", "type", "veth", "peer", "name", "wire", "netns", net)
    ip("-n", net, "address", "add", "198.51.100.1/24", "dev", "wire")
    ip("-n", net, "link", "set", "wire", "up")
    ip("-n", node, "address", "add", "198.51.100.21/24", "dev", "eth0")
    ip("-n", node, "link", "set", "eth0", "up")
    ip("-n", node, "route", "add", "default", "via", "198.51.100.1")
    main = runtime.conflist["plugins"][0]
    main["ipam"] = {**main["ipam"], "routes": [{"dst": "0.0.0.0/0"}]}
    watched = Wire(net)
    yield watched
    watched.close()


def stand_on(runtime: Runtime, kind: str) -> None:
    """Change the network into one of another kind."""
    plugins = runtime.conflist["plugins"]
    if kind == "macvlan":
        plugins[0] = {**MACVLAN, "ipam": plugins[0]["ipam"]}
    if kind == "bypass":
        script = runtime.node.plugin.parent / "bypass"
        script.write_text(f"#!/bin/sh\nexec {sys.executable} -I {bypass.__file__}\n")
        script.chmod(stat.S_IRWXU)
        plugins.append({"type": "bypass"})
    if kind == "notrack":
        in_node(runtime, "nft", NOTRACK)


def in_node(runtime: Runtime, *command: str) -> str:
    place = ["nsenter", f"--net={runtime.node.netns}"]
    return subprocess.run([*place, *command], check=True, capture_output=True, text=True, timeout=30).stdout


def reports(runtime: Runtime) -> list[NodeReport]:
    return list(runtime.control_plane.reports)


def told(runtime: Runtime, dataplane: str) -> NodeReport:
    """Wait for a report that says so, and return the latest."""
    wait_for(lambda: reports(runtime) and reports(runtime)[-1].dataplane == dataplane, f"the report says {dataplane}")
    return reports(runtime)[-1]


def leaves_nothing(runtime: Runtime) -> None:
    wait_for(lambda: runtime.leases == [], "its address is given back")
    assert canary.TABLE not in in_node(runtime, "nft", "list", "tables")
    assert " veth" not in in_node(runtime, "ip", "-o", "link", "show"), "the plugins name their own so"


def test_a_supported_network_is_found_so_and_nothing_of_the_canary_stays(runtime: Runtime, wire: Wire) -> None:
    runtime.install()
    runtime.node.start()
    assert told(runtime, "ok").detail == ""
    leaves_nothing(runtime)
    assert {pair for pair in wire.seen if pair[1] == canary.DESTINATION} == set()
    assert runtime.add(runtime.container())["ips"]


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("macvlan", "it gives containers no interface on the host"),
        ("bypass", "containers' packets to the internet pass by this node's netfilter"),
        ("notrack", "conntrack doesn't follow containers' packets"),
    ],
)
def test_an_unsupported_network_is_told_and_enabled_apps_do_not_start_there(
    runtime: Runtime, wire: Wire, kind: str, words: str
) -> None:
    stand_on(runtime, kind)
    runtime.install()
    runtime.node.start()
    assert words in told(runtime, "unsupported").detail
    leaves_nothing(runtime)
    name = runtime.container()
    with pytest.raises(ChainError) as caught:
        runtime.add(name)
    assert caught.value.answer["code"] == 100
    assert words in caught.value.answer["details"] + caught.value.answer["msg"]
    runtime.run("DEL", name)
    other = runtime.container()
    result = runtime.add(other, namespace="docs")
    wait_for(lambda: reports(runtime)[-1].containers == {"docs": 1}, "its containers are counted all the same")
    # A new agent finds it again.
    runtime.node.stop(signal.SIGKILL)
    before = len(reports(runtime))
    runtime.node.start()
    wait_for(lambda: reports(runtime)[before:] and reports(runtime)[-1].containers == {"docs": 1}, "it is found again")
    runtime.run("DEL", other, namespace="docs", previous=result)


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
def test_why_it_matters_there_an_app_that_is_enabled_goes_on_past_all_rules(runtime: Runtime, wire: Wire) -> None:
    """With the real data plane: what it would drop, for its gateways don't answer, gets out all the same."""
    stand_on(runtime, "bypass")
    runtime.install()
    ip("-n", f"{runtime.prefix}-n", "link", "add", "eth1", "type", "veth", "peer", "name", "vpc")
    ip("-n", f"{runtime.prefix}-n", "address", "add", "10.110.0.21/20", "dev", "eth1")
    for name in ("eth1", "vpc"):
        ip("-n", f"{runtime.prefix}-n", "link", "set", name, "up")
    runtime.control_plane.publish()
    runtime.node.start(real=True)
    told(runtime, "unsupported")
    assert (runtime.node.state_dir / "namespaces").read_text().count("\n") == 1
    name = runtime.container()
    address = runtime.add(name)["ips"][0]["address"].split("/")[0]
    runtime.control_plane.publish(route("shop"))
    wait_for(lambda: "shop" in (runtime.node.state_dir / "namespaces").read_text(), "the app is enabled")
    wait_for(lambda: "goto pair_1" in in_node(runtime, "nft", "list", "table", "inet", "sluicegate"), "rules stand")
    wire.seen.clear()
    subprocess.run(["nsenter", f"--net={NETNS / name}", sys.executable, "-c", SEND], check=True, timeout=30)
    wait_for(lambda: (address, "192.0.2.80") in wire.seen, "the packet is seen outside")


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
def test_without_a_network_the_node_is_starting_until_there_is_one(runtime: Runtime, wire: Wire) -> None:
    assert wire
    runtime.node.start()
    # Its first report may come before it has looked.
    wait_for(lambda: "holds no network yet" in told(runtime, "starting").detail, "the report says why")
    assert runtime.run("ADD", runtime.container(), namespace="docs")["ips"], "others' containers don't wait for it"
    runtime.install()
    told(runtime, "ok")


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
def test_a_network_that_changes_is_proven_anew(runtime: Runtime, wire: Wire) -> None:
    assert wire
    runtime.install()
    runtime.node.start()
    told(runtime, "ok")
    stand_on(runtime, "bypass")
    runtime.install()
    told(runtime, "unsupported")
    runtime.conflist["plugins"].pop()
    runtime.install()
    told(runtime, "ok")


SEND = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.80', 7))"


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
def test_a_container_of_an_unsupported_network_stays_in_doubt_once_it_is_mended(runtime: Runtime, wire: Wire) -> None:
    """And no other does: not who came before, not who comes after."""
    runtime.install()
    runtime.node.start()
    told(runtime, "ok")
    before, bad, after = (runtime.container() for _ in range(3))
    runtime.add(before, namespace="docs")
    # At once: the agent doesn't look round between the two.
    stand_on(runtime, "bypass")
    runtime.install()
    told(runtime, "unsupported")
    result = runtime.add(bad, namespace="mail")
    runtime.conflist["plugins"].pop()
    runtime.install()
    assert told(runtime, "ok").in_doubt == {"mail": 1}
    runtime.add(after, namespace="shop")
    wait_for(lambda: reports(runtime)[-1].containers == {"docs": 1, "mail": 1, "shop": 1}, "all are counted")
    assert reports(runtime)[-1].in_doubt == {"mail": 1}
    # It is so: its packets still go past netfilter.
    address = result["ips"][0]["address"].split("/")[0]
    subprocess.run(["nsenter", f"--net={NETNS / bad}", sys.executable, "-c", SEND], check=True, timeout=30)
    wait_for(lambda: (address, "192.0.2.80") in wire.seen, "the packet is seen outside, untranslated")

    runtime.node.stop(signal.SIGKILL)
    seen = len(reports(runtime))
    runtime.node.start()
    wait_for(lambda: reports(runtime)[seen:] and reports(runtime)[-1].in_doubt == {"mail": 1}, "a new agent knows it")
    runtime.run("DEL", bad, namespace="mail", previous=result)
    wait_for(lambda: reports(runtime)[-1].in_doubt == {}, "it is gone, and with it the doubt")


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
def test_an_enabled_app_starts_nothing_on_a_network_that_changed_before_it_is_proven(
    runtime: Runtime, wire: Wire
) -> None:
    assert wire
    runtime.control_plane.publish(route("shop"))
    runtime.install()
    runtime.node.start()
    told(runtime, "ok")
    assert runtime.add(runtime.container())["ips"]
    stand_on(runtime, "bypass")
    runtime.install()
    with pytest.raises(ChainError) as caught:
        runtime.add(runtime.container())
    assert caught.value.answer["code"] in {11, 100}


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
def test_what_a_killed_canary_left_is_cleared_away_by_the_next(runtime: Runtime, wire: Wire) -> None:
    assert wire
    # A plugin that never ends holds the canary in the middle: its address is taken, its namespace there.
    stuck = runtime.node.plugin.parent / "stuck"
    stuck.write_text('#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\necho $$ > "$0.pid"\nexec sleep 60\n')
    stuck.chmod(stat.S_IRWXU)
    runtime.conflist["plugins"].append({"type": "stuck"})
    runtime.install()
    runtime.node.start()
    pid = wait_for(lambda: Path(f"{stuck}.pid").exists() and Path(f"{stuck}.pid").read_text(), "the canary hangs")
    assert len(runtime.leases) == 1
    runtime.node.stop(signal.SIGKILL)
    os.kill(int(pid), signal.SIGKILL)
    assert len(runtime.leases) == 1
    runtime.conflist["plugins"].pop()
    runtime.install()
    runtime.node.start()
    told(runtime, "ok")
    leaves_nothing(runtime)


@pytest.mark.parametrize("runtime", ["ptp"], indirect=True)
def test_a_node_that_was_found_supported_needs_no_canary_to_start_containers_again(
    runtime: Runtime, wire: Wire
) -> None:
    """Its addresses are used up, so none can be sent; its containers live, and so does its app's egress."""
    assert wire
    runtime.install()
    runtime.node.start()
    told(runtime, "ok")
    runtime.node.stop(signal.SIGKILL)
    main = runtime.conflist["plugins"][0]
    taken = Path(main["ipam"]["dataDir"], "pods")
    for number in range(1, 255):
        (taken / f"10.244.1.{number}").write_text("someone\neth0")
    before = len(reports(runtime))
    runtime.node.start()
    wait_for(lambda: "no canary can be sent" in runtime.node.log, "the canary is refused an address")
    wait_for(lambda: reports(runtime)[before:], "the node reports")
    assert {report.dataplane for report in reports(runtime)[before:]} <= {"ok", "starting"}
    told(runtime, "ok")


def test_the_conflist_is_the_one_with_our_plugin(tmp_path: Path) -> None:
    from egress.node.cni_chain import read_network

    for name, kinds in {"05-other": ["bridge"], "10-pods": ["ptp", "sluicegate"]}.items():
        plugins = [{"type": kind} for kind in kinds]
        content = {"cniVersion": "1.0.0", "name": name, "plugins": plugins}
        (tmp_path / f"{name}.conflist").write_text(json.dumps(content))
    network = read_network(tmp_path)
    assert (network.name, [plugin["type"] for plugin in network.plugins]) == ("10-pods", ["ptp"])
