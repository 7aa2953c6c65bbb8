"""Attacks that need more than frames from outside: the victim's own packets, its silence, the node's tables."""

import time
from collections.abc import Iterator

import frames as f
import pytest
from attacks import BRIDGE, BRIDGES, EVIL_PORT, GATEWAY, GATEWAY_B, LLDP, NODE, PAUSE, SERVICE, VLAN, Scene
from dataplane_world import N1, OBSERVER, VPC_HOST, A
from lair import Lair, Packet, evil_by_the_pair

pytestmark = pytest.mark.netns
NEIGHBOURS = pytest.mark.parametrize(("liar", "victim"), [("blog1", "shop1"), ("blog2", "shop2"), ("blog2", "shop1")])

GATEWAYS = {"gw-a": GATEWAY, "gw-b": GATEWAY_B}
TRICKS = f"""
table ip tricks {{
  chain pre {{ type nat hook prerouting priority dstnat - 1;
    ip daddr {SERVICE} udp dport 7 dnat to {GATEWAY}:7946
    ip daddr {SERVICE} tcp dport 7 dnat to {GATEWAY}:80
    ip daddr {NODE} udp dport 30007 dnat to {GATEWAY}:7946
  }}
  chain post {{ type nat hook postrouting priority srcnat;
    ip daddr {GATEWAY} masquerade
  }}
}}
"""


def scene(lair: Lair, liar: str, victim: str) -> Scene:
    return Scene(lair.places[liar], lair.places[victim])


def by_the_pair(seen: list[Packet]) -> list[Packet]:
    return [packet for packet in seen if packet.leg != "n1"]


@NEIGHBOURS
def test_a_neighbours_first_fragment_never_leaves_with_the_victims_rest(lair: Lair, liar: str, victim: str) -> None:
    source = lair.places[victim].address
    whole = f.udp(source, OBSERVER, 4444, EVIL_PORT, b"honest!!" * 200)
    # Without a checksum: that of the victim's rest isn't known.
    evil = f.udp("", "", 4444, EVIL_PORT, (f.EVIL * 134)[:1600])[:800]

    def fragment(at: int, content: bytes, number: int) -> bytes:
        return f.ip(source, OBSERVER, f.UDP, content, number=number, offset=at, more=at == 0)

    lair.hush(victim, liar)
    lair.send_packets(victim, fragment(0, whole[:800], 1), fragment(800, whole[800:], 1))
    assert by_the_pair(lair.show_sign(victim, liar)), "else the test shows nothing"
    lair.send_packets(liar, fragment(0, evil, 2))
    lair.send_packets(victim, fragment(800, whole[800:], 2))
    lair.send_packets(liar, fragment(0, evil, 3))
    seen = lair.show_sign(victim, liar)
    assert [packet for packet in seen if packet.evil] == []
    assert by_the_pair(seen) == []


@pytest.mark.parametrize("silent", [False, True], ids=["station stolen", "station forgotten"])
def test_what_is_for_a_pod_on_a_bridge_is_never_overheard(lair: Lair, *, silent: bool) -> None:
    at = scene(lair, "blog2", "shop2")
    assert lair["shop2"]("open", name="udp", to=OBSERVER, port=80, kind="udp") == A
    lair["blog2"]("watch", interfaces=["eth0"])
    if silent:
        lair.sh("n1", "bridge", "fdb", "del", at.victim.mac, "dev", at.victim.port, "master")
    else:
        # What the bridge's own switch prevents, on a kernel that has it.
        lair.sh("n1", "bridge", "fdb", "replace", at.victim.mac, "dev", at.me.port, "master", "dynamic")
    lair["net"]("push")
    lair.show_sign("blog2")
    heard = [bytes.fromhex(packet) for _, packet in lair["blog2"]("watched")]
    assert [packet for packet in heard if b"still there?" in packet] == []
    assert lair["shop2"]("ask", to=OBSERVER, port=80) == A


@pytest.mark.parametrize("to", [LLDP, PAUSE, BRIDGES, f.BROADCAST, "router"])
def test_a_neighbour_never_moves_a_pods_station_to_its_own_port(lair: Lair, to: str) -> None:
    """Or it would have what is sent there thrown away, as often as it likes."""
    at = scene(lair, "blog2", "shop2")
    assert lair["shop2"]("open", name="udp", to=OBSERVER, port=80, kind="udp") == A
    station = at.victim.router if to == "router" else to
    theft = [f.ethernet(station, at.victim.mac, kind, f.EVIL * 5) for kind in (0x88CC, 0x0800, 0x0806, 0x86DD)]
    lair.send("blog2", *theft, at.frame(at.datagram(at.me.address)).replace(f.mac_bytes(at.me.mac), theft[0][6:12]))
    lair.show_sign("blog2")
    fdb = lair.sh("n1", "bridge", "fdb", "show", "br", "cni0")
    assert f"{at.victim.mac} dev {at.victim.port}" in fdb
    assert lair["shop2"]("say", name="udp") == A


@NEIGHBOURS
def test_own_routes_addresses_and_marks_lead_nobody_to_the_pair(lair: Lair, liar: str, victim: str) -> None:
    lair.hush(victim, liar)
    address = lair.places[victim].address
    lair.ip(liar, f"addr add {address}/32 dev eth0")
    try:
        for hop in (GATEWAY, NODE, "10.110.0.22", BRIDGE):
            lair.ip(liar, f"route replace {OBSERVER}/32 via {hop} dev eth0 onlink")
            lair.ip(liar, f"neigh replace {hop} lladdr {lair.places[liar].router} dev eth0")
            for mark in (0, 0x10000, 0x20000, 0xFFE0000, 0xFFF0000):
                for source in ("", address):
                    lair[liar]("tell_marked", to=OBSERVER, port=EVIL_PORT, mark=mark, source=source)
        assert by_the_pair(lair.show_sign(victim, liar)) == []
        lair.ip(liar, f"route replace {OBSERVER}/32 via {BRIDGE} dev eth0 onlink src {address}")
        assert lair[liar]("ask", to=OBSERVER, port=80, timeout=0.1) != A
        assert by_the_pair(lair.show_sign(victim)) == []
    finally:
        lair.ip(liar, f"route del {OBSERVER}/32\naddr del {address}/32 dev eth0\nneigh flush dev eth0")
    assert lair[liar]("ask", to=OBSERVER, port=80) == N1


@pytest.fixture
def one_leg(lair: Lair) -> Iterator[None]:
    """A node that reaches the internet by its private leg, too, and heeds redirects."""
    rule = "type nat hook postrouting priority srcnat + 1; ip saddr 10.244.0.0/16 oifname eth1 masquerade"
    lair.sh("n1", "nft", f"table ip tricks {{ chain one {{ {rule}; }}; }}")
    lair.sh("n1", "sysctl", "-qw", "net.ipv4.conf.all.accept_redirects=1")
    lair.ip("n1", f"route replace default via {VPC_HOST}")
    yield
    lair.ip("n1", "route replace default via 198.51.100.1")
    lair.sh("n1", "sysctl", "-qw", "net.ipv4.conf.all.accept_redirects=0")
    lair.sh("n1", "nft", "delete table ip tricks")


@pytest.mark.usefixtures("one_leg")
@pytest.mark.parametrize("liar", ["blog1", "blog2"])
def test_no_redirect_from_a_pod_moves_the_nodes_next_hop(lair: Lair, liar: str) -> None:
    """The kernel asks only whether it comes in the present next hop's name."""
    quoted = f.ip(NODE, OBSERVER, f.ICMP, f.icmp(0, 0, 1))
    # It counts only where the next hop that it names is known as a neighbour already.
    lair.ip("n1", f"neigh replace {GATEWAY} lladdr {lair.station_of('gw-a', 'eth1')} dev eth1")
    lair.send_packets(liar, f.ip(VPC_HOST, NODE, f.ICMP, f.redirect(GATEWAY, quoted)))
    lair.show_sign("shop1")
    assert f"via {VPC_HOST}" in lair.sh("n1", "ip", "route", "get", OBSERVER)


@pytest.mark.usefixtures("one_leg")
@pytest.mark.parametrize("liar", ["blog1", "blog2"])
def test_no_route_on_the_node_leads_a_neighbour_to_a_gateway(lair: Lair, liar: str) -> None:
    me = lair.places[liar].address
    lair.ip("n1", f"route add {OBSERVER} via {GATEWAY} dev eth1")
    try:
        lair.send_packets(liar, f.ip(me, OBSERVER, f.UDP, f.udp(me, OBSERVER, 4444, EVIL_PORT)))
        assert [packet for packet in lair.show_sign("shop1") if packet.evil] == []
        assert lair["shop1"]("ask", to=OBSERVER, port=80) == A
    finally:
        lair.ip("n1", f"route del {OBSERVER} via {GATEWAY} dev eth1")


@pytest.mark.parametrize("liar", ["blog1", "blog2", "shop1", "shop2"])
def test_no_service_or_node_port_leads_to_a_gateway(lair: Lair, liar: str) -> None:
    """A tenant that may make services chooses where they lead."""
    lair["gw-a"]("watch", interfaces=["eth1"])
    lair.sh("n1", "nft", "-f", "-", text=TRICKS)
    try:
        for to, port, kind in ((SERVICE, 7, "udp"), (SERVICE, 7, "tcp"), (NODE, 30007, "udp")):
            assert lair[liar]("ask", to=to, port=port, kind=kind, timeout=0.2) == "No route to host"
        lair.sh("n1", "sysctl", "-qw", "net.ipv4.conf.all.accept_source_route=1")
        me = lair.places[liar].address
        for first in (NODE, BRIDGE, OBSERVER):
            option = f.route_option(f.LOOSE, GATEWAY, OBSERVER)
            lair.send_packets(liar, f.ip(me, first, f.UDP, f.udp(me, first, 4444, 7946), options=option))
        lair.show_sign("shop1")
    finally:
        lair.sh("n1", "sysctl", "-qw", "net.ipv4.conf.all.accept_source_route=0")
        lair.sh("n1", "nft", "delete table ip tricks")
    arrived = [bytes.fromhex(packet) for _, packet in lair["gw-a"]("watched")]
    assert [packet for packet in arrived if f.EVIL in packet or packet[16:20] == b"\x0a\x6e\x00\x0b"] == []


@pytest.mark.parametrize("pod", ["shop1", "shop2"])
def test_no_protocol_of_an_enabled_pod_takes_the_shared_path(lair: Lair, pod: str) -> None:
    me = lair.places[pod]
    lair.hush(pod, "blog1")
    inner = f.ip(me.address, OBSERVER, f.UDP, f.udp(me.address, OBSERVER, 1, 2))
    packets = [f.ip(me.address, OBSERVER, kind, inner) for kind in (f.IPIP, f.IPV6_IN_IP, f.GRE, f.ESP, 132, 136, 200)]
    packets += [f.ip(me.address, OBSERVER, f.ICMP, f.icmp(8, 0, 1))]
    packets += [f.ip(me.address, OBSERVER, f.UDP, f.udp(me.address, OBSERVER, 1, 2), options=f.route_option(7, NODE))]
    packets += [
        f.ip(me.address, to, f.UDP, f.udp(me.address, to, 1, 2), options=f.route_option(kind, OBSERVER))
        for kind in (f.LOOSE, f.STRICT)
        for to in (NODE, BRIDGE, OBSERVER)
    ]
    lair.sh("n1", "sysctl", "-qw", "net.ipv4.conf.all.accept_source_route=1")
    lair.send_packets(pod, *packets)
    twice = ((VLAN, 0), (VLAN, 0))
    six = f.ip6("2001:db8:1::130", "2001:db8:80::80", f.UDP, f.udp("", "", 4444, EVIL_PORT))
    lair.send(pod, f.ethernet(me.router, me.mac, 0x0800, packets[0], tags=twice))
    lair.send(pod, f.ethernet(me.router, me.mac, 0x86DD, six, tags=twice))
    false = f.ip("10.244.1.131", OBSERVER, f.UDP, f.udp("10.244.1.131", OBSERVER, 1, 2))
    lair.send(pod, *(f.ethernet(me.router, me.mac, 0x0800, false, tags=tags) for tags in ((), twice[:1], twice)))
    seen = lair.show_sign(pod, "blog1")
    lair.sh("n1", "sysctl", "-qw", "net.ipv4.conf.all.accept_source_route=0")
    assert {packet.leg for packet in seen if packet.evil} == {"gw-a"}
    assert {packet.source for packet in seen if packet.evil} == {A}


def test_a_neighbour_with_many_connections_costs_the_victim_none(lair: Lair) -> None:
    """What fills the node's table of connections fills it for all; until then nobody notices."""
    at = scene(lair, "blog1", "shop1")
    assert lair["shop1"]("open", name="tcp", to=OBSERVER, port=80) == A
    lair.hush("shop1", "blog1")
    for block in range(10):
        lair.send(
            "blog1",
            *(at.frame(at.datagram(at.me.address, sport=1024 + block * 1000 + n, dport=9)) for n in range(1000)),
        )
    assert lair["shop1"]("say", name="tcp") == A
    assert lair["shop1"]("ask", to=OBSERVER, port=80) == A
    assert evil_by_the_pair([packet for packet in lair.show_sign("shop1") if packet.leg != "n1"]) == []
    lair["shop1"]("hang_up", name="tcp")
    lair.sh("n1", "conntrack", "-D", "-s", at.me.address)


@pytest.mark.parametrize("liar", ["blog1", "blog2"])
def test_a_neighbours_flood_never_makes_a_gateway_suspect(lair: Lair, liar: str) -> None:
    """Or everybody on the node could take everybody's gateways away."""
    key = "5e" * 32
    for name, host in GATEWAYS.items():
        if liar == "blog1":
            lair[name]("answer_probes", host=host, key=key)
    lair["n1"]("probe", targets=GATEWAYS, key=key, interface="eth1")
    try:
        end = time.monotonic() + 20
        while set(lair["n1"]("probed")) != {"healthy"}:
            assert time.monotonic() < end
        port = lair["n1"]("probed_from")
        me = lair.places[liar].address
        flood = [lair.frame_of(liar, f.ip(me, NODE, f.UDP, f.udp(me, NODE, 4444, port))) for _ in range(2000)]
        for _ in range(5):
            lair.send(liar, *flood)
        assert set(lair["n1"]("probed")) == {"healthy"}
    finally:
        lair["n1"]("probe_no_more")
