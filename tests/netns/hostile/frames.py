"""Frames by hand, for attackers with raw sockets; addresses as text, everything else as bytes and numbers."""

import socket
import struct

BROADCAST = "ff:ff:ff:ff:ff:ff"
#: What every datagram of an attacker's bears, so that it is known wherever it comes out.
EVIL = b"EVIL-PAYLOAD"
ICMP, IPIP, TCP, UDP, IPV6_IN_IP, GRE, ESP = 1, 4, 6, 17, 41, 47, 50
SYN, RST, PSH_ACK, ACK = 0x02, 0x04, 0x18, 0x10
#: LSRR, SSRR and record route (RFC 791).
LOOSE, STRICT, RECORD = 131, 137, 7


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def checksum(content: bytes) -> int:
    content += b"\0" * (len(content) % 2)
    total = sum(struct.unpack(f">{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(to: str, source: str, kind: int, payload: bytes, *, tags: tuple[tuple[int, int], ...] = ()) -> bytes:
    """Return a frame; `tags` are VLAN tags, outermost first, each its ethertype and number."""
    heads = b"".join(struct.pack(">HH", ethertype, number) for ethertype, number in tags)
    return mac_bytes(to) + mac_bytes(source) + heads + struct.pack(">H", kind) + payload


def llc(to: str, source: str, packet: bytes) -> bytes:
    """Return an 802.3 frame with a SNAP header that says IPv4 (RFC 1042)."""
    body = b"\xaa\xaa\x03\x00\x00\x00\x08\x00" + packet
    return mac_bytes(to) + mac_bytes(source) + struct.pack(">H", len(body)) + body


def ip(
    source: str,
    to: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    options: bytes = b"",
    number: int = 0,
    offset: int = 0,
    more: bool = False,
) -> bytes:
    """Return an IPv4 packet; `offset` of a fragment is in bytes."""
    options += b"\0" * (-len(options) % 4)
    words = 5 + len(options) // 4
    fragment = (offset // 8) | (0x2000 if more else 0)
    head = (
        struct.pack(">BBHHHBBH", 0x40 | words, 0, words * 4 + len(payload), number, fragment, ttl, protocol, 0)
        + socket.inet_aton(source)
        + socket.inet_aton(to)
        + options
    )
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def udp(source: str, to: str, sport: int, dport: int, payload: bytes = EVIL) -> bytes:
    """Return a UDP datagram, without a checksum when `source` is empty."""
    head = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
    total = checksum(_pseudo(source, to, UDP, len(head + payload)) + head + payload) if source else 0
    return head[:6] + struct.pack(">H", total) + payload


def tcp(
    source: str, to: str, ports: tuple[int, int], flags: int, *, seq: int = 1, ack: int = 0, payload: bytes = b""
) -> bytes:
    head = struct.pack(">HHIIBBHHH", *ports, seq % 2**32, ack % 2**32, 0x50, flags, 65000, 0, 0)
    total = checksum(_pseudo(source, to, TCP, len(head + payload)) + head + payload)
    return head[:16] + struct.pack(">H", total) + head[18:] + payload


def _pseudo(source: str, to: str, protocol: int, size: int) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton(to) + struct.pack(">BBH", 0, protocol, size)


def icmp(kind: int, code: int, rest: int, payload: bytes = EVIL) -> bytes:
    head = struct.pack(">BBHI", kind, code, 0, rest)
    return head[:2] + struct.pack(">H", checksum(head + payload)) + head[4:] + payload


def redirect(gateway: str, quoted: bytes) -> bytes:
    """Return an ICMP redirect to `gateway` that quotes a packet."""
    return icmp(5, 1, struct.unpack(">I", socket.inet_aton(gateway))[0], quoted)


def route_option(kind: int, *hops: str) -> bytes:
    """Return a source routing or record route option (RFC 791)."""
    return bytes([kind, 3 + 4 * len(hops), 4]) + b"".join(map(socket.inet_aton, hops))


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """Return an ARP packet; `sender` and `target` are (MAC, address)."""
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    return body + b"".join(mac_bytes(mac) + socket.inet_aton(address) for mac, address in (sender, target))


def ip6(source: str, to: str, protocol: int, payload: bytes, *, hops: int = 64) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, to)
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, hops) + addresses + payload


def icmp6(source: str, to: str, kind: int, payload: bytes) -> bytes:
    """Return an IPv6 packet with an ICMPv6 message; `payload` is what follows its checksum."""
    body = struct.pack(">BBH", kind, 0, 0) + payload
    pseudo = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, to)
    total = checksum(pseudo + struct.pack(">II", len(body), 58) + body)
    return ip6(source, to, 58, body[:2] + struct.pack(">H", total) + body[4:], hops=255)
