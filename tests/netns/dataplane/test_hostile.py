"""Neighbours that lie, and pods that try to get past their pair."""

import pytest
from dataplane_world import N1, OBSERVER, A, World, route

pytestmark = pytest.mark.netns


@pytest.mark.parametrize(
    ("liar", "victim"), [("blog1", "shop1"), ("blog2", "shop2"), ("blog2", "shop1"), ("blog1", "shop2")]
)
def test_a_neighbour_that_spoofs_gets_nothing_out(pods: World, liar: str, victim: str) -> None:
    pods.start(pods.wish(routes=(route(),)))
    pods[victim]("open", name="real", to=OBSERVER, port=80, kind="udp")
    pods.sources()
    pods[liar]("spoof", source=pods.pods[victim]["address"], to=OBSERVER, port=80)
    assert pods.sources() == set()


@pytest.mark.parametrize("pod", ["shop1", "shop2"])
def test_an_enabled_pod_gains_nothing_by_spoofing(pods: World, pod: str) -> None:
    pods.start(pods.wish(routes=(route(),)))
    for source in ("10.244.1.12", "10.244.1.200", "198.51.100.21"):
        pods[pod]("spoof", source=source, to=OBSERVER, port=80)
    assert pods.sources() == set()


def test_arp_and_mac_takeover_on_a_bridge_fail(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),)))
    assert pods["shop2"]("ask", to=OBSERVER, port=80) == A
    own, victims = pods.pods["blog2"]["mac"], pods.pods["shop2"]["mac"]
    pods["blog2"]("claim", address="10.244.1.130", target="10.244.1.129", mac=own)
    pods["blog2"]("claim", address="10.244.1.129", target="10.244.1.130", mac=own)
    pods["blog2"]("claim", address="10.244.1.131", target="10.244.1.129", mac=victims)
    assert victims in pods.sh("n1", "ip", "neigh", "show", "10.244.1.130")
    assert pods["shop2"]("ask", to=OBSERVER, port=80) == A
    assert "v-shop2" in next(
        line for line in pods.sh("n1", "bridge", "fdb", "show", "br", "cni0").splitlines() if line.startswith(victims)
    )


def test_ipv6_internet_traffic_of_enabled_pods_is_refused_and_neighbours_pass(pods: World) -> None:
    observer, ours = "2001:db8:80::80", "2001:db8:1::"
    pods.ip("net", f"addr add {observer}/128 dev lo nodad\naddr add 2001:db8::1/64 dev br0 nodad")
    pods.ip("net", f"route add {ours}/48 via 2001:db8::21")
    pods.ip("n1", "addr add 2001:db8::21/64 dev eth0 nodad\nroute add default via 2001:db8::1")
    pods.ip("n1", f"addr add {ours}129/120 dev cni0 nodad")
    pods.sh("n1", "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    for name, host in (("shop1", "11"), ("blog1", "12")):
        pods.ip("n1", f"addr add fe80::1/64 dev v-{name} nodad\nroute add {ours}1{host}/128 dev v-{name}")
        pods.ip(name, f"addr add {ours}1{host}/128 dev eth0 nodad\nroute add default via fe80::1 dev eth0")
    for name, host in (("shop2", "30"), ("blog2", "31")):
        pods.ip(name, f"addr add {ours}1{host}/120 dev eth0 nodad\nroute add default via {ours}129")
    pods["net"]("serve", port=80, host=observer)
    pods["n1"]("serve", port=80, host=f"{ours}129")
    pods.start(pods.wish(routes=(route(),)))
    for name in ("blog1", "blog2"):
        assert pods[name]("ask", to=observer, port=80).startswith(ours), "else the test shows nothing"
    for name in ("shop1", "shop2"):
        assert pods[name]("ask", to=observer, port=80) == "Connection refused"
        assert pods[name]("ask", to=observer, port=80, kind="udp") == "Permission denied"
        assert pods[name]("ask", to=f"{ours}129", port=80).startswith(ours), "the node itself"


def test_a_shared_entry_waiting_at_an_address_is_never_used_by_the_enabled_pod_that_gets_it(pods: World) -> None:
    """The structural guarantee: it holds even where conntrack was poisoned behind the agent's back."""
    wish = pods.wish(routes=(route(),), pods=("blog1",))
    pods.start(wish)
    pods["n1"]("pod_added", wish=pods.wish(routes=(route(),), pods=("blog1", "shop1")), pod=pods.pods["shop1"])
    entry = "-p udp -s 10.244.1.11 -d 192.0.2.80 --sport 5555 --dport 80 -r 192.0.2.80 -q 198.51.100.21"
    entry += " --reply-port-src 80 --reply-port-dst 5555 -u SEEN_REPLY,ASSURED -t 60"
    pods.sh("n1", "conntrack", "-I", *entry.split())
    assert pods["shop1"]("ask", to=OBSERVER, port=80, kind="udp", source=5555) != N1
    assert pods.sources() == set()
