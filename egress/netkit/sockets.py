"""End TCP sockets, straight over sock_diag (linux/sock_diag.h, inet_diag.h): the kernel resets them at once."""

import socket
import struct
from dataclasses import dataclass

from .netlink import NetlinkSocket, is_missing

_SOCK_DIAG = 4
_FIND, _DESTROY = 20, 21
#: Family, protocol, extensions, padding, states; then ports, addresses (16 bytes each), interface, cookie.
_REQUEST = struct.Struct("=BBBxI")
_NAME = struct.Struct(">HH4s12x4s12x")
_ANY_INTERFACE, _ANY_COOKIE = b"\0" * 4, b"\xff" * 8
_ALL_STATES = 0xFFFF_FFFF
_LISTENING = 10
#: In an answer: family, state, timer, retransmissions; then as in a request.
_STATE_AT, _NAME_AT = 1, 4
_COOKIE_AT = _NAME_AT + _NAME.size + len(_ANY_INTERFACE)


@dataclass(frozen=True, slots=True)
class Connection:
    """One end of a TCP connection over IPv4, as its own socket sees it."""

    address: str
    port: int
    peer: str
    peer_port: int


class Sockets:
    """The TCP sockets of the network namespace that it was made in; not for two threads at once."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(_SOCK_DIAG)

    def close(self) -> None:
        """Give the socket back."""
        self._netlink.close()

    def destroy(self, connection: Connection) -> bool:
        """Reset `connection`, also one of a socket for both IPv4 and IPv6; False when there is none. Raises OSError."""
        name = _name(connection)
        try:
            found = self._netlink.ask(_FIND, _request(name, _ANY_COOKIE))
            # Where there is none the kernel goes on to look for a listener at that port, which is nobody's to end.
            if not found or found[0][_STATE_AT] == _LISTENING or found[0][_NAME_AT : _NAME_AT + 4] != name[:4]:
                return False
            cookie = found[0][_COOKIE_AT : _COOKIE_AT + len(_ANY_COOKIE)]
            self._netlink.request(_DESTROY, _request(name, cookie))
        except OSError as error:
            if is_missing(error):
                return False
            raise
        return True


def _name(connection: Connection) -> bytes:
    here, there = socket.inet_aton(connection.address), socket.inet_aton(connection.peer)
    return _NAME.pack(connection.port, connection.peer_port, here, there)


def _request(name: bytes, cookie: bytes) -> bytes:
    head = _REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ALL_STATES)
    return head + name + _ANY_INTERFACE + cookie
