"""The prober on real datagrams on loopback; what follows from them is the judge's (tests/unit/node/test_judge.py)."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import cast

import pytest

from egress.node.judge import Judge, Target
from egress.node.prober import Prober
from egress.wire import probe
from egress.wire.messages import Probing

KEY = "aa" * 32
A, B = "127.0.0.2", "127.0.0.3"
TARGETS = {"a": Target(A, "b"), "b": Target(B, "a")}
PROBING = Probing(hold_down_seconds=0)


class _Gateway(asyncio.DatagramProtocol):
    """Answers probes as a gateway does; `flags` None stays silent."""

    def __init__(self) -> None:
        self.flags: int | None = probe.FORWARDING
        self.key = bytes.fromhex(KEY)
        self.transport: asyncio.DatagramTransport | None = None
        #: In whose place this one answers: a datagram, so far unheard by the prober, that is sent for each probe.
        self.recorded: bytes | None = None
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        nonce = probe.read_request(bytes.fromhex(KEY), data)
        assert nonce, "the prober's key is the cluster's"
        self.asked += 1
        if self.transport and self.recorded is not None:
            self.transport.sendto(self.recorded, addr)
        elif self.flags is not None and self.transport:
            self.transport.sendto(probe.answer(self.key, nonce, flags=self.flags, boot_id="b"), addr)


async def _until(prober: Prober, **wanted: str) -> None:
    async with asyncio.timeout(20):
        while prober.judge.health() != wanted:  # noqa: ASYNC110 - a condition over several changes, not one event
            await asyncio.sleep(0.02)


def _probing(scene: Callable[[Prober, dict[str, _Gateway], list[None]], object]) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as finder:
            finder.bind((A, 0))
            port = finder.getsockname()[1]
        gateways = {}
        transports = []
        for name, address in (("a", A), ("b", B)):
            transport, gateways[name] = await loop.create_datagram_endpoint(_Gateway, local_addr=(address, port))
            transports.append(transport)
        told: list[None] = []
        prober = Prober(lambda: told.append(None), port=port)
        prober.follow(TARGETS, KEY, PROBING)
        running = asyncio.create_task(prober.run())
        try:
            await scene(prober, gateways, told)  # type: ignore[misc]
        finally:
            running.cancel()
            await asyncio.wait([running])
            for transport in transports:
                transport.close()

    asyncio.run(play())


def test_a_silent_gateway_is_unhealthy_until_it_answers_again() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        await _until(prober, a="healthy", b="healthy")
        gateways["a"].flags = None
        await _until(prober, a="unhealthy", b="healthy")
        gateways["a"].flags = probe.FORWARDING
        await _until(prober, a="healthy", b="healthy")
        assert len(told) >= 3

    _probing(scene)


def test_a_gateway_that_does_not_forward_or_has_another_key_is_unhealthy() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        gateways["a"].flags = 0
        await _until(prober, a="unhealthy", b="healthy")
        gateways["a"].flags, gateways["a"].key = probe.FORWARDING, b"another key"
        for _ in range(10):
            await asyncio.sleep(0.1)
            assert prober.judge.health()["a"] == "unhealthy"

    _probing(scene)


def test_all_silent_at_once_leaves_none_suspect() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        await _until(prober, a="healthy", b="healthy")
        gateways["a"].flags = gateways["b"].flags = None
        await _until(prober, a="unknown", b="unknown")

    _probing(scene)


def test_without_a_key_nothing_is_known() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        prober.follow({"a": Target(A)}, "", PROBING)
        await asyncio.sleep(0.5)
        assert prober.judge.health() == {"a": "unknown"}

    _probing(scene)


def test_targets_that_stay_keep_what_is_known_of_them() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        await _until(prober, a="healthy", b="healthy")
        prober.follow({"a": TARGETS["a"]}, KEY, PROBING)
        assert prober.judge.health() == {"a": "healthy"}

    _probing(scene)


def test_an_answer_that_was_recorded_or_made_up_keeps_nobody_alive() -> None:
    """From the gateway's own address and port, and genuine once: its nonce was used, or is another gateway's."""

    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        await _until(prober, a="healthy", b="healthy")
        key = bytes.fromhex(KEY)
        for forged in (
            probe.answer(key, b"\0" * 8, flags=probe.FORWARDING, boot_id="b"),
            probe.answer(b"another key", b"\0" * 8, flags=probe.FORWARDING, boot_id="b"),
            b"SGA1" + b"\0" * 25,
            b"",
        ):
            gateways["a"].recorded = forged
            await _until(prober, a="unhealthy", b="healthy")
            gateways["a"].recorded = None
            await _until(prober, a="healthy", b="healthy")

    _probing(scene)


def test_time_that_the_prober_slept_through_is_no_silence() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        prober.follow(TARGETS, KEY, Probing(dead_after_ms=30_000))
        await _until(prober, a="healthy", b="healthy")
        gateways["a"].flags = None
        await _until(prober, a="unhealthy", b="healthy")
        prober.follow(TARGETS, KEY, Probing(dead_after_ms=4_000))
        time.sleep(4)  # noqa: ASYNC251 - that is what a stopped process does
        await asyncio.sleep(0.15)
        assert prober.judge.doubted() == set()

    _probing(scene)


def test_rounds_hurry_from_the_first_miss_until_there_is_a_suspicion(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[tuple[bool, float]] = []
    end_round = Judge.end_round

    def ended(judge: Judge, seconds: float, answers: Mapping[str, probe.Answer]) -> None:
        rounds.append((judge.uneasy(), seconds))
        end_round(judge, seconds, answers)

    monkeypatch.setattr(Judge, "end_round", ended)

    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        prober.follow(TARGETS, KEY, Probing(interval_ms=400, misses_to_suspect=8))
        await _until(prober, a="healthy", b="healthy")
        rounds.clear()
        gateways["a"].flags = None
        await _until(prober, a="unhealthy", b="healthy")
        await asyncio.sleep(1)
        hurried = [seconds for uneasy, seconds in rounds if uneasy]
        assert len(hurried) == 7
        # A busy machine makes rounds longer, never all of them as long as if nothing was wrong.
        assert min(hurried) < 0.35
        assert not prober.judge.uneasy()

    _probing(scene)


def test_a_genuine_answer_counts_once() -> None:
    prober = Prober(lambda: None)
    prober.follow(TARGETS, KEY, PROBING)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port,
    ):
        gateway.bind((A, 0))
        gateway.settimeout(10)
        port.setblocking(False)
        port.bind(("0.0.0.0", 0))
        prober._port = gateway.getsockname()[1]
        replies = []
        for _ in range(2):
            prober._ask(port)
            request, asker = gateway.recvfrom(200)
            nonce = probe.read_request(bytes.fromhex(KEY), request)
            assert nonce
            replies.append(probe.answer(bytes.fromhex(KEY), nonce, flags=probe.FORWARDING, boot_id="b"))
        heard = []
        # The second first: the first one is older by then, and what was heard is heard.
        for reply in (replies[0], replies[0], replies[1], replies[0], replies[1]):
            gateway.sendto(reply, asker)
            heard.append(set(prober._hear(port)))
    assert heard == [{"a"}, set(), {"a"}, set(), set()]
