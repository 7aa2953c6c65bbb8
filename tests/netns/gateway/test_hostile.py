"""A gateway attacked by hand-made frames: from a stranger in its VPC, from a client gone bad, and from the internet.

Two cameras: all that it sends to the internet, and all that it sends into the VPC.
"""

import select
import socket
from collections.abc import Iterator
from subprocess import Popen

import pytest

from egress.wire import probe
from tests.netns.hostile import frames as f

from .ear import TARGETS, add_targets
from .plane import PROBE_KEY, ControlPlane
from .world import NODE, OBSERVER, PRIVATE, PUBLIC, REFUSED, ROUTER, STRANGER, World, eventually, inside, run

pytestmark = pytest.mark.netns
KEY = bytes.fromhex(PROBE_KEY)
NOT_THE_INTERNET = (
    *REFUSED,
    "10.17.0.9",
    "0.0.0.1",
    "127.0.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    STRANGER,
)
ANCHOR = "10.17.0.5"


@pytest.fixture(autouse=True)
def _asks_targets(world: World, plane: ControlPlane) -> None:
    """Everywhere here, the gateway asks targets in the internet and hears them."""
    add_targets(world)
    plane.set_targets(*TARGETS)


class Camera:
    """What arrives from the gateway on an interface of another namespace."""

    def __init__(self, namespace: str, interface: str) -> None:
        self.wire = inside(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.wire.bind((interface, 0))

    def packets(self) -> list[bytes]:
        """Return the IP packets since the last call, but for IPv6 of the link's own."""
        seen = []
        while select.select([self.wire], [], [], 0)[0]:
            frame, (_, kind, way, *_) = self.wire.recvfrom(65535)
            linkwide = kind == 0x86DD and (frame[38] == 0xFF or frame[22] == 0xFE)
            if way != socket.PACKET_OUTGOING and kind in {0x0800, 0x86DD} and not linkwide:
                seen.append(frame[14:])
        return seen


class Stage:
    """The world with its cameras, and hands for frames to the gateway."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.outside = Camera(world.internet, "eth0")
        self.vpc = Camera(world.vpc, "peth1101")
        self.private_mac, self.public_mac = (self._mac(world.gateway, each) for each in ("eth1", "eth0"))

    @staticmethod
    def _mac(namespace: str, interface: str) -> str:
        return run("ip", "netns", "exec", namespace, "cat", f"/sys/class/net/{interface}/address").strip()

    def send(self, namespace: str, *packets: bytes) -> None:
        """Have the machine in `namespace` send IP packets to the gateway's leg on its side."""
        to = self.public_mac if namespace == self.world.internet else self.private_mac
        own = self._mac(namespace, "eth0")

        def wire() -> socket.socket:
            return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)

        with inside(namespace, wire) as sender:
            sender.bind(("eth0", 0))
            for packet in packets:
                sender.send(f.ethernet(to, own, 0x86DD if packet[0] >> 4 == 6 else 0x0800, packet))

    def settle(self) -> tuple[list[bytes], list[bytes]]:
        """Show that the gateway serves its client, and return what else it has sent, outside and into the VPC."""
        assert self.world.tcp_source(self.world.node) == PUBLIC
        outside, vpc = self.outside.packets(), self.vpc.packets()
        assert any(packet[16:20] == socket.inet_aton(OBSERVER) for packet in outside), "else the test shows nothing"
        return [packet for packet in outside if foul(packet, PUBLIC)], [each for each in vpc if f.EVIL in each]


def foul(packet: bytes, own: str) -> bool:
    return f.EVIL in packet or packet[0] >> 4 == 6 or packet[12:16] != socket.inet_aton(own)


@pytest.fixture
def stage(world: World, serving: Popen[bytes]) -> Iterator[Stage]:
    stage = Stage(world)
    with stage.outside.wire, stage.vpc.wire:
        yield stage


def each_way(source: str, to: str, **more: bytes) -> Iterator[bytes]:
    yield f.ip(source, to, f.UDP, f.udp(source, to, 4444, 666), **more)
    yield f.ip(source, to, f.TCP, f.tcp(source, to, (4444, 666), f.SYN, payload=f.EVIL), **more)
    yield f.ip(source, to, f.TCP, f.tcp(source, to, (4445, 666), f.PSH_ACK, payload=f.EVIL), **more)
    yield f.ip(source, to, f.ICMP, f.icmp(8, 0, 1), **more)
    yield f.ip(source, to, f.GRE, f.EVIL, **more)
    yield f.ip(source, to, f.IPIP, f.ip(NODE, OBSERVER, f.UDP, f.udp(NODE, OBSERVER, 1, 2)), **more)


def test_nothing_is_forwarded_but_what_clients_send_to_the_internet(stage: Stage) -> None:
    world = stage.world
    for source in (STRANGER, PUBLIC, PRIVATE, OBSERVER, ROUTER, ANCHOR, "10.110.0.77", "0.0.0.0", "127.0.0.1"):
        stage.send(world.stranger, *each_way(source, OBSERVER))
        stage.send(world.node, *each_way(source, OBSERVER))
    for hops in ((OBSERVER,), (ROUTER, OBSERVER), REFUSED[:2]):
        for kind in (f.LOOSE, f.STRICT):
            for to in (PRIVATE, PUBLIC):
                stage.send(world.stranger, *each_way(STRANGER, to, options=f.route_option(kind, *hops)))
                stage.send(world.node, *each_way(NODE, to, options=f.route_option(kind, *hops)))
    whole = f.udp(STRANGER, OBSERVER, 4444, 666, f.EVIL * 100)
    stage.send(
        world.stranger,
        f.ip(STRANGER, OBSERVER, f.UDP, whole[:800], number=7, more=True),
        f.ip(STRANGER, OBSERVER, f.UDP, whole[800:], number=7, offset=800),
        f.ip6("fd00::99", "2001:db8:80::80", f.UDP, f.udp("", "", 1, 2)),
        f.ip6("2001:db8::99", "64:ff9b::c000:250", f.UDP, f.udp("", "", 1, 2)),
    )
    assert stage.settle() == ([], [])


def test_nothing_is_forwarded_to_what_isnt_the_internet(stage: Stage) -> None:
    for to in NOT_THE_INTERNET:
        stage.send(stage.world.node, *each_way(NODE, to))
        stage.send(stage.world.node, *each_way(NODE, to, options=f.route_option(f.LOOSE, OBSERVER)))
    outside, vpc = stage.settle()
    assert outside == []
    told = [(packet[9], packet[16:20], packet[20]) for packet in vpc if packet[12:16] == socket.inet_aton(PRIVATE)]
    assert set(told) <= {(f.ICMP, socket.inet_aton(NODE), 3)}, "the client is told, and nobody else"
    assert len(told) == len(vpc)


def test_a_connection_to_the_internet_opens_no_way_elsewhere(stage: Stage) -> None:
    """ICMP errors that quote it are taken for the connection's own."""
    with stage.world.tcp(stage.world.node) as connection:
        connection.recv(100)
        port = connection.getsockname()[1]
        for quoted in (
            f.ip(OBSERVER, NODE, f.TCP, f.tcp(OBSERVER, NODE, (80, port), f.ACK)),
            f.ip(NODE, OBSERVER, f.TCP, f.tcp(NODE, OBSERVER, (port, 80), f.ACK)),
        ):
            for to in (*NOT_THE_INTERNET, OBSERVER):
                for source, namespace in ((STRANGER, stage.world.stranger), (NODE, stage.world.node)):
                    if (source, to) != (NODE, OBSERVER):
                        stage.send(namespace, f.ip(source, to, f.ICMP, f.icmp(3, 4, 500, quoted + f.EVIL)))
        outside, vpc = stage.settle()
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
    assert outside == []
    assert [packet for packet in vpc if packet[16:20] != socket.inet_aton(NODE)] == []


def test_nothing_comes_in_from_the_internet(stage: Stage) -> None:
    genuine = probe.request(KEY, b"12345678")
    for to in (NODE, STRANGER, PRIVATE, PUBLIC, ANCHOR, "10.110.15.255", "224.0.0.1"):
        for source in (OBSERVER, *TARGETS, ROUTER, NODE, STRANGER, PRIVATE, PUBLIC, ANCHOR):
            stage.send(stage.world.internet, *each_way(source, to))
            stage.send(stage.world.internet, f.ip(source, to, f.UDP, f.udp(source, to, 4444, probe.PORT, genuine)))
            stage.send(stage.world.internet, *each_way(source, to, options=f.route_option(f.LOOSE, NODE)))
    for source in (NODE, STRANGER):
        stage.send(stage.world.internet, *each_way(source, OBSERVER))
    assert stage.settle() == ([], [])
    assert not any(packet[20:22] == probe.PORT.to_bytes(2, "big") for packet in stage.vpc.packets())


def test_no_port_of_the_public_address_answers(stage: Stage) -> None:
    ports = (*range(1, 1025), 3128, 5432, 6443, probe.PORT, 8080, 8443, 10250, 65535)
    syns = (f.ip(OBSERVER, PUBLIC, f.TCP, f.tcp(OBSERVER, PUBLIC, (4444, port), f.SYN)) for port in ports)
    datagrams = (f.ip(OBSERVER, PUBLIC, f.UDP, f.udp(OBSERVER, PUBLIC, 4444, port)) for port in ports)
    stage.outside.packets()
    stage.send(stage.world.internet, *syns, *datagrams, f.ip(OBSERVER, PUBLIC, f.ICMP, f.icmp(8, 0, 1)))
    assert stage.world.udp_source(stage.world.node) == PUBLIC
    answers = [packet for packet in stage.outside.packets() if packet[16:20] == socket.inet_aton(OBSERVER)]
    assert [packet[9] for packet in answers] == [f.UDP], "the client's own datagram, else nothing"


def test_probes_are_answered_to_clients_only_and_hardly_larger(stage: Stage) -> None:
    genuine = probe.request(KEY, b"12345678")
    stage.vpc.packets()
    for source in (STRANGER, "10.110.0.77", "10.110.15.255", OBSERVER, PRIVATE, PUBLIC, "127.0.0.1"):
        for to in (PRIVATE, PUBLIC, ANCHOR, "10.110.15.255"):
            stage.send(stage.world.stranger, f.ip(source, to, f.UDP, f.udp(source, to, 4444, probe.PORT, genuine)))
    for junk in (b"", b"SGP1", f.EVIL * 100, probe.answer(KEY, b"12345678", flags=1, boot_id="b")):
        stage.send(stage.world.node, f.ip(NODE, PRIVATE, f.UDP, f.udp(NODE, PRIVATE, 4444, probe.PORT, junk)))
    stage.send(stage.world.node, f.ip(NODE, PRIVATE, f.UDP, f.udp(NODE, PRIVATE, 4445, probe.PORT, genuine)))
    seen: list[bytes] = []

    def answered() -> bool:
        seen.extend(each for each in stage.vpc.packets() if each[20:22] == probe.PORT.to_bytes(2, "big"))
        return bool(seen)

    eventually(answered, what="the genuine probe answered")
    assert [(each[16:20], each[22:24]) for each in seen] == [(socket.inet_aton(NODE), (4445).to_bytes(2, "big"))]
    assert len(seen[0]) <= 1.5 * (28 + len(genuine))


def test_no_redirect_is_heeded(stage: Stage) -> None:
    """Whatever the settings are. One counts only where the next hop that it names is known as a neighbour already."""
    gateway = stage.world.gateway
    settings = [f"net.ipv4.conf.{each}.accept_redirects=1" for each in ("all", "eth0", "eth1")]
    run("ip", "netns", "exec", gateway, "sysctl", "-qw", *settings)
    for address, interface in (("203.0.113.66", "eth0"), (STRANGER, "eth1")):
        run("ip", "-n", gateway, "neigh", "replace", address, "lladdr", "02:00:00:00:00:66", "dev", interface)
    quoted = f.ip(PUBLIC, OBSERVER, f.ICMP, f.icmp(0, 0, 1))
    stage.send(stage.world.internet, f.ip(ROUTER, PUBLIC, f.ICMP, f.redirect("203.0.113.66", quoted)))
    stage.send(stage.world.stranger, f.ip(ROUTER, PUBLIC, f.ICMP, f.redirect(STRANGER, quoted)))
    stage.settle()
    assert f"via {ROUTER}" in run("ip", "-n", gateway, "route", "get", OBSERVER)
