"""The datagrams by which nodes probe gateways: a keyed nonce, answered with the gateway's own view.

Request: b"SGP1", nonce (8 bytes), MAC. Answer: b"SGA1", the same nonce, flags (1 byte), boot (8 bytes), MAC.
The MAC is the first 16 bytes of HMAC-SHA256 over what stands before it, under the cluster's probe key.
"""

import hashlib
import hmac
from dataclasses import dataclass

PORT = 7946
NONCE_BYTES = 8
MAC_BYTES = 16
REQUEST_BYTES = 4 + NONCE_BYTES + MAC_BYTES
ANSWER_BYTES = 4 + NONCE_BYTES + 1 + 8 + MAC_BYTES
#: Flags. The ruleset is in place and forwarding is on.
FORWARDING = 1
#: Its public link is down, or the next hop there doesn't answer.
NO_LINK = 2
#: None of its targets in the internet answers.
NO_INTERNET = 4
#: It is about to go down, and says so.
LEAVING = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """A gateway's answer; `boot` tells two boots apart."""

    nonce: bytes
    flags: int
    boot: bytes

    @property
    def forwarding(self) -> bool:
        """True when the gateway says that it forwards."""
        return bool(self.flags & FORWARDING)

    @property
    def link(self) -> bool:
        """False when the gateway says that it has no way to its next hop."""
        return not self.flags & NO_LINK

    @property
    def internet(self) -> bool:
        """False when the gateway says that no target in the internet answers it."""
        return not self.flags & NO_INTERNET

    @property
    def leaving(self) -> bool:
        """True when the gateway says that it is about to go down."""
        return bool(self.flags & LEAVING)


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, hashlib.sha256)[:MAC_BYTES]


def request(key: bytes, nonce: bytes) -> bytes:
    """Return a probe."""
    content = b"SGP1" + nonce
    return content + _mac(key, content)


def read_request(key: bytes, datagram: bytes) -> bytes | None:
    """Return the nonce of a genuine probe, None for anything else."""
    if len(datagram) != REQUEST_BYTES or not datagram.startswith(b"SGP1"):
        return None
    content, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
    return content[4:] if hmac.compare_digest(mac, _mac(key, content)) else None


def answer(key: bytes, nonce: bytes, *, flags: int, boot_id: str) -> bytes:
    """Return the answer to the probe that bore `nonce`."""
    content = b"SGA1" + nonce + bytes([flags]) + hashlib.sha256(boot_id.encode()).digest()[:8]
    return content + _mac(key, content)


def read_answer(key: bytes, datagram: bytes) -> Answer | None:
    """Return a genuine answer, None for anything else."""
    if len(datagram) != ANSWER_BYTES or not datagram.startswith(b"SGA1"):
        return None
    content, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, content)):
        return None
    return Answer(content[4:12], content[12], content[13:21])
