"""Just enough netlink for a node: requests and dumps as raw bytes."""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress

#: The netlink family of nftables and conntrack.
NETFILTER = 12
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP = 0x300
OVERRUN = 4
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_KIND_MASK = 0x3FFF
_RECEIVE_BYTES = 1 << 18
_TIMEOUT_SECONDS = 5
_SO_RCVBUFFORCE = 33
_HEARD_BYTES = 1 << 21
#: Datagrams taken in at once: what is left then makes the socket readable again.
_MAX_HEARD = 10_000


def attribute(kind: int, content: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


def nested(kind: int, *contents: bytes) -> bytes:
    """Return an attribute made of attributes."""
    return attribute(kind | _NESTED, b"".join(contents))


def attributes(content: bytes) -> dict[int, bytes]:
    """Return the attributes that `content` is made of, by kind."""
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(content):
        length, kind = _ATTRIBUTE.unpack_from(content, at)
        if (
            length < _ATTRIBUTE.size
        ):  # a kernel never sends it; without this line a mangled one would spin here for ever
            break
        found[kind & _KIND_MASK] = content[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def elements(content: bytes) -> Iterator[bytes]:
    """Yield the contents of a list: attributes that are all of one kind."""
    at = 0
    while at + _ATTRIBUTE.size <= len(content):
        length, _ = _ATTRIBUTE.unpack_from(content, at)
        if length < _ATTRIBUTE.size:  # as above
            return
        yield content[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


class NetlinkSocket:
    """One netlink socket of `family`, in the caller's network namespace; not for two threads at once."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._socket.bind((0, 0))
        self._sequence = 0

    @property
    def port(self) -> int:
        """The number under which the kernel knows this socket."""
        address: tuple[int, int] = self._socket.getsockname()
        return address[0]

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def ask(self, kind: int, body: bytes) -> list[bytes]:
        """Send one message and return the payloads of the answer; raises OSError with the kernel's errno."""
        return list(self._exchange(kind, body, NLM_F_REQUEST | NLM_F_ACK))

    def request(self, kind: int, body: bytes, *, flags: int = 0) -> None:
        """Send one message and wait for its acknowledgement; raises OSError with the kernel's errno."""
        for _ in self._exchange(kind, body, NLM_F_REQUEST | NLM_F_ACK | flags):
            pass

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Yield the payload of each message that the kernel answers with; raises OSError."""
        return self._exchange(kind, body, NLM_F_REQUEST | NLM_F_DUMP)

    def _exchange(self, kind: int, body: bytes, flags: int) -> Iterator[bytes]:
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        while True:
            datagram, at = self._socket.recv(_RECEIVE_BYTES), 0
            while at < len(datagram):
                length, answer, _, sequence, _ = _HEADER.unpack_from(datagram, at)
                payload = datagram[at + _HEADER.size : at + length]
                at += (length + 3) & ~3
                if sequence != self._sequence:  # the rest of a dump that was left half-read
                    continue
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    _raise_for(payload)
                    return
                yield payload


class Subscription:
    """A socket that hears what the kernel tells the multicast `groups` (numbers) of netlink `family`."""

    def __init__(self, family: int, groups: Iterable[int]) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, family)
        # One transaction of another program can be thousands of notices; the memory is used only then.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _HEARD_BYTES)
        # Beyond the host's limit for all, where that is allowed: root of a user namespace isn't.
        with suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _HEARD_BYTES)
        self._socket.bind((0, sum(1 << (group - 1) for group in groups)))

    def fileno(self) -> int:
        """Return the file that is readable while there is something to hear."""
        return self._socket.fileno()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def hear(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, sender's port and payload of each notice that has come; type OVERRUN stands for lost ones."""
        for _ in range(_MAX_HEARD):
            try:
                datagram, at = self._socket.recv(_RECEIVE_BYTES), 0
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield OVERRUN, 0, b""
                continue
            while at < len(datagram):
                length, kind, _, _, port = _HEADER.unpack_from(datagram, at)
                yield kind, port, datagram[at + _HEADER.size : at + length]
                at += (length + 3) & ~3


def _raise_for(payload: bytes) -> None:
    code = -struct.unpack_from("=i", payload)[0]
    if code:
        raise OSError(code, os.strerror(code))


def is_missing(error: OSError) -> bool:
    """Tell whether the kernel says that the thing isn't there."""
    return error.errno in {errno.ENOENT, errno.ESRCH}
