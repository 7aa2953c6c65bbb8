"""Probe the gateways in use, round by round, and have the judge say what follows.

An answer counts if it is genuine (keyed), comes from the gateway's address, and bears the nonce of one of the last
rounds, once: late is alive, too. A gateway that is silent is also asked for an ICMP echo: where its kernel answers,
only its agent hangs, and what it forwards it may forward still.
"""

import asyncio
import logging
import secrets
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress

from egress.wire import probe
from egress.wire.messages import Probing

from .counts import Counts
from .judge import Judge, Target, Verdict

log = logging.getLogger(__name__)

#: Between two echoes that a silent gateway is asked for: several fit into the time after which it counts as dead.
ECHO_SECONDS = 0.3
#: After a round that lasted so many times its due, this process slept, and silence says nothing.
_LATE = 2.5
#: From the first miss on rounds follow each other so many times as fast, until there are enough for a suspicion.
#: Answers to the rounds before still count: who is slow isn't silent.
_HURRY = 2
#: Between two counts of what silent gateways return.
_COUNT_ROUNDS = 3
#: A round's answers wait in the socket: this is room for those of some hundreds of gateways.
_RECEIVE_BUFFER_BYTES = 1 << 20
#: Datagrams from elsewhere that a round puts up with.
_STRANGERS = 100
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_ICMP_HEAD = struct.Struct(">BBHHH")
_RAW_LEVEL, _ICMP_FILTER = 255, 1
_MAX_IP_HEADER_BYTES = 60
#: SO_TIMESTAMPNS and its message, as on all 64-bit machines that we know: the kernel notes when a datagram came.
_TIMESTAMP = 35
_TIMESPEC = struct.Struct("=qq")
_STAMP_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)


class Prober:
    """Probes its targets while `run` runs; calls `on_change` when what `judge` says has changed, or it is in doubt.

    With an `interface` nothing that comes in by another one is heard: a container's flood would drown the answers.
    Only then are echoes asked for, since anybody could send one.
    """

    def __init__(
        self,
        on_change: Callable[[], None],
        remembered: Mapping[str, Verdict] | None = None,
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
        self.judge = Judge(remembered=dict(remembered or {}))
        #: Gateways by their address; the nonces that each may still answer, oldest first.
        self._gateways: dict[str, str] = {}
        self._asked: dict[str, list[bytes]] = {}
        #: When each was asked last, by the clock that the kernel stamps with, in nanoseconds.
        self._asked_at: dict[str, int] = {}
        #: Who was asked for an echo, by what it must bear.
        self._echoes: dict[bytes, str] = {}
        self._echo_due = 0.0
        self._told: object = None
        self._rounds = 0

    def follow(self, targets: Mapping[str, Target], key: str, probing: Probing) -> None:
        """Probe these gateways, by id, and no others; `key` is the cluster's, in hex.

        What is known of a gateway that stays is kept. Without a key nothing is probed and nothing known.
        """
        self._key = bytes.fromhex(key)
        self.judge.follow(targets, probing)
        self._gateways = {target.address: gateway for gateway, target in targets.items()}
        self._asked = {gateway: self._asked.get(gateway, []) for gateway in targets}
        self._counts.keep(targets)
        self._tell()

    async def run(self) -> None:
        """Probe until cancelled. Raises OSError when no socket can be had."""
        loop = asyncio.get_running_loop()
        with ExitStack() as doors:
            port = doors.enter_context(_datagrams())
            echo = doors.enter_context(_icmp()) if self._interface else None
            began = due = loop.time()
            while True:
                interval = self.judge.probing.interval_ms / 1000 / (_HURRY if self.judge.uneasy() else 1)
                self._ask(port)
                if echo and loop.time() >= self._echo_due:
                    self._echo_due = loop.time() + ECHO_SECONDS
                    self._ask_kernels(echo)
                due += interval
                await asyncio.sleep(max(0.0, due - loop.time()))
                late, now = loop.time() - due, loop.time()
                answers = self._hear(port)
                self._hear_kernels(echo)
                if late > interval * (_LATE - 1):
                    log.warning("the prober slept %.1f s: nothing is concluded from that round", late)
                    self._counts.late_rounds += 1
                    due = now
                elif self._key:
                    self.judge.end_round(now - began, answers)
                    self._count(answers)
                    self._tell()
                began = now

    def _tell(self) -> None:
        judge = self.judge
        said = (judge.health(), judge.reasons(), judge.judgement())
        self._rounds += 1
        # Counted now and then, so that what came just after a gateway fell silent isn't taken for younger than it is.
        curious = judge.idle() if self._rounds % _COUNT_ROUNDS == 0 else judge.doubted()
        if said != self._told or curious:
            self._told = said
            self._on_change()

    def _ask(self, port: socket.socket) -> None:
        self._bind(port)
        keep = self.judge.probing.misses_to_suspect
        for gateway, sight in self.judge.sights.items() if self._key else ():
            nonce = secrets.token_bytes(probe.NONCE_BYTES)
            self._asked[gateway] = [*self._asked[gateway][-keep + 1 :], nonce]
            self._asked_at[gateway] = time.time_ns()
            # A send that fails is silence like any other, and the rounds count that.
            with suppress(OSError):
                port.sendto(probe.request(self._key, nonce), (sight.target.address, self._port))

    def _bind(self, door: socket.socket) -> None:
        # Each round anew: the interface may have been made anew, and then is another one. Without it all is silence.
        if self._interface:
            with suppress(OSError):
                door.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface)

    def _hear(self, port: socket.socket) -> dict[str, probe.Answer]:
        """Return the round's answers, all at its end: being woken by each would cost more than all else here."""
        heard: dict[str, probe.Answer] = {}
        for datagram, address, came_at in _received(port, probe.ANSWER_BYTES + 1, _STRANGERS + 2 * len(self._asked)):
            gateway = self._gateways.get(address)
            answer = probe.read_answer(self._key, datagram) if gateway else None
            if gateway and answer and answer.nonce in self._asked[gateway]:
                if answer.nonce == self._asked[gateway][-1]:
                    self._time(came_at - self._asked_at[gateway])
                # Once only, and none older than it: who recorded an answer can't make a gateway live on.
                del self._asked[gateway][: self._asked[gateway].index(answer.nonce) + 1]
                heard[gateway] = answer
        return heard

    def _count(self, answers: Mapping[str, probe.Answer]) -> None:
        for gateway, nonces in self._asked.items():
            # One that was added in this round hasn't been asked yet; of one that answered, nothing is left.
            if nonces or gateway in answers:
                self._counts.probed(gateway, answered=gateway in answers)

    def _time(self, nanoseconds: int) -> None:
        """Note how long an answer took. One that the clock was set between, it seems, says nothing."""
        if 0 <= nanoseconds <= 1e6 * self.judge.probing.interval_ms * _LATE:
            self._counts.round_trip.observe(nanoseconds / 1e9)

    def _ask_kernels(self, echo: socket.socket) -> None:
        self._bind(echo)
        self._echoes = {}
        for gateway, reason in self.judge.reasons().items():
            if reason == "silent":
                payload = secrets.token_bytes(16)
                self._echoes[payload] = gateway
                with suppress(OSError):
                    echo.sendto(_echo_request(payload), (self.judge.sights[gateway].target.address, 0))

    def _hear_kernels(self, echo: socket.socket | None) -> None:
        for packet, address, _ in _received(echo, 256, _STRANGERS + len(self._echoes)) if echo else ():
            gateway = self._echoes.get(packet[(packet[0] & 15) * 4 + _ICMP_HEAD.size :])
            if gateway and self._gateways.get(address) == gateway:
                self.judge.sign_of_life(gateway)


def _datagrams() -> socket.socket:
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.setblocking(False)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    port.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
    port.bind(("0.0.0.0", 0))
    return port


def _icmp() -> socket.socket:
    echo = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    echo.setblocking(False)
    # A bit for each kind that isn't wanted.
    echo.setsockopt(_RAW_LEVEL, _ICMP_FILTER, struct.pack("=I", ~(1 << _ECHO_REPLY) & 0xFFFF_FFFF))
    return echo


def _received(door: socket.socket, size: int, most: int) -> "list[tuple[bytes, str, int]]":
    """Return what waits in `door`, with its sender's address and when it came (0: not said).

    At most so many datagrams of at most so many bytes.
    """
    found = []
    for _ in range(most):
        try:
            content, stamps, _, (address, _) = door.recvmsg(size, _STAMP_BYTES)
        except BlockingIOError:
            break
        except OSError as error:
            log.debug("an answer can't be read: %s", error)
            continue
        found.append((content, address, _stamp(stamps)))
    return found


def _stamp(stamps: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the kernel's time in nanoseconds, 0 without one."""
    for level, kind, stamp in stamps:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP) and len(stamp) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            return int(seconds * 10**9 + nanoseconds)
    return 0


def _echo_request(payload: bytes) -> bytes:
    """Return the ICMP message that asks for `payload` back (RFC 792); its length is even."""
    message = _ICMP_HEAD.pack(_ECHO_REQUEST, 0, 0, 0, 0) + payload
    total = sum(struct.unpack(f">{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return _ICMP_HEAD.pack(_ECHO_REQUEST, 0, ~total & 0xFFFF, 0, 0) + payload
