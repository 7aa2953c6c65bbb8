"""Measure the connection table, at a cost that doesn't grow with it."""

import logging
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator

from . import kernel, tuning
from .kernel import KernelError

log = logging.getLogger(__name__)

#: Ports that one address has to give away towards one destination: 1024 to 65535.
PORTS = 64_512
#: Where the table holds more, so many entries stand for all: the kernel shows them in the order of a keyed hash, which
#: is as good as drawn by lot.
SAMPLE = 4_096
#: Measured that often at most, however often it is asked for.
LEAST_SECONDS_BETWEEN_SAMPLES = 10.0
_NETLINK_NETFILTER = 12
_IPCTNL_MSG_CT_GET = (1 << 8) | 1
_REQUEST_DUMP = 0x301
_NLMSG_DONE = 3
_NLMSG_ERROR = 2
_TIMEOUT_SECONDS = 5
#: An IPv4 entry begins with the tuple of its first packet, in this order: source, destination, protocol, ports. For
#: destination, protocol and destination port: the attribute's kind, then its value.
_ENTRY = struct.Struct("=38xH4s6xHB13xH2s")
_KINDS = (2, 1, 3)
_WITH_PORTS = frozenset({socket.IPPROTO_TCP, socket.IPPROTO_UDP})

Destination = tuple[bytes, int, bytes]


class Connections:
    """What reports say of the connection table."""

    def __init__(self) -> None:
        self._sampled_at = -LEAST_SECONDS_BETWEEN_SAMPLES
        self._worst = 0

    @property
    def entries(self) -> int:
        """Entries in the table; 0 before the first ruleset, which loads it."""
        return _number(tuning.CONNTRACK_COUNT)

    @property
    def limit(self) -> int:
        """How many entries the table can hold."""
        return _number(tuning.CONNTRACK_MAX)

    @property
    def worst(self) -> int:
        """How many source ports the destination takes that takes most; an estimate for a table beyond `SAMPLE`."""
        if time.monotonic() >= self._sampled_at + LEAST_SECONDS_BETWEEN_SAMPLES:
            self._sampled_at = time.monotonic()
            try:
                self._worst = _worst(self.entries)
            except KernelError as error:
                log.warning("%s", error)
        return self._worst


def _worst(entries: int) -> int:
    seen = 0
    counts: Counter[Destination] = Counter()
    for destination in _dump():
        seen += 1
        if destination:
            counts[destination] += 1
        if seen == SAMPLE:
            break
    most = max(counts.values(), default=0)
    return min(PORTS, most * entries // seen if seen == SAMPLE else most)


def _dump() -> Iterator[Destination | None]:
    """Yield each entry's destination address, protocol and port, None for one without ports.

    The kernel walks the table only as far as it is read.
    """
    request = struct.pack("=IHHIIBBH", 20, _IPCTNL_MSG_CT_GET, _REQUEST_DUMP, 0, 0, socket.AF_INET, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as nfnetlink:
            nfnetlink.settimeout(_TIMEOUT_SECONDS)
            nfnetlink.send(request)
            while True:
                answer = nfnetlink.recv(65536)
                at = 0
                while at < len(answer):
                    size, kind = struct.unpack_from("=IH", answer, at)
                    if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                        return
                    yield _destination(answer, at)
                    at += (size + 3) & ~3
    except OSError as error:
        raise KernelError(f"the connection table can't be read: {error}") from error


def _destination(answer: bytes, at: int) -> Destination | None:
    kind_a, address, kind_b, protocol, kind_c, port = _ENTRY.unpack_from(answer, at)
    if (kind_a, kind_b, kind_c) != _KINDS or protocol not in _WITH_PORTS:
        return None
    return address, protocol, port


def _number(sysctl: str) -> int:
    try:
        return int(kernel.sysctl(sysctl))
    except KernelError:
        return 0
