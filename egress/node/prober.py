"""Probe the gateways in use and say which ones new connections should avoid.

A round lasts `INTERVAL_SECONDS`. Three rounds in a row without a good answer make a gateway suspect, five with one
bring it back. A good answer is a genuine one by a gateway that says it forwards. What follows from a gateway being
dead rather than suspect isn't decided here.
"""

import asyncio
import logging
import secrets
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from egress.wire import probe

from .counts import Counts

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.1
MISSES_TO_SUSPECT = 3
ANSWERS_TO_RETURN = 5
#: Gateways that fall silent within so many rounds of each other fell silent at once.
AT_ONCE_ROUNDS = MISSES_TO_SUSPECT + 1
#: After a round that lasted so many times its due, this process slept, and silence says nothing.
_LATE = 2.5
#: A round's answers wait in the socket: this is room for those of some hundreds of gateways.
_RECEIVE_BUFFER_BYTES = 1 << 20
#: Datagrams from elsewhere that a round puts up with.
_STRANGERS = 100
#: SO_TIMESTAMPNS and its message, as on all 64-bit machines that we know: the kernel notes when a datagram came.
_TIMESTAMP = 35
_TIMESPEC = struct.Struct("=qq")
_STAMP_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)

Health = Literal["healthy", "unhealthy", "unknown"]


@dataclass(slots=True)
class Target:
    """What is known of one gateway; counts are rounds in a row. `silent_since` is a round's number."""

    address: str
    missed: int = 0
    answered: int = 0
    silent_since: int | None = None
    suspect: bool = False
    judged: bool = False
    nonce: bytes = b""
    heard: bool = False
    forwarding: bool = False
    #: When the probe was sent, by the clock that the kernel stamps with, in nanoseconds.
    asked_at: int = 0

    def hear(self, answer: probe.Answer) -> bool:
        """Take in a genuine answer; return False for one to another round's probe."""
        if answer.nonce != self.nonce:
            return False
        self.heard, self.forwarding = True, answer.forwarding
        return True

    def end_round(self, number: int) -> None:
        """Judge by what was heard in round `number`."""
        good = self.heard and self.forwarding
        self.missed, self.answered = (0, self.answered + 1) if good else (self.missed + 1, 0)
        if self.heard:
            self.silent_since = None
        elif self.silent_since is None:
            self.silent_since = number
        if self.missed >= MISSES_TO_SUSPECT:
            self.suspect = self.judged = True
        elif self.answered >= (ANSWERS_TO_RETURN if self.suspect else 1):
            self.suspect, self.judged = False, True


def own_fault(targets: Mapping[str, Target]) -> bool:
    """Tell whether all gateways fell silent at once: then it is this node that hears nothing."""
    since = [target.silent_since for target in targets.values()]
    silent = [number for number in since if number is not None]
    return bool(since) and len(silent) == len(since) and max(silent) - min(silent) <= AT_ONCE_ROUNDS


class Prober:
    """Probes its targets while `run` runs; calls `on_change` whenever what `health` returns has changed.

    With an `interface` nothing that comes in by another one is heard: a container's flood would drown the answers.
    """

    def __init__(
        self,
        on_change: Callable[[], None],
        *,
        port: int = probe.PORT,
        interface: str = "",
        counts: Counts | None = None,
    ) -> None:
        self._on_change = on_change
        self._counts = counts or Counts()
        self._port = port
        self._interface = interface.encode()
        self._key = b""
        self._targets: dict[str, Target] = {}
        self._by_address: dict[str, Target] = {}
        self._round = 0
        self._told: dict[str, Health] = {}

    def set_targets(self, targets: Mapping[str, str], key: str) -> None:
        """Probe these gateways (private addresses by id) and no others; `key` is the cluster's, in hex.

        What is known of a gateway that stays is kept. Without a key nothing is probed and nothing known.
        """
        self._key = bytes.fromhex(key)
        known = self._targets
        self._targets = {
            gateway: known[gateway] if gateway in known and known[gateway].address == address else Target(address)
            for gateway, address in targets.items()
        }
        self._by_address = {target.address: target for target in self._targets.values()}
        self._counts.keep(targets)

    def health(self) -> dict[str, Health]:
        """Return what is known of each target: unhealthy ones should get no new connections."""
        if own_fault(self._targets):
            return dict.fromkeys(self._targets, "unknown")
        return {gateway: _health(target) for gateway, target in self._targets.items()}

    async def run(self) -> None:
        """Probe until cancelled. Raises OSError when no socket can be had."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            port.setblocking(False)
            port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
            port.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
            port.bind(("0.0.0.0", 0))
            due = loop.time()
            while True:
                self._ask(port)
                due += INTERVAL_SECONDS
                await asyncio.sleep(max(0.0, due - loop.time()))
                late = loop.time() - due
                self._hear(port)
                if late > INTERVAL_SECONDS * (_LATE - 1):
                    log.warning("the prober slept %.1f s: nothing is concluded from that round", late)
                    self._counts.late_rounds += 1
                    due = loop.time()
                    continue
                self._judge()

    def _ask(self, port: socket.socket) -> None:
        # Each round anew: the interface may have been made anew, and then is another one. Without it all is silence.
        if self._interface:
            with suppress(OSError):
                port.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface)
        for target in self._targets.values() if self._key else ():
            target.heard, target.nonce = False, secrets.token_bytes(probe.NONCE_BYTES)
            # A send that fails is silence like any other, and the rounds count that.
            target.asked_at = time.time_ns()
            with suppress(OSError):
                port.sendto(probe.request(self._key, target.nonce), (target.address, self._port))

    def _hear(self, port: socket.socket) -> None:
        """Take in the round's answers, all at its end: being woken by each would cost more than all else here."""
        for _ in range(_STRANGERS + 2 * len(self._targets)):
            try:
                datagram, stamps, _, (address, _) = port.recvmsg(probe.ANSWER_BYTES + 1, _STAMP_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("an answer to a probe can't be read: %s", error)
                continue
            target = self._by_address.get(address)
            answer = probe.read_answer(self._key, datagram) if target else None
            if target and answer and target.hear(answer):
                self._time(target, stamps)

    def _time(self, target: Target, stamps: Sequence[tuple[int, int, bytes]]) -> None:
        """Note how long an answer took. One that the clock was set between, it seems, says nothing."""
        for level, kind, stamp in stamps:
            if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP) and len(stamp) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(stamp)
                took = (seconds * 10**9 + nanoseconds - target.asked_at) / 1e9
                if 0 <= took <= INTERVAL_SECONDS * _LATE:
                    self._counts.round_trip.observe(took)

    def _judge(self) -> None:
        if not self._key:
            return
        self._round += 1
        for gateway, target in self._targets.items():
            # One that was added in this round hasn't been asked yet.
            if target.nonce:
                self._counts.probed(gateway, answered=target.heard)
                target.end_round(self._round)
        health = self.health()
        if health != self._told:
            self._told = health
            self._on_change()


def _health(target: Target) -> Health:
    if not target.judged:
        return "unknown"
    return "unhealthy" if target.suspect else "healthy"
