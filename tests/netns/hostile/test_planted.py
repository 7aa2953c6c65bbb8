"""A neighbour that speaks first, in the internet's name: what a pod sends there later isn't taken for an answer.

Connection tracking remembers whoever began. An answer takes the shared path, so a false beginning would lead a victim's
packets past its pair: sent before the victim is born or enabled, from another node, through a service or a tunnel.
"""

import itertools
from collections.abc import Iterator

import frames as f
import pytest
from attacks import NODE, VXLAN_STATION
from dataplane_world import N1, OBSERVER, A, route
from lair import Lair, Packet, Place

pytestmark = pytest.mark.netns
LIARS = pytest.mark.parametrize("liar", ["blog1", "blog2"])
KINDS = pytest.mark.parametrize("bridged", [False, True], ids=["ptp", "bridge"])
#: Of the victim, as known to whoever knows its program; nobody listens at the other end's.
PORT, SILENT = 5555, 9
NODE_PORT = 30099
SERVICE_RULES = f"""
table ip tricks {{
  chain pre {{ type nat hook prerouting priority dstnat - 1;
    ip daddr {N1} meta l4proto {{ tcp, udp }} th dport {NODE_PORT} dnat to VICTIM:{PORT}
  }}
}}
"""
_addresses = itertools.count(90)


@pytest.fixture(scope="module", autouse=True)
def _second_node(lair: Lair) -> None:
    """With an agent as on every node, and a neighbour."""
    pod = lair.pod("blog3", "blog", "n2", "10.244.2.12")
    del lair.pods["blog3"]
    router = lair.station_of("n2", pod["interface"])
    lair.places["blog3"] = Place("blog3", pod["address"], pod["mac"], router, pod["interface"])
    lair.start({**lair.wish("n2", routes=(route(),)), "pods": [pod]}, "n2")


@pytest.fixture
def victim(lair: Lair) -> Iterator[str]:
    """An address that no pod ever had, for a pod of the test's own."""
    yield f"10.244.1.{next(_addresses) + 100}"
    if "victim" in lair.pods:
        lair.vanish("victim")
    lair["n1"]("reconcile", wish=lair.here())


def beginnings(to: str, port: int = PORT) -> list[bytes]:
    """Return what would begin a connection from the internet, by each protocol."""
    return [
        f.ip(OBSERVER, to, f.UDP, f.udp(OBSERVER, to, SILENT, port)),
        f.ip(OBSERVER, to, f.TCP, f.tcp(OBSERVER, to, (SILENT, port), f.SYN)),
        f.ip(OBSERVER, to, f.TCP, f.tcp(OBSERVER, to, (SILENT, port + 1), f.ACK)),
        f.ip(OBSERVER, to, f.ICMP, f.icmp(8, 0, PORT << 16)),
    ]


def speak(lair: Lair, name: str) -> list[Packet]:
    """Have the pod begin the same connections from its side, and return all that comes out."""
    me = lair.places[name].address
    lair.send_packets(
        name,
        f.ip(me, OBSERVER, f.UDP, f.udp(me, OBSERVER, PORT, SILENT, b"mine")),
        f.ip(me, OBSERVER, f.TCP, f.tcp(me, OBSERVER, (PORT, SILENT), f.SYN)),
        f.ip(me, OBSERVER, f.TCP, f.tcp(me, OBSERVER, (PORT + 1, SILENT), f.SYN)),
        f.ip(me, OBSERVER, f.ICMP, f.icmp(8, 0, PORT << 16, b"mine")),
    )
    return lair.show_sign(name, "blog1")


def comes_by_the_pair(seen: list[Packet]) -> None:
    assert {(packet.leg, packet.source) for packet in seen} == {("gw-a", A)}
    assert {packet.protocol for packet in seen} == {f.UDP, f.TCP, f.ICMP}


@LIARS
@KINDS
def test_what_waited_at_an_address_is_no_way_past_the_pair_of_who_is_born_there(
    lair: Lair, victim: str, liar: str, *, bridged: bool
) -> None:
    lair.hush("shop1", "blog1")
    lair.send_packets(liar, *beginnings(victim))
    lair.add_pod("victim", "shop", victim, bridged=bridged)
    comes_by_the_pair(speak(lair, "victim"))


@KINDS
def test_nor_what_a_container_said_that_began_while_the_agent_stood_still(
    lair: Lair, victim: str, *, bridged: bool
) -> None:
    lair.settle("stranger", "blog", f"10.244.1.{next(_addresses) + 100}", bridged=bridged)
    unknown = lair.pods.pop("stranger")
    try:
        lair.add_pod("victim", "late", victim, bridged=bridged)
        lair.send_packets("stranger", *beginnings(victim))
        lair["n1"]("change", wish=lair.wish(routes=(route(), route("late", pair=9))))
        comes_by_the_pair(speak(lair, "victim"))
    finally:
        lair.pods["stranger"] = unknown
        lair.vanish("stranger")


@KINDS
def test_what_conntrack_holds_for_an_address_ends_when_an_enabled_pod_gets_it(
    lair: Lair, victim: str, *, bridged: bool
) -> None:
    """Whatever way it came there: by an interface that the agent knows nothing of, say."""
    for protocol, more in (("udp", ""), ("tcp", "--state SYN_SENT")):
        entry = f"-p {protocol} -s {OBSERVER} -d {victim} --sport {SILENT} --dport {PORT} -t 60 {more}"
        lair.sh("n1", "conntrack", "-I", *entry.split())
    lair.add_pod("victim", "shop", victim, bridged=bridged)
    comes_by_the_pair(speak(lair, "victim"))


@LIARS
def test_nor_what_a_service_translated(lair: Lair, victim: str, liar: str) -> None:
    """It would leave from the node's own public address."""
    lair.sh("n1", "nft", "-f", "-", text=SERVICE_RULES.replace("VICTIM", victim))
    try:
        lair.send_packets(liar, *beginnings(N1, NODE_PORT))
        lair.show_sign("blog1")  # The node itself answers what isn't translated.
        lair.add_pod("victim", "shop", victim, bridged=False)
        comes_by_the_pair(speak(lair, "victim"))
    finally:
        lair.sh("n1", "nft", "delete table ip tricks")


@LIARS
@KINDS
def test_nor_what_was_there_when_the_app_was_enabled(lair: Lair, victim: str, liar: str, *, bridged: bool) -> None:
    lair.add_pod("victim", "late", victim, bridged=bridged)
    lair.send_packets(liar, *beginnings(victim))
    lair["n1"]("change", wish=lair.wish(routes=(route(), route("late", pair=9))))
    comes_by_the_pair(speak(lair, "victim"))


@pytest.mark.parametrize("victim", ["shop1", "shop2"])
def test_nor_what_came_from_another_node(lair: Lair, victim: str) -> None:
    lair.hush(victim, "blog1")
    lair.send_packets("blog3", *beginnings(lair.places[victim].address))
    assert lair["blog3"]("ask", to="10.244.1.12", port=1) == "Connection refused", "what was sent before has got there"
    comes_by_the_pair(speak(lair, victim))


@LIARS
@pytest.mark.parametrize("victim", ["shop1", "shop2"])
def test_nor_what_came_in_a_tunnel(lair: Lair, victim: str, liar: str) -> None:
    lair.ip("n1", f"link add flannel.1 address {VXLAN_STATION} type vxlan id 1 dstport 8472 local {NODE} nolearning")
    lair.ip("n1", "link set flannel.1 up")
    try:
        lair.hush(victim, "blog1")
        me = lair.places[liar]
        for packet in beginnings(lair.places[victim].address):
            inner = b"\x08\0\0\0\0\0\x01\0" + f.ethernet(VXLAN_STATION, me.mac, 0x0800, packet)
            lair.send_packets(liar, f.ip(me.address, NODE, f.UDP, f.udp("", NODE, 4444, 8472, inner)))
        assert lair.sh("n1", "cat", "/sys/class/net/flannel.1/statistics/rx_packets") != "0\n", "else it shows nothing"
        comes_by_the_pair(speak(lair, victim))
    finally:
        lair.ip("n1", "link del flannel.1")


def test_a_neighbour_that_the_node_knows_as_a_router_speaks_for_its_network(lair: Lair) -> None:
    lair.ip("n1", "route add 172.30.0.0/24 dev v-blog1")
    try:
        lair["blog2"]("watch", interfaces=["eth0"])
        to = lair.places["blog2"].address
        lair.send_packets("blog1", f.ip("172.30.0.5", to, f.UDP, f.udp("172.30.0.5", to, SILENT, PORT)))
        assert lair["blog1"]("ask", to=to, port=1) == "Connection refused", "what was sent before has got there"
        heard = [bytes.fromhex(packet) for _, packet in lair["blog2"]("watched")]
        assert any(f.EVIL in packet for packet in heard)
    finally:
        lair.ip("n1", "route del 172.30.0.0/24 dev v-blog1")
