"""IPv6: the pair has none, so an enabled pod's goes to local addresses or nowhere, whoever would take it."""

import json
import socket
import struct
import time

import frames as f
import pytest
from attacks import EVIL_PORT
from lair import Lair, Packet

pytestmark = pytest.mark.netns
ALL_NODES, SOURCE, ROUTER, NOBODY = "ff02::1", "2001:db8:1::130", "2001:db8:1::129", "2001:db8:1::177"
OBSERVER = "2001:db8:80::80"


@pytest.fixture(scope="module", autouse=True)
def _six(lair: Lair) -> None:
    """As a node with IPv6 is; the internet's end is the next router, which takes all."""
    lair.ip("net", "addr add 2001:db8::1/64 dev br0 nodad")
    lair.ip("n1", "addr add 2001:db8::21/64 dev eth0 nodad\nroute add default via 2001:db8::1")
    lair.sh("n1", "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")


def sent_on(seen: list[Packet]) -> list[Packet]:
    return [packet for packet in seen if packet.source == SOURCE]


@pytest.mark.parametrize(("pod", "neighbour"), [("shop1", "blog1"), ("shop2", "blog2")])
def test_no_global_address_is_reached_from_an_enabled_pod(lair: Lair, pod: str, neighbour: str) -> None:
    def send(name: str, to: str, tags: tuple[tuple[int, int], ...] = ()) -> None:
        place = lair.places[name]
        packet = f.ip6(SOURCE, to, f.UDP, f.udp("", "", 4444, EVIL_PORT))
        lair.send(name, f.ethernet(place.router, place.mac, 0x86DD, packet, tags=tags))

    # The internet, a translator's part of it, 6to4, what isn't given out yet.
    destinations = ("2001:db8:80::80", "64:ff9b::c000:250", "2002:c000:250::1", "4000::1")
    end, seen = time.monotonic() + 30, set[str]()
    # Links take their time until they know their neighbours.
    while seen != set(destinations):
        assert time.monotonic() < end, "else the test shows nothing"
        for to in destinations:
            send(neighbour, to)
        seen |= {each.to for each in sent_on(lair.show_sign(pod, neighbour))}
    for to in destinations:
        for tags in ((), ((0x8100, 0),), ((0x8100, 0), (0x8100, 0)), ((0x88A8, 0), (0x8100, 0))):
            send(pod, to, tags)
    assert sent_on(lair.show_sign(pod, neighbour)) == []


@pytest.mark.parametrize("tags", [b"", b"\x81\0\0\0", b"\x81\0\0\0\x81\0\0\0"], ids=["plain", "tagged", "twice tagged"])
def test_a_neighbour_never_becomes_an_enabled_pods_router(lair: Lair, tags: bytes) -> None:
    def advertise(liar: str, victim: str) -> str:
        place = lair.places[liar]
        station = f.mac_bytes(place.mac)
        link_option = b"\x01\x01" + station
        prefix = b"\x03\x04\x40\xc0" + struct.pack(">III", 600, 600, 0) + socket.inet_pton(socket.AF_INET6, "fd99::")
        advert = f.icmp6("fe80::bad", ALL_NODES, 134, struct.pack(">BBHII", 64, 0, 600, 0, 0) + link_option + prefix)
        frame = f.ethernet("33:33:00:00:00:01", place.mac, 0x86DD, advert)
        lair.send(liar, frame[:12] + tags + frame[12:])
        lair.show_sign("shop2")
        return lair.sh(victim, "ip", "-6", "route", "show", "default")

    assert "fe80::bad" in advertise("shop2", "blog2"), "else the test shows nothing"
    assert "fe80::bad" not in advertise("blog2", "shop2")


@pytest.mark.parametrize("tags", [b"", b"\x81\0\0\0"], ids=["plain", "tagged"])
def test_a_neighbour_on_a_bridge_never_takes_the_routers_place(lair: Lair, tags: bytes) -> None:
    """Or it would be sent what a pod sends to the internet, and could answer in the internet's name."""
    me, victim = lair.places["blog2"], lair.places["shop2"]
    lair.ip("n1", f"addr replace {ROUTER}/120 dev cni0 nodad")
    lair.ip("shop2", f"addr replace {SOURCE}/120 dev eth0 nodad\nroute replace default via {ROUTER}")
    lair["n1"]("reconcile", wish=lair.here())
    found = json.loads(lair.sh("n1", "ip", "-j", "-6", "addr", "show", "dev", "cni0", "scope", "link"))
    own = next(address["local"] for link in found for address in link.get("addr_info", ()) if "local" in address)

    def claims(address: str) -> list[bytes]:
        where, station = socket.inet_pton(socket.AF_INET6, address), f.mac_bytes(me.mac)
        asked = b"\0\0\0\0" + socket.inet_pton(socket.AF_INET6, SOURCE) + b"\x01\x01" + station
        told = b"\x60\0\0\0" + where + b"\x02\x01" + station
        messages = [f.icmp6(address, SOURCE, 135, asked)]
        messages += [f.icmp6(source, to, 136, told) for source in (address, NOBODY) for to in (SOURCE, ALL_NODES)]
        frames = [f.ethernet(victim.mac, me.mac, 0x86DD, message) for message in messages]
        return [frame[:12] + tags + frame[12:] for frame in frames]

    def believed(address: str) -> str:
        """Return the station that the victim sends to for `address` after all those claims."""
        lair.ip("shop2", f"neigh replace {address} lladdr {victim.router} dev eth0 nud stale")
        lair.send("blog2", *claims(address))
        lair.show_sign("shop2", "blog2")
        return lair.sh("shop2", "ip", "-6", "neigh", "show", address).partition("lladdr ")[2].split()[0]

    assert believed(NOBODY) == me.mac, "else the test shows nothing"
    assert believed(ROUTER) == victim.router
    assert believed(own) == victim.router
    lair["blog2"]("watch", interfaces=["eth0"])
    assert lair["shop2"]("ask", to=OBSERVER, port=80, timeout=1) == "Connection refused"
    heard = [bytes.fromhex(packet) for _, packet in lair["blog2"]("watched")]
    assert [packet for packet in heard if socket.inet_pton(socket.AF_INET6, OBSERVER) in packet] == []


def test_a_bridges_new_address_is_noticed_and_kept_for_it(lair: Lair) -> None:
    lair["n1"]("reconcile", wish=lair.here())
    assert not lair["n1"]("altered")
    lair.ip("n1", "addr add fd00:1::129/64 dev cni0 nodad")
    end = time.monotonic() + 20
    while not lair["n1"]("altered"):
        assert time.monotonic() < end
    lair["n1"]("reconcile", wish=lair.here())
    assert "fd00:1::129" in lair.sh("n1", "nft", "list", "set", "bridge", "sluicegate", "hosts6")
    lair.ip("n1", "addr del fd00:1::129/64 dev cni0")
