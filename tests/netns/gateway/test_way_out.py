"""What a gateway says of its own way out, heard as its nodes hear it, while the way is cut in real ways."""

import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from subprocess import Popen

import pytest

from egress.gateway import kernel
from tests.netns.hostile import frames as f

from .ear import (
    TARGETS,
    Ear,
    add_targets,
    deafen,
    no_internet,
    no_link,
    plug_in_next_hop,
    undeafen,
    unplug_next_hop,
    well,
)
from .plane import ControlPlane
from .world import NODE, PUBLIC, ROUTER, World, eventually, inside, run

pytestmark = pytest.mark.netns

#: A gateway's own questions; a client's pings here are longer.
OWN = "icmp type echo-request meta length 44"


@pytest.fixture
def targets(world: World, plane: ControlPlane) -> ControlPlane:
    add_targets(world)
    plane.sync = replace(plane.sync, targets=TARGETS)
    return plane


@pytest.fixture
def ear(world: World, targets: ControlPlane, serving: Popen[bytes]) -> Iterator[Ear]:
    """A node, once the gateway has heard all targets, and its next hop many times."""
    eventually(lambda: targets.reports[-1].targets == dict.fromkeys(TARGETS, True), what="all targets heard")
    listening = Ear(world)
    listening.wait("all is well", well)
    yield listening
    listening.close()


def set_link(world: World, state: str) -> None:
    run("ip", "-n", world.internet, "link", "set", "eth0", state)


def test_a_cut_public_link_is_told_and_heals(world: World, targets: ControlPlane, ear: Ear) -> None:
    set_link(world, "down")
    ear.wait("the link is lost", no_link)
    set_link(world, "up")
    ear.wait("all is well again", well)
    assert world.tcp_source(world.node) == PUBLIC
    eventually(lambda: targets.reports[-1].link)


def test_a_link_that_flaps_is_lost_once_and_not_trusted_before_it_is_steady(world: World, ear: Ear) -> None:
    stop = threading.Event()

    def flap() -> None:
        while not stop.is_set():
            set_link(world, "down")
            stop.wait(0.2)
            set_link(world, "up")
            stop.wait(0.4)

    flapping = threading.Thread(target=flap)
    flapping.start()
    try:
        ear.wait("the link is lost", no_link)
        steadily = ear.always(no_link, seconds=4)
    finally:
        stop.set()
        flapping.join()
    assert steadily
    ear.wait("all is well again", well)


def test_a_next_hop_that_is_gone_behind_a_good_link_is_told_and_heals(world: World, ear: Ear) -> None:
    unplug_next_hop(world)
    ear.wait("the next hop is lost", no_link)
    plug_in_next_hop(world)
    ear.wait("all is well again", well)


def test_no_internet_behind_a_good_next_hop_is_told_reported_and_heals(
    world: World, targets: ControlPlane, ear: Ear
) -> None:
    deafen(world, OWN)
    ear.wait("the internet is lost", no_internet)
    answer = ear.hear()
    assert answer
    assert (answer.forwarding, answer.link) == (True, True)
    eventually(lambda: not targets.reports[-1].internet)
    assert targets.reports[-1].targets == dict.fromkeys(TARGETS, False)
    assert world.tcp_source(world.node) == PUBLIC, "it goes on forwarding"
    undeafen(world)
    ear.wait("all is well again", well)
    eventually(lambda: targets.reports[-1].internet)


def test_one_target_that_answers_is_enough(world: World, targets: ControlPlane, ear: Ear) -> None:
    deafen(world, f"ip daddr {{ {TARGETS[0]}, {TARGETS[2]} }} {OWN}")
    assert ear.always(well, seconds=5)
    eventually(lambda: targets.reports[-1].targets == {TARGETS[0]: False, TARGETS[1]: True, TARGETS[2]: False})
    assert targets.reports[-1].internet


def test_no_targets_no_opinion_and_another_list_counts_at_once(world: World, targets: ControlPlane, ear: Ear) -> None:
    targets.set_targets()
    eventually(lambda: targets.acknowledged == targets.sync.revision)
    deafen(world, OWN)
    assert ear.always(well, seconds=4.5)
    targets.set_targets(TARGETS[0])
    ear.wait("the internet is lost", no_internet)


def test_targets_are_asked_once_a_second_at_most_and_from_the_public_address_only(world: World, ear: Ear) -> None:
    with inside(world.internet, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as camera:
        begun = time.monotonic()
        asked: list[tuple[str, str]] = []
        while time.monotonic() < begun + 3.5:
            if select.select([camera], [], [], 0.1)[0]:
                packet = camera.recv(1000)
                asked.append((socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])))
        lasted = time.monotonic() - begun
    requests = [each for each in asked if each[1] in TARGETS]
    assert {source for source, _ in requests} == {PUBLIC}
    for target in TARGETS:
        assert 1 <= requests.count((PUBLIC, target)) <= lasted + 1


def test_what_clients_ping_says_nothing_of_the_internet(world: World, ear: Ear) -> None:
    """They get their answers, to whatever number they ask under; the gateway's own go unanswered, and that counts."""
    deafen(world, OWN)
    own = inside(world.node, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    own.settimeout(10)
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.02):
            for target in TARGETS:
                # Under the gateway's own number, 0.
                own.sendto(f.icmp(8, 0, 0, b"a client's, and longer than 24 bytes"), (target, 0))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        ear.wait("the internet is lost", no_internet)
        assert own.recv(1000)[28:].startswith(b"a client's"), "its pings are answered"
        assert ear.always(no_internet, seconds=3.5)
        undeafen(world)
        ear.wait("all is well again", well)
        assert ear.always(well, seconds=4)
    finally:
        stop.set()
        asking.join()
        own.close()


class Parrot:
    """Answers for the targets with what was right once: recorded answers, sent again and again, with EVIL ones."""

    def __init__(self, world: World) -> None:
        self._recorder = inside(world.internet, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
        self._voice = inside(world.internet, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._speak)
        self._lines: list[bytes] = []

    def learn(self) -> None:
        """Hear one question to each target."""

        def learnt() -> bool:
            packet = self._recorder.recv(1000)
            to = socket.inet_ntoa(packet[16:20])
            if to in TARGETS and packet[20] == 8:
                self._lines.append(f.ip(to, PUBLIC, f.ICMP, f.icmp(0, 0, 0, packet[28:])))
                self._lines.append(f.ip(to, PUBLIC, f.ICMP, f.icmp(0, 0, 0, f.EVIL)))
                self._lines.append(f.ip(to, NODE, f.ICMP, f.icmp(0, 0, 0, packet[28:])))
            return len(self._lines) >= 3 * len(TARGETS)

        eventually(learnt)
        self._thread.start()

    def _speak(self) -> None:
        while not self._stop.wait(0.01):
            for line in self._lines:
                self._voice.sendto(line, (PUBLIC, 0))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._voice.close()
        self._recorder.close()


def test_answers_to_other_questions_and_forged_ones_dont_count_nor_come_in(world: World, ear: Ear) -> None:
    with inside(world.gateway, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as inner:
        parrot = Parrot(world)
        try:
            parrot.learn()
            deafen(world, OWN)
            ear.wait("the internet is lost", no_internet)
            assert ear.always(no_internet, seconds=3.5)
        finally:
            parrot.close()
        arrived = []
        while select.select([inner], [], [], 0)[0]:
            arrived.append(inner.recv(1000))
    assert arrived, "else the test shows nothing"
    assert not any(f.EVIL in packet for packet in arrived)


def test_the_kernel_tells_of_a_lost_carrier_at_the_next_look(world: World) -> None:
    def look(interface: str = "eth0") -> kernel.Link:
        return inside(world.gateway, lambda: kernel.link(interface))

    assert look().up
    set_link(world, "down")
    assert not look().up
    set_link(world, "up")
    assert look().up
    before = look().packets
    assert world.tcp_source(world.gateway, to=ROUTER) == PUBLIC
    assert look().packets > before
    assert look("eth9") == kernel.Link(up=False, packets=0)
