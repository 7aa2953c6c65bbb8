"""The prober: judgement by rounds, and real datagrams on loopback."""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import pytest

from egress.node.prober import ANSWERS_TO_RETURN, MISSES_TO_SUSPECT, Prober, Target, own_fault
from egress.wire import probe

KEY = "aa" * 32
A, B = "127.0.0.2", "127.0.0.3"


def rounds(target: Target, heard: list[tuple[bool, bool]], first: int = 1) -> Target:
    for number, (target.heard, target.forwarding) in enumerate(heard, first):
        target.end_round(number)
    return target


GOOD, SILENT, IDLE = (True, True), (False, False), (True, False)


@pytest.mark.parametrize("bad", [SILENT, IDLE])
def test_suspect_after_three_bad_rounds_and_back_after_five_good_ones(bad: tuple[bool, bool]) -> None:
    target = rounds(Target(A), [GOOD, *[bad] * (MISSES_TO_SUSPECT - 1)])
    assert not target.suspect
    assert rounds(target, [bad], 10).suspect
    assert rounds(target, [GOOD] * (ANSWERS_TO_RETURN - 1), 20).suspect
    assert rounds(target, [bad], 30).suspect
    assert not rounds(target, [GOOD] * ANSWERS_TO_RETURN, 40).suspect


def test_all_silent_at_once_is_the_nodes_own_fault() -> None:
    targets = {"a": rounds(Target(A), [GOOD, *[SILENT] * 5]), "b": rounds(Target(B), [GOOD, GOOD, *[SILENT] * 4])}
    assert own_fault(targets)
    assert not own_fault({**targets, "c": rounds(Target("127.0.0.4"), [GOOD] * 6)})


def test_all_silent_one_after_the_other_is_their_fault() -> None:
    targets = {"a": rounds(Target(A), [SILENT] * 40), "b": rounds(Target(B), [*[GOOD] * 30, *[SILENT] * 10])}
    assert not own_fault(targets)


def test_all_answering_without_forwarding_is_their_fault() -> None:
    assert not own_fault({"a": rounds(Target(A), [IDLE] * 5), "b": rounds(Target(B), [IDLE] * 5)})
    assert not own_fault({})


class _Gateway(asyncio.DatagramProtocol):
    """Answers probes as a gateway does; `flags` None stays silent."""

    def __init__(self) -> None:
        self.flags: int | None = probe.FORWARDING
        self.key = bytes.fromhex(KEY)
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        nonce = probe.read_request(bytes.fromhex(KEY), data)
        assert nonce, "the prober's key is the cluster's"
        if self.flags is not None and self.transport:
            self.transport.sendto(probe.answer(self.key, nonce, flags=self.flags, boot_id="b"), addr)


async def _until(prober: Prober, **wanted: str) -> None:
    async with asyncio.timeout(20):
        while prober.health() != wanted:  # noqa: ASYNC110 - a condition over several changes, not one event
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
        prober.set_targets({"a": A, "b": B}, KEY)
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
            assert prober.health()["a"] == "unhealthy"

    _probing(scene)


def test_all_silent_at_once_leaves_none_suspect() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        await _until(prober, a="healthy", b="healthy")
        gateways["a"].flags = gateways["b"].flags = None
        await _until(prober, a="unknown", b="unknown")

    _probing(scene)


def test_without_a_key_nothing_is_known() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        prober.set_targets({"a": A}, "")
        await asyncio.sleep(0.5)
        assert prober.health() == {"a": "unknown"}

    _probing(scene)


def test_targets_that_stay_keep_what_is_known_of_them() -> None:
    async def scene(prober: Prober, gateways: dict[str, _Gateway], told: list[None]) -> None:
        await _until(prober, a="healthy", b="healthy")
        prober.set_targets({"a": A}, KEY)
        assert prober.health() == {"a": "healthy"}

    _probing(scene)
