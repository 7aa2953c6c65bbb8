"""The node's metrics at its private address: for the VPC, and not for pods, which reach that address as well.

pod 10.244.1.5 ── eth-pod  node  eth1 10.110.0.21 ── 10.110.0.5 vpc (Prometheus)
"""

import contextlib
import http.client
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from egress.wire.scrape import PORT
from tests.exposed import ROOT
from tests.machine import no_namespaces
from tests.netns.gateway.world import eventually, inside, process, run

pytestmark = pytest.mark.netns

NODE, PROMETHEUS, POD = "10.110.0.21", "10.110.0.5", "10.244.1.5"
TOKEN = "a-token-for-metrics-0123456789"
_numbers = itertools.count()
#: The listener of the real agent, with a page of one line.
SERVER = """
import asyncio, sys
from egress.node import metrics
from egress.node.config import Config
metrics.page_of = lambda view: {}
metrics.render = lambda page: "it 1\\n"
config = Config(name="n", control_plane_url="https://x", join_token_file="/x", private_interface="eth1",
                private_address="10.110.0.21", metrics_address=sys.argv[1], metrics_token_file=sys.argv[2])
asyncio.run(metrics.Exporter(config, lambda: None).run())
"""


@dataclass
class Place:
    node: str
    vpc: str
    pod: str


@pytest.fixture
def place() -> Iterator[Place]:
    if reason := no_namespaces():
        pytest.skip(reason)
    prefix = f"sgt-{os.getpid()}-m{next(_numbers)}"
    found = Place(*(f"{prefix}-{name}" for name in ("node", "vpc", "pod")))
    with contextlib.ExitStack() as stack:
        for name in (found.node, found.vpc, found.pod):
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "del", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        _leg(found.node, "eth1", f"{NODE}/20", found.vpc, f"{PROMETHEUS}/20")
        _leg(found.node, "eth-pod", "10.244.1.1/24", found.pod, f"{POD}/24")
        run("ip", "-n", found.pod, "route", "add", "default", "via", "10.244.1.1")
        yield found


def _leg(node: str, interface: str, address: str, other: str, others: str) -> None:
    run("ip", "-n", node, "link", "add", interface, "type", "veth", "peer", "eth0", "netns", other)
    for namespace, name, own in ((node, interface, address), (other, "eth0", others)):
        run("ip", "-n", namespace, "address", "add", own, "dev", name)
        run("ip", "-n", namespace, "link", "set", name, "up")


def ask(namespace: str, at: str, *, token: str = TOKEN) -> int:
    """Return the answer's status; 0 when nobody answers."""

    def get() -> int:
        connection = http.client.HTTPConnection(at, PORT, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status

    try:
        return inside(namespace, get)
    except OSError:
        return 0


@contextlib.contextmanager
def exporting(place: Place, tmp_path: Path, address: str) -> Iterator[None]:
    (tmp_path / "token").write_text(TOKEN)
    words = ("env", "-C", str(ROOT), sys.executable, "-c", SERVER, address, str(tmp_path / "token"))
    with process(place.node, *words, log=tmp_path / "log"):
        asker = place.vpc if address == NODE else place.node
        eventually(lambda: ask(asker, address) == 200, what="a page")
        yield


def test_at_the_private_address_the_vpc_is_answered_and_pods_are_not(place: Place, tmp_path: Path) -> None:
    with exporting(place, tmp_path, NODE):
        assert ask(place.vpc, NODE) == 200
        assert ask(place.vpc, NODE, token="wrong") == 401
        assert ask(place.pod, NODE) == 0
        assert ask(place.pod, "10.244.1.1") == 0
    # It is the listener that refuses the pod, not the way there.
    words = ("env", "-C", str(tmp_path), sys.executable, "-m", "http.server", "--bind", NODE, str(PORT))
    with process(place.node, *words, log=tmp_path / "log"):
        eventually(lambda: ask(place.pod, NODE), what="an answer of a listener that isn't bound to the interface")


def test_on_loopback_nobody_outside_is_answered(place: Place, tmp_path: Path) -> None:
    with exporting(place, tmp_path, "127.0.0.1"):
        assert ask(place.vpc, NODE) == 0
        assert ask(place.pod, NODE) == 0
        assert ask(place.node, "127.0.0.1") == 200
