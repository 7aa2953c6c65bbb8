"""Ask addresses in the internet whether they are there, by ICMP echo under the gateway's public address.

Every address that is up answers it, whatever services it has. What we send and what comes back bears a token that only
this agent and its ruleset know, and goes past connection tracking (see `ruleset`): neither a client's own pings nor a
full connection table can be mistaken for the state of the internet.
"""

import os
import socket
import struct
from collections.abc import Iterable

TOKEN_BYTES = 8
_NONCE_BYTES = 8
_REQUEST, _ANSWER = 8, 0
_IP_HEADER_BYTES = 20
_HEADER = struct.Struct("!BBHHH")
#: Read so many answers at once; whatever more came is another's.
_MOST_ANSWERS = 64


class Echoes:
    """A socket for echoes, and what was asked last. Raises OSError when it can't be opened."""

    def __init__(self, *, interface: str, address: str, token: bytes, targets: Iterable[str]) -> None:
        self._token = token
        self._targets = tuple(targets)
        self._asked: dict[str, bytes] = {}
        self._heard: set[str] = set()
        self._number = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            self._socket.bind((address, 0))
        except OSError:
            self._socket.close()
            raise

    def ask(self) -> None:
        """Ask all targets, each for an answer that only this question brings."""
        self._number = (self._number + 1) % 2**16
        self._asked = {target: os.urandom(_NONCE_BYTES) for target in self._targets}
        self._heard.clear()
        for target, nonce in self._asked.items():
            try:
                self._socket.sendto(request(self._token + nonce, self._number), (target, 0))
            except OSError:
                continue  # no route, or no room to send: as good as no answer

    def answers(self) -> dict[str, bool]:
        """Return who has answered the last question so far."""
        for _ in range(_MOST_ANSWERS):
            try:
                packet = self._socket.recv(256)
            except OSError:
                break
            source, payload = read_answer(packet) or ("", b"")
            if source in self._asked and payload == self._token + self._asked[source]:
                self._heard.add(source)
        return {target: target in self._heard for target in self._asked}

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def request(payload: bytes, number: int) -> bytes:
    """Return an ICMP echo request (RFC 792)."""
    packet = _HEADER.pack(_REQUEST, 0, 0, 0, number) + payload
    words = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    words = (words & 0xFFFF) + (words >> 16)
    checksum = ~(words + (words >> 16)) & 0xFFFF
    return _HEADER.pack(_REQUEST, 0, checksum, 0, number) + payload


def read_answer(packet: bytes) -> tuple[str, bytes] | None:
    """Return source and payload of an IP packet that holds an echo reply, None for anything else."""
    if len(packet) < _IP_HEADER_BYTES:
        return None
    start = (packet[0] & 0xF) * 4
    if len(packet) < start + _HEADER.size or packet[start] != _ANSWER:
        return None
    return socket.inet_ntoa(packet[12:16]), packet[start + _HEADER.size :]
