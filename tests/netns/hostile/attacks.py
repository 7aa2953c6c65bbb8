"""What a neighbour with raw sockets can send: each attack is a function that returns its frames."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import frames as f
from dataplane_world import N1, OBSERVER, VPC_HOST, A
from lair import Packet, Place

NODE, OTHER_NODE, GATEWAY, GATEWAY_B = "10.110.0.21", "10.110.0.22", "10.110.0.11", "10.110.0.12"
SERVICE, BRIDGE = "10.96.0.10", "10.244.1.129"
EVIL_PORT = 666
PROBE_PORT = 7946
VLAN, SERVICE_VLAN = 0x8100, 0x88A8
LLDP, PAUSE, BRIDGES = "01:80:c2:00:00:0e", "01:80:c2:00:00:03", "01:80:c2:00:00:00"


@dataclass(frozen=True)
class Scene:
    """An attacker, its victim, and what an attacker could at most know: the victim's last packets outside."""

    me: Place
    victim: Place
    tcp: Packet | None = None
    udp: Packet | None = None
    #: The ports on the victim's own side.
    tcp_port: int = 40000
    udp_port: int = 40001

    def frame(self, packet: bytes, **more: object) -> bytes:
        """Return the frame that carries an IPv4 packet to the node."""
        return f.ethernet(self.me.router, self.me.mac, 0x0800, packet, **more)

    def datagram(
        self, source: str, to: str = OBSERVER, *, sport: int = 4444, dport: int = EVIL_PORT, **more: object
    ) -> bytes:
        return f.ip(source, to, f.UDP, f.udp(source, to, sport, dport), **more)

    def trio(self, source: str, to: str = OBSERVER, **more: object) -> list[bytes]:
        """Return a TCP SYN, a datagram and a ping."""
        syn = f.tcp(source, to, (4445, EVIL_PORT), f.SYN)
        return [
            f.ip(source, to, f.TCP, syn, **more),
            self.datagram(source, to, **more),
            f.ip(source, to, f.ICMP, f.icmp(8, 0, 1), **more),
        ]


Attack = Callable[[Scene], Iterator[bytes]]
ATTACKS: dict[str, Attack] = {}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


# --- false sources ------------------------------------------------------------------------------------------------


def spoofed(source: Callable[[Scene], str], name: str) -> None:
    def frames(scene: Scene) -> Iterator[bytes]:
        yield from map(scene.frame, scene.trio(source(scene)))

    ATTACKS[name] = frames


spoofed(lambda scene: scene.victim.address, "source_of_the_victim")
for _name, _source in {
    "the_node": NODE,
    "the_nodes_public_address": N1,
    "the_other_node": OTHER_NODE,
    "the_gateway": GATEWAY,
    "the_gateways_public_address": A,
    "nobody": "0.0.0.0",
    "everybody": "255.255.255.255",
    "loopback": "127.0.0.1",
    "the_internet": "192.0.2.99",
}.items():
    spoofed(lambda _, source=_source: source, f"source_of_{_name}")


@attack
def every_protocol_in_the_victims_name(scene: Scene) -> Iterator[bytes]:
    for protocol in (f.IPIP, f.IPV6_IN_IP, f.GRE, f.ESP, 2, 132, 136, 255):
        inner = scene.datagram(scene.victim.address)
        yield scene.frame(f.ip(scene.victim.address, OBSERVER, protocol, inner + f.EVIL))


@attack
def whole_fragments_in_the_victims_name(scene: Scene) -> Iterator[bytes]:
    source = scene.victim.address
    whole = f.udp(source, OBSERVER, 4444, EVIL_PORT, f.EVIL * 200)
    for pieces in ([0, 800, 1600], [1600, 800, 0]):
        for at in pieces:
            yield scene.frame(
                f.ip(source, OBSERVER, f.UDP, whole[at : at + 800], number=77, offset=at, more=at + 800 < len(whole))
            )


@attack
def overlapping_and_tiny_fragments(scene: Scene) -> Iterator[bytes]:
    for source in (scene.victim.address, scene.me.address):
        whole = f.udp(source, OBSERVER, 4444, EVIL_PORT, f.EVIL * 20)
        for number, (at, size, more) in enumerate([(0, 8, True), (0, 64, True), (8, 96, True), (40, 48, False)]):
            yield scene.frame(
                f.ip(source, OBSERVER, f.UDP, whole[at : at + size], number=78 + number // 4, offset=at, more=more)
            )


@attack
def options_in_the_victims_name(scene: Scene) -> Iterator[bytes]:
    for kind in (f.LOOSE, f.STRICT, f.RECORD):
        for hops in ((GATEWAY,), (GATEWAY, OBSERVER), (NODE, GATEWAY, OBSERVER)):
            for to in (OBSERVER, NODE, GATEWAY):
                packet = scene.datagram(scene.victim.address, to, options=f.route_option(kind, *hops))
                yield scene.frame(packet)


# --- into the victim's connections --------------------------------------------------------------------------------


@attack
def bytes_into_the_victims_connection(scene: Scene) -> Iterator[bytes]:
    """With the right ports and numbers, as the victim."""
    me, last = scene.victim.address, scene.tcp
    seq, ack = (last.seq, last.ack) if last else (1, 1)
    for flags, payload in ((f.PSH_ACK, f.EVIL), (f.RST, b""), (f.RST | f.ACK, b""), (f.SYN, b"")):
        segment = f.tcp(me, OBSERVER, (scene.tcp_port, 80), flags, seq=seq, ack=ack, payload=payload)
        yield scene.frame(f.ip(me, OBSERVER, f.TCP, segment))
    yield scene.frame(scene.datagram(me, sport=scene.udp_port, dport=80))


@attack
def bytes_into_the_nodes_end_of_it(scene: Scene) -> Iterator[bytes]:
    """As the node, whose address and port the connection has on its way to the gateway."""
    sport, last = (scene.tcp.sport, scene.tcp) if scene.tcp else (20000, None)
    seq, ack = (last.seq, last.ack) if last else (1, 1)
    for flags, payload in ((f.PSH_ACK, f.EVIL), (f.RST, b"")):
        segment = f.tcp(NODE, OBSERVER, (sport, 80), flags, seq=seq, ack=ack, payload=payload)
        yield scene.frame(f.ip(NODE, OBSERVER, f.TCP, segment))
    yield scene.frame(scene.datagram(NODE, sport=scene.udp.sport if scene.udp else 20001, dport=80))


@attack
def answers_in_the_internets_name(scene: Scene) -> Iterator[bytes]:
    """To the node's end and to the victim's."""
    last = scene.tcp
    numbers = {"seq": last.ack, "ack": last.seq} if last else {}
    for to, tcp_port, udp_port in (
        (NODE, last.sport if last else 20000, scene.udp.sport if scene.udp else 20001),
        (scene.victim.address, scene.tcp_port, scene.udp_port),
    ):
        for flags, payload in ((f.PSH_ACK, f.EVIL), (f.RST | f.ACK, b"")):
            segment = f.tcp(OBSERVER, to, (80, tcp_port), flags, payload=payload, **numbers)
            yield scene.frame(f.ip(OBSERVER, to, f.TCP, segment))
        answer = f.ip(OBSERVER, to, f.UDP, f.udp(OBSERVER, to, 80, udp_port))
        yield scene.frame(answer)
        yield f.ethernet(scene.victim.mac, scene.me.mac, 0x0800, answer)


@attack
def errors_about_the_victims_connections(scene: Scene) -> Iterator[bytes]:
    """ICMP errors that quote them, outwards and inwards: conntrack takes such a packet for the connection's."""
    victim = scene.victim.address
    for protocol, port, head in ((f.TCP, scene.tcp_port, f.tcp), (f.UDP, scene.udp_port, None)):
        there = f.tcp(victim, OBSERVER, (port, 80), f.ACK) if head else f.udp(victim, OBSERVER, port, 80)
        back = f.tcp(OBSERVER, victim, (80, port), f.ACK) if head else f.udp(OBSERVER, victim, 80, port)
        for kind, code in ((3, 1), (3, 3), (3, 4), (5, 1), (11, 0), (12, 0)):
            for source in (scene.me.address, victim):
                quoted = f.ip(OBSERVER, victim, protocol, back)
                yield scene.frame(f.ip(source, OBSERVER, f.ICMP, f.icmp(kind, code, 500, quoted + f.EVIL)))
            quoted = f.ip(NODE, OBSERVER, protocol, there)
            yield scene.frame(f.ip(scene.me.address, NODE, f.ICMP, f.icmp(kind, code, 500, quoted)))


# --- towards the gateways -------------------------------------------------------------------------------------------


@attack
def packets_to_the_gateways(scene: Scene) -> Iterator[bytes]:
    for gateway in (GATEWAY, GATEWAY_B):
        yield from map(scene.frame, scene.trio(scene.me.address, gateway))
        yield scene.frame(scene.datagram(scene.me.address, gateway, dport=PROBE_PORT))
        yield scene.frame(scene.datagram(NODE, gateway, dport=PROBE_PORT))
        yield scene.frame(scene.datagram(OTHER_NODE, gateway, dport=PROBE_PORT))
        inner = scene.datagram(scene.victim.address)
        yield scene.frame(f.ip(scene.me.address, gateway, f.IPIP, inner))


@attack
def source_routes_over_the_gateways(scene: Scene) -> Iterator[bytes]:
    for kind in (f.LOOSE, f.STRICT):
        for first, hops in (
            (OBSERVER, (GATEWAY,)),
            (GATEWAY, (OBSERVER,)),
            (NODE, (GATEWAY, OBSERVER)),
            (BRIDGE, (GATEWAY, OBSERVER)),
            (VPC_HOST, (GATEWAY, OBSERVER)),
        ):
            option = f.route_option(kind, *hops)
            yield from map(scene.frame, scene.trio(scene.me.address, first, options=option))


@attack
def frames_addressed_to_the_gateways_station(scene: Scene) -> Iterator[bytes]:
    """What a route with an onlink next hop makes; nobody on this link has that station address."""
    for station in ("02:00:00:00:00:11", f.BROADCAST, scene.victim.mac, "01:00:5e:00:00:01"):
        for packet in scene.trio(scene.victim.address):
            yield f.ethernet(station, scene.me.mac, 0x0800, packet)


@attack
def one_hop_to_live(scene: Scene) -> Iterator[bytes]:
    for source in (scene.victim.address, scene.me.address):
        for ttl in (0, 1, 2):
            yield from map(scene.frame, scene.trio(source, ttl=ttl))


# --- disguised on the wire ------------------------------------------------------------------------------------------


@attack
def tags_round_a_false_source(scene: Scene) -> Iterator[bytes]:
    packet = scene.datagram(scene.victim.address)
    for tags in (
        ((VLAN, 0),),
        ((SERVICE_VLAN, 0),),
        ((VLAN, 5),),
        ((VLAN, 0), (VLAN, 0)),
        ((SERVICE_VLAN, 0), (VLAN, 0)),
        ((VLAN, 0), (VLAN, 5)),
        ((VLAN, 0), (VLAN, 0), (VLAN, 0)),
    ):
        yield scene.frame(packet, tags=tags)


@attack
def a_link_layer_header_of_802_3(scene: Scene) -> Iterator[bytes]:
    yield f.llc(scene.me.router, scene.me.mac, scene.datagram(scene.victim.address))


@attack
def stations_of_others(scene: Scene) -> Iterator[bytes]:
    for source in (scene.victim.mac, scene.me.router, f.BROADCAST):
        for to in (scene.me.router, LLDP, PAUSE, BRIDGES):
            yield f.ethernet(to, source, 0x0800, scene.datagram(scene.victim.address))


@attack
def frames_for_bridges_only(scene: Scene) -> Iterator[bytes]:
    for to in (LLDP, PAUSE, BRIDGES, "01:80:c2:00:00:01", "01:80:c2:00:00:02"):
        yield f.ethernet(to, scene.me.mac, 0x0800, scene.datagram(scene.victim.address))


@attack
def groups_and_everybody_as_destination(scene: Scene) -> Iterator[bytes]:
    for to in ("224.0.0.1", "239.1.1.1", "255.255.255.255", "10.110.15.255", "198.51.100.255", "10.244.1.255"):
        for source in (scene.victim.address, scene.me.address):
            yield scene.frame(scene.datagram(source, to))


@attack
def a_tunnel_to_the_node(scene: Scene) -> Iterator[bytes]:
    """VXLAN and others with the victim's packet inside, to whoever takes them off."""
    inner = scene.datagram(scene.victim.address)
    vxlan = b"\x08\0\0\0\0\0\x01\0" + f.ethernet(VXLAN_STATION, scene.me.mac, 0x0800, inner)
    for to in (NODE, N1):
        yield scene.frame(f.ip(scene.me.address, to, f.UDP, f.udp("", to, 4444, 8472, vxlan)))
        yield scene.frame(f.ip(scene.me.address, to, f.IPIP, inner))
        yield scene.frame(f.ip(scene.me.address, to, f.GRE, b"\0\0\x08\0" + inner))


VXLAN_STATION = "02:00:00:00:84:72"


# --- neighbour tables -----------------------------------------------------------------------------------------------


def claims(scene: Scene) -> Iterator[bytes]:
    """Return ARP packets that would put the attacker in the victim's or the router's place."""
    me, victim = scene.me.mac, scene.victim
    for operation in (1, 2):
        for to, target in (
            (f.BROADCAST, (f.BROADCAST, victim.address)),
            (scene.me.router, (scene.me.router, BRIDGE)),
            (victim.mac, (victim.mac, victim.address)),
        ):
            for address in (victim.address, BRIDGE):
                yield f.ethernet(to, me, 0x0806, f.arp(operation, (me, address), target))
                yield f.ethernet(to, victim.mac, 0x0806, f.arp(operation, (me, address), target))
    own = f.arp(2, (victim.mac, scene.me.address), (f.BROADCAST, BRIDGE))
    yield f.ethernet(f.BROADCAST, victim.mac, 0x0806, own)


@attack
def arp_claims(scene: Scene) -> Iterator[bytes]:
    yield from claims(scene)


@attack
def tagged_arp_claims(scene: Scene) -> Iterator[bytes]:
    for frame in claims(scene):
        for tags in (b"\x81\0\0\0", b"\x81\0\0\0\x81\0\0\0", b"\x88\xa8\0\0\x81\0\0\0"):
            yield frame[:12] + tags + frame[12:]


@attack
def redirects_to_the_attacker(scene: Scene) -> Iterator[bytes]:
    """In the router's name. A quoted echo reply needs no socket at the victim."""
    quoted = f.ip(scene.victim.address, OBSERVER, f.ICMP, f.icmp(0, 0, 1))
    for source in (BRIDGE, "10.244.255.1"):
        packet = f.ip(source, scene.victim.address, f.ICMP, f.redirect(scene.me.address, quoted))
        yield f.ethernet(scene.victim.mac, scene.me.mac, 0x0800, packet)
        yield scene.frame(packet)


# --- IPv6 -----------------------------------------------------------------------------------------------------------


@attack
def ipv6_of_all_kinds(scene: Scene) -> Iterator[bytes]:
    observer = "2001:db8:80::80"
    for source in ("fe80::1", "fd00::1", "2001:db8:1::111", "2001:db8:1::130", "::ffff:10.244.1.11", "::"):
        for to in (observer, "::ffff:192.0.2.80", "64:ff9b::c000:250", "2002:c000:250::1"):
            packet = f.ip6(source, to, f.UDP, f.udp("", "", 4444, EVIL_PORT))
            yield f.ethernet(scene.me.router, scene.me.mac, 0x86DD, packet)


@attack
def ipv6_inside_ipv4(scene: Scene) -> Iterator[bytes]:
    inner = f.ip6("2001:db8:1::130", "2001:db8:80::80", f.UDP, f.udp("", "", 4444, EVIL_PORT))
    for source in (scene.victim.address, NODE):
        for to in (OBSERVER, GATEWAY, "192.88.99.1"):
            yield scene.frame(f.ip(source, to, f.IPV6_IN_IP, inner))
