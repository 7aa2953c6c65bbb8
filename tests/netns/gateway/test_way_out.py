"""What a gateway says of its own way out, heard as its nodes hear it, while the way is cut in real ways."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from subprocess import Popen

import pytest

from egress.wire import probe

from .plane import PROBE_KEY, ControlPlane
from .world import OBSERVER, PRIVATE, PUBLIC, ROUTER, World, eventually, inside, run

pytestmark = pytest.mark.netns

KEY = bytes.fromhex(PROBE_KEY)
TARGETS = ("1.1.1.1", "8.8.8.8", "9.9.9.9")
#: Limits of the issue, for a gateway's own part of them: its nodes need some of the time, too. Generous here, since the
#: machine that runs the tests may be slow: what it takes is in docs/adr/0018.
GENEROUS_SECONDS = 30


class Ear:
    """A node that asks."""

    def __init__(self, world: World) -> None:
        self._socket = world.udp(world.node)

    def hear(self) -> probe.Answer | None:
        nonce = os.urandom(probe.NONCE_BYTES)
        self._socket.settimeout(1)
        try:
            self._socket.sendto(probe.request(KEY, nonce), (PRIVATE, probe.PORT))
            while True:
                answer = probe.read_answer(KEY, self._socket.recv(1000))
                if answer and answer.nonce == nonce:
                    return answer
        except OSError:
            return None

    def wait(self, what: str, wanted: Callable[[probe.Answer], bool], *, seconds: float = GENEROUS_SECONDS) -> float:
        """Return after how many seconds an answer was as wanted."""
        begun = time.monotonic()

        def so() -> bool:
            answer = self.hear()
            return answer is not None and wanted(answer)

        eventually(so, what=what, seconds=seconds)
        return time.monotonic() - begun

    def always(self, wanted: Callable[[probe.Answer], bool], *, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.hear()
            if answer is None or not wanted(answer):
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        self._socket.close()


def well(answer: probe.Answer) -> bool:
    return answer.flags == probe.FORWARDING


@pytest.fixture
def targets(world: World, plane: ControlPlane) -> ControlPlane:
    """Three hosts in the internet, which the gateway asks."""
    for address in TARGETS:
        run("ip", "-n", world.internet, "address", "add", f"{address}/32", "dev", "lo")
    plane.sync = replace(plane.sync, targets=TARGETS)
    return plane


@pytest.fixture
def ear(world: World, targets: ControlPlane, serving: Popen[bytes]) -> Iterator[Ear]:
    """A node, once the gateway has heard all targets."""
    eventually(lambda: targets.reports[-1].targets == dict.fromkeys(TARGETS, True), what="all targets heard")
    listening = Ear(world)
    listening.wait("all is well", well)
    yield listening
    listening.close()


def deaf(world: World, match: str) -> None:
    """Have the internet drop what `match` says, from now on."""
    rules = f"add table inet deaf\nadd chain inet deaf in {{ type filter hook prerouting priority -400; }}\n"
    text = rules + f"add rule inet deaf in {match} drop\n"
    run("ip", "netns", "exec", world.internet, "nft", "-f", "-", text=text)


def hearing(world: World) -> None:
    run("ip", "netns", "exec", world.internet, "nft", "delete", "table", "inet", "deaf")


def deaf_to_arp(world: World) -> None:
    """Let the next hop die behind a link that stays up: it answers nobody's ARP and takes nobody's packets."""
    text = "add table netdev gone\nadd chain netdev gone in { type filter hook ingress device eth0 priority 0; policy drop; }\n"
    run("ip", "netns", "exec", world.internet, "nft", "-f", "-", text=text)


def test_a_cut_public_link_is_told_and_heals(world: World, ear: Ear) -> None:
    run("ip", "-n", world.internet, "link", "set", "eth0", "down")
    print("cut", ear.wait("the link is lost", lambda a: not a.link))
    run("ip", "-n", world.internet, "link", "set", "eth0", "up")
    print("back", ear.wait("all is well again", well))
    assert world.tcp_source(world.node) == PUBLIC


def test_a_dead_next_hop_behind_a_good_link_is_told(world: World, ear: Ear) -> None:
    deaf_to_arp(world)
    print("gone", ear.wait("the next hop is lost", lambda a: not a.link))
    run("ip", "netns", "exec", world.internet, "nft", "delete", "table", "netdev", "gone")
    print("back", ear.wait("all is well again", well))


def test_unreachable_targets_behind_a_good_next_hop_are_told(world: World, ear: Ear, targets: ControlPlane) -> None:
    deaf(world, "icmp type echo-request")
    print("lost", ear.wait("the internet is lost", lambda a: not a.internet))
    answer = ear.hear()
    assert answer and answer.link and answer.forwarding
    eventually(lambda: not targets.reports[-1].internet and not any(targets.reports[-1].targets.values()))
    hearing(world)
    print("back", ear.wait("all is well again", well))
    eventually(lambda: targets.reports[-1].internet)
