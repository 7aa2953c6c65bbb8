"""Ask the next hop whether it is there, by ARP: what it must answer before it gets any packet at all.

The kernel's own table of neighbours would tell too late: it doubts an entry only after half a minute, and asks for
seconds. Our question changes nothing there, other than to confirm what is known.
"""

import array
import socket
import struct

_ARP = 0x0806
_ETHERNET = 1
_REQUEST = 1
_BROADCAST = b"\xff" * 6
_SO_ATTACH_FILTER = 26
_MOST_ANSWERS = 64
#: Classic BPF (linux/filter.h).
_LOAD_HALF, _LOAD_WORD, _JUMP_UNLESS_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06


class NextHop:
    """A socket for ARP on `interface`. Raises OSError when it can't be opened, as where there is no ARP."""

    def __init__(self, *, interface: str, address: str, next_hop: str) -> None:
        self._interface = interface
        self._addresses = socket.inet_aton(address), socket.inet_aton(next_hop)
        #: The next hop's hardware address: asked by name while it answers, by broadcast while it doesn't.
        self._known = _BROADCAST
        self._asked = False
        # Bound only once the filter is in place: on a large segment, many others ask and answer.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        try:
            _let_in_answers_of(self._socket, self._addresses[1])
            self._socket.bind((interface, _ARP))
            self._own = _own_address(self._socket)
        except OSError:
            self._socket.close()
            raise

    def ask(self) -> None:
        """Ask (RFC 826)."""
        self._asked = True
        own, asked = self._addresses
        head = struct.pack("!HHBBH", _ETHERNET, 0x0800, 6, 4, _REQUEST)
        question = head + self._own + own + bytes(6) + asked
        try:
            self._socket.sendto(question, (self._interface, _ARP, 0, _ETHERNET, self._known))
        except OSError:
            return  # the interface is down: as good as no answer

    def answered(self) -> bool | None:
        """Say whether it answered since the last call; None before it was asked at all."""
        if not self._asked:
            return None
        known = _BROADCAST
        for _ in range(_MOST_ANSWERS):
            try:
                known = self._socket.recv(64)[8:14]
            except OSError:
                break
        self._known = known
        return known != _BROADCAST

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _own_address(arp: socket.socket) -> bytes:
    interface, _, _, kind, own = arp.getsockname()
    if kind != _ETHERNET:
        raise OSError(f"{interface} is no Ethernet, so there is no next hop to ask")
    return bytes(own)


def _let_in_answers_of(arp: socket.socket, address: bytes) -> None:
    """Have the kernel drop all but ARP replies of `address`."""
    program = [
        (_LOAD_HALF, 0, 0, 6),
        (_JUMP_UNLESS_EQUAL, 0, 3, 2),
        (_LOAD_WORD, 0, 0, 14),
        (_JUMP_UNLESS_EQUAL, 0, 1, int.from_bytes(address, "big")),
        (_RETURN, 0, 0, 28),
        (_RETURN, 0, 0, 0),
    ]
    code = array.array("B", b"".join(struct.pack("=HBBI", *step) for step in program))
    arp.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), code.buffer_info()[0]))
