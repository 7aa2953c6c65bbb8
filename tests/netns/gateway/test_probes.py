"""Probes: genuine ones from clients are answered with the gateway's own view; nothing else is."""

import os
import socket
from pathlib import Path
from subprocess import Popen

import pytest

from egress.wire import probe

from .plane import PROBE_KEY
from .world import PRIVATE, PUBLIC, ROUTER, World, eventually, run

pytestmark = pytest.mark.netns

KEY = bytes.fromhex(PROBE_KEY)


@pytest.fixture
def answering(world: World, serving: Popen[bytes]) -> None:
    def answered() -> bool:
        with world.udp(world.node) as sender:
            return ask(sender, probe.request(KEY, os.urandom(probe.NONCE_BYTES))) is not None

    eventually(answered, what="a probe answered")


def ask(sender: socket.socket, datagram: bytes, *, at: str = PRIVATE) -> bytes | None:
    sender.settimeout(1)
    try:
        sender.sendto(datagram, (at, probe.PORT))
        return sender.recv(1000)
    except OSError:
        return None


def test_a_genuine_probe_is_answered_with_the_gateways_view(world: World, answering: None) -> None:
    nonce = os.urandom(probe.NONCE_BYTES)
    with world.udp(world.node) as sender:
        answer = probe.read_answer(KEY, ask(sender, probe.request(KEY, nonce)) or b"")
    assert answer
    assert answer.nonce == nonce
    assert answer.forwarding
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    expected = probe.read_answer(KEY, probe.answer(KEY, nonce, flags=1, boot_id=boot_id))
    assert answer == expected


@pytest.mark.parametrize(
    "datagram",
    [b"", b"x", b"SGP1" + b"n" * 24, probe.request(b"another key", b"12345678"), os.urandom(1400)],
    ids=["empty", "short", "no MAC", "another key", "noise"],
)
def test_garbage_is_not_answered(world: World, answering: None, datagram: bytes) -> None:
    with world.udp(world.node) as sender:
        assert ask(sender, datagram) is None
        assert ask(sender, probe.request(KEY, b"12345678"))


def test_only_clients_on_the_private_interface_are_answered(world: World, answering: None) -> None:
    genuine = probe.request(KEY, b"12345678")
    with world.udp(world.stranger) as stranger, world.udp(world.internet) as outsider:
        assert ask(stranger, genuine) is None
        assert ask(outsider, genuine, at=PUBLIC) is None
        assert ask(outsider, genuine, at=PRIVATE) is None


def test_one_node_cant_drown_the_others(world: World, answering: None) -> None:
    genuine = probe.request(KEY, b"12345678")
    answers = 0
    with world.udp(world.node) as sender:
        sender.setblocking(False)
        for _ in range(3000):
            sender.sendto(genuine, (PRIVATE, probe.PORT))
        sender.setblocking(True)
        sender.settimeout(1)
        try:
            while sender.recv(1000):
                answers += 1
        except TimeoutError:
            pass
    assert 0 < answers < 1500


def test_a_gateway_that_cant_forward_never_says_that_it_can(world: World, answering: None) -> None:
    run("ip", "-n", world.gateway, "route", "del", "default")

    def says_so() -> bool:
        with world.udp(world.node) as sender:
            answer = probe.read_answer(KEY, ask(sender, probe.request(KEY, os.urandom(8))) or b"")
        return bool(answer and answer.forwarding)

    eventually(lambda: not says_so())
    assert not any(says_so() for _ in range(3))
    run("ip", "-n", world.gateway, "route", "add", "default", "via", ROUTER)
    eventually(says_so)
