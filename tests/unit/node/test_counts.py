"""What the prober counts for the metrics: real datagrams on loopback."""

import asyncio
import contextlib
import socket
from typing import cast

from egress.node.counts import Counts
from egress.node.judge import Target
from egress.node.prober import Prober
from egress.wire import probe
from egress.wire.messages import Probing

KEY = "5e" * 32
ANSWERS, SILENT = "127.46.0.1", "127.46.0.2"


class _Responder(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        nonce = probe.read_request(bytes.fromhex(KEY), data)
        assert nonce
        answer = probe.answer(bytes.fromhex(KEY), nonce, flags=probe.FORWARDING, boot_id="b")
        self.transport.sendto(answer, addr)


def test_probes_losses_and_round_trips_are_counted_by_gateway() -> None:
    async def play() -> Counts:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(_Responder, local_addr=(ANSWERS, 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            port = transport.get_extra_info("sockname")[1]
            deaf.bind((SILENT, port))
            counts = Counts()
            prober = Prober(lambda: None, port=port, counts=counts)
            prober.follow({"answers": Target(ANSWERS), "silent": Target(SILENT)}, KEY, Probing())
            running = asyncio.create_task(prober.run())
            async with asyncio.timeout(60):
                while counts.probes_sent["silent"] < 5 or counts.round_trip.distribution().count < 3:  # noqa: ASYNC110 - several numbers
                    await asyncio.sleep(0.02)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            transport.close()
        return counts

    counts = asyncio.run(play())
    assert counts.probes_lost["silent"] == counts.probes_sent["silent"]
    assert counts.probes_lost["answers"] < counts.probes_sent["answers"]
    taken = counts.round_trip.distribution()
    # The kernel's stamps: the event loop, which reads answers at the end of a round, would say 0.1 s.
    assert 0 < taken.sum / taken.count < 0.08
