"""The data plane hears of others' changes to what is ours, and neither of its own nor of its neighbours'."""

import pytest
from dataplane_world import OBSERVER, A, B, World, route
from test_altered import ALTERATIONS

from tests.unit.node.rig import wait_for

pytestmark = pytest.mark.netns
MORE = {
    "everything": "nft flush ruleset",
    "our tables": "nft delete table inet sluicegate",
    "all rules": "ip rule flush",
    "another's route in a gateway's table": "ip route replace default via 10.110.0.50 table 52001 proto static",
    "private leg": "ip link set eth1 down",
    "sink": "ip link set sluicegate-sink down",
    "default route": "ip route replace default via 198.51.100.22",
    "a bridge's address": "ip addr add 10.244.9.1/24 dev cni0",
    "iptables": "iptables-nft -P FORWARD DROP",
    "reverse path filter of all": "sysctl -qw net.ipv4.conf.all.rp_filter=1",
}


def quiet(pods: World) -> None:
    """Have the node look until it has heard of all that it did itself: the second look changes nothing.

    A bridge's IPv6 address is news twice: when it is given, and seconds later, when nobody else has claimed it.
    """
    wait_for(lambda: not pods.sh("n1", "ip", "-6", "address", "show", "tentative"), "addresses that nobody else has")
    pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))
    pods["n1"]("altered")
    assert pods["n1"]("altered") is False


@pytest.mark.parametrize("command", [*[command for command, _ in ALTERATIONS.values()], *MORE.values()])
def test_what_others_alter_is_heard_of(pods: World, command: str) -> None:
    pods.start(pods.wish(routes=(route(),)))
    quiet(pods)
    pods.sh("n1", *command.split())
    assert pods["n1"]("altered") is True


def test_own_changes_are_no_news(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),), pods=("shop1", "blog1")))
    quiet(pods)
    both = pods.wish(routes=(route(),), pods=("shop1", "blog1", "shop2"))
    pods["n1"]("pod_added", wish=both, pod=pods.pods["shop2"])
    assert pods["n1"]("altered") is False
    for suspect in (["gw-a"], []):
        pods["n1"]("change", wish=pods.wish(routes=(route(),), suspect=suspect))
        assert pods["n1"]("altered") is False
    pods["n1"]("change", wish=pods.wish())
    pods["n1"]("pod_removed", wish=pods.wish(routes=(route(),), pods=("shop1",)), address="10.244.1.130")
    assert pods["n1"]("altered") is False


def test_what_a_platform_does_all_day_is_no_news(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),)))
    quiet(pods)
    pods.pod("shop4", "shop", "n1", "10.244.1.14")
    pods.pod("blog4", "blog", "n1", "10.244.1.134", bridged=True)
    pods.sh("n1", "nft", "add chain ip platform svc; add rule ip platform svc tcp dport 80 counter accept")
    pods.sh("n1", "iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
    pods.ip("n1", "route add 10.244.77.0/24 via 10.110.0.50\nrule add pref 100 to 10.96.0.0/16 lookup main")
    pods.ip("n1", "link del v-blog4")
    assert pods["n1"]("altered") is False


def test_our_change_amid_others_is_told_from_theirs(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),)))
    quiet(pods)
    pods["n1"]("change", wish=pods.wish(routes=(route(),), suspect=["gw-a"]))
    pods.sh("n1", "nft", "flush", "chain", "inet", "sluicegate", "fresh_7")
    pods["n1"]("change", wish=pods.wish(routes=(route(),), suspect=[]))
    assert pods["n1"]("altered") is True


def test_more_notices_than_can_be_held_count_as_an_alteration(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),)))
    quiet(pods)
    pods.sh("n1", "nft", "add", "chain", "ip", "platform", "flood")
    # Not all at once: outside root's own namespace a transaction is bounded.
    for start in range(0, 30_000, 1_000):
        numbers = range(start, start + 1_000)
        lines = (f"add rule ip platform flood ip daddr 10.1.{n // 256}.{n % 256} accept\n" for n in numbers)
        pods.sh("n1", "nft", "-f", "-", text="".join(lines))
    assert pods["n1"]("altered") is True
    assert pods["n1"]("altered") is False


def test_a_gateways_mark_is_kept_while_connections_bear_it_though_nobody_counted_them(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),)))
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    # The pod is out of sight without having been removed, and another app's gateways want marks.
    others = [{**each, "id": f"x-{each['id']}"} for each in route()["gateways"]]
    wish = pods.wish(routes=(route(), route("blog", pair=8, gateways=others)), pods=("blog1",))
    told = pods["n1"]("change", wish=wish)
    assert told["flows"] == {"gw-a": 1}
    assert pods.sh("n1", "ip", "route", "show", "table", "52001").startswith("default via 10.110.0.11")
    assert pods["blog1"]("ask", to=OBSERVER, port=80) in {A, B}
    # What it left is ended then, for its address may soon be another's; only after that the mark is free.
    assert "gw-a" not in pods["n1"]("change", wish=wish)["flows"]


def test_a_drain_asks_to_be_called_again_and_counts_anew(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),)))
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    told = pods["n1"]("change", wish=pods.wish(routes=(route(state="draining"),)))
    assert told["flows"] == {"gw-a": 1}
    assert told["again_seconds"] <= 1
