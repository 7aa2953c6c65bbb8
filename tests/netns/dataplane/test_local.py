"""What must go where it went before."""

import pytest
from dataplane_world import METADATA, N1, SERVICE, VPC_HOST, A, World, route

pytestmark = pytest.mark.netns
NODE_PORT = 30080


@pytest.mark.parametrize("bridge_netfilter", ["0", "1"])
def test_local_destinations_are_left_alone(pods: World, bridge_netfilter: str) -> None:
    pods.sh("n1", "sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={bridge_netfilter}")
    pods["vpc"]("serve", port=80, host=VPC_HOST)
    pods["blog2"]("serve", port=8080, host="10.244.1.131")
    pods["blog1"]("serve", port=8080, host="10.244.1.12")
    pods["n1"]("serve", port=8080, host="0.0.0.0")
    pods.start(pods.wish(routes=(route(),)))
    for name, address in (("shop1", "10.244.1.11"), ("shop2", "10.244.1.130")):
        pod = pods[name]
        assert pod("ask", to="10.244.1.131", port=8080) == address
        assert pod("ask", to="10.244.1.12", port=8080) == address
        assert pod("ask", to=SERVICE, port=80) == address
        assert pod("ask", to=VPC_HOST, port=80) == address
        assert pod("ask", to="10.244.1.129", port=8080) == address
        assert pod("ask", to=N1, port=8080) == address, "the node's own public address"
        assert pod("ask", to=METADATA, port=80) == N1
        assert pod("ask", to="192.0.2.80", port=80) == A


@pytest.mark.parametrize("reverse_path_filter", ["0", "1", "2"])
def test_replies_to_inbound_connections_leave_as_they_came(pods: World, reverse_path_filter: str) -> None:
    pods.sh("n1", "sysctl", "-qw", f"net.ipv4.conf.eth0.rp_filter={reverse_path_filter}")
    pods["shop1"]("serve", port=8080, host="10.244.1.11")
    pods.start(pods.wish(routes=(route(),)))
    assert pods["net"]("open", name="in", to=N1, port=NODE_PORT) == "198.51.100.1"
    assert pods["shop1"]("ask", to="192.0.2.80", port=80) == A
    told = pods["n1"]("reconcile", wish=pods.wish(routes=(route(state="draining"),)))
    assert pods["net"]("say", name="in") == "198.51.100.1"
    assert any("strict" in text for text in told["warnings"]) == (reverse_path_filter == "1")


def test_pods_cannot_reach_a_gateways_private_address(pods: World) -> None:
    pods["gw-a"]("serve", port=7946, host="10.110.0.11")
    pods.start(pods.wish(routes=(route(),)))
    for name in ("shop1", "blog1", "shop2", "blog2"):
        assert pods[name]("ask", to="10.110.0.11", port=7946) == "No route to host"
        assert pods[name]("ask", to="10.110.0.11", port=7946, kind="udp") == "No route to host"
    assert pods["n1"]("ask", to="10.110.0.11", port=7946, kind="udp") == "10.110.0.21", "the node's probes get through"


def test_foreign_forward_policy_drop_is_opened_for_diverted_packets_only(pods: World) -> None:
    pods.sh("n1", "iptables-nft", "-P", "FORWARD", "DROP")
    assert pods["shop1"]("ask", to="192.0.2.80", port=80, timeout=0.5) == "TimeoutError"
    pods.start(pods.wish(routes=(route(),)))
    assert pods["shop1"]("ask", to="192.0.2.80", port=80) == A
    assert pods["blog1"]("ask", to="192.0.2.80", port=80, timeout=0.5) == "TimeoutError"
    pods.sh("n1", "iptables-nft", "-F", "FORWARD")
    told = pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))
    assert any("FORWARD" in text for text in told["repaired"])
    assert pods["shop2"]("ask", to="192.0.2.80", port=80) == A


def test_a_dropping_chain_of_another_nftables_table_is_told(pods: World) -> None:
    pods.sh(
        "n1", "nft", "add table inet wall; add chain inet wall f { type filter hook forward priority 0; policy drop; }"
    )
    pods.start(pods.wish(routes=(route(),)))
    told = pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))
    assert any("wall" in text for text in told["warnings"])
