"""Lost tables, altered rules, restarts, collisions and neighbours that lie."""

import pytest
from dataplane_world import N1, OBSERVER, A, B, World, route

pytestmark = pytest.mark.netns


def test_flushed_ruleset_leaks_nothing_and_is_repaired(pods: World) -> None:
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    pods["blog2"]("serve", port=8080, host="10.244.1.131")
    pods.sh("n1", "nft", "flush", "ruleset")
    platform = (
        "table ip platform { chain post { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }"
    )
    pods.sh("n1", "nft", platform)
    pods.sources()
    for name in ("shop1", "shop2"):
        for kind in ("tcp", "udp"):
            assert pods[name]("ask", to=OBSERVER, port=80, kind=kind, timeout=0.3) == "TimeoutError"
        assert pods[name]("ask", to="10.244.1.131", port=8080) == pods.pods[name]["address"], "local traffic goes on"
    assert pods["blog1"]("ask", to=OBSERVER, port=80) == N1
    assert pods.sources() == {N1}
    told = pods["n1"]("reconcile", wish=wish)
    assert "table inet sluicegate was missing" in told["repaired"]
    assert pods["shop1"]("say", name="old") == A
    assert pods["shop2"]("ask", to=OBSERVER, port=80) == A
    assert pods["n1"]("reconcile", wish=wish)["repaired"] == []


ALTERATIONS = {
    "pod element": ("nft delete element inet sluicegate pods { 10.244.1.11 }", "missing pods"),
    "guard element": ("nft delete element inet sluicegate guarded { 10.244.1.11 }", "missing guarded"),
    "chain's rule": ("nft flush chain inet sluicegate pair_7", "chain pair_7 was altered"),
    "base chain": ("nft flush chain inet sluicegate classify", "chain classify was altered"),
    "gateway's route": ("ip route del default table 52001 proto 173 metric 0", "missing route unicast default"),
    "gateway's table": ("ip route flush table 52001", "missing route"),
    "gateway's rule": ("ip rule del pref 5001", "missing rule 5001"),
    "guard rule": ("ip rule del pref 9094 from 10.244.1.11", "missing rule 9094: from 10.244.1.11"),
    "sink": ("ip link del sluicegate-sink", "sink interface"),
    "reverse path filter": ("sysctl -qw net.ipv4.conf.eth1.rp_filter=1", "rp_filter of eth1"),
    "source translation": ("nft flush chain inet sluicegate source", "chain source was altered"),
}


@pytest.mark.parametrize("what", ALTERATIONS)
def test_one_thing_altered_by_hand_leaks_nothing_and_is_repaired(pods: World, what: str) -> None:
    command, said = ALTERATIONS[what]
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    pods.sh("n1", *command.split())
    for kind in ("tcp", "udp"):
        assert pods["shop1"]("ask", to=OBSERVER, port=80, kind=kind, timeout=0.3) != N1
    assert pods.sources() <= {A}
    told = pods["n1"]("reconcile", wish=wish)
    assert any(said in text for text in told["repaired"]), told
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A
    assert pods["n1"]("reconcile", wish=wish)["repaired"] == []


def test_private_leg_down_leaks_nothing_and_comes_back(pods: World) -> None:
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    pods.ip("n1", "link set eth1 down")
    assert pods["shop1"]("ask", to=OBSERVER, port=80, timeout=1) != N1
    assert pods.sources() == set()
    pods.ip("n1", "link set eth1 up")
    pods["n1"]("reconcile", wish=wish)
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A


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


def test_a_new_process_adopts_open_connections_and_changes_nothing(pods: World) -> None:
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    pods["n1"]("reconcile", wish=wish)
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    before = [pods.sh("n1", "nft", "-a", "list", "ruleset").split("counter")[0], pods.sh("n1", "ip", "rule")]
    pods["n1"].kill()
    del pods.puppets["n1"]
    pods.start(wish)
    assert [pods.sh("n1", "nft", "-a", "list", "ruleset").split("counter")[0], pods.sh("n1", "ip", "rule")] == before
    assert pods["n1"]("reconcile", wish=wish) == {"flows": {"gw-a": 1}, "repaired": [], "warnings": []}
    assert pods["shop1"]("say", name="old") == A
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A


def test_marks_are_read_back_from_the_kernel_when_the_file_is_lost(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),), suspect=["gw-a"]))
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == B
    (pods.folder / "n1" / "dataplane.json").unlink()
    pods.start(pods.wish(routes=(route(),)))
    assert pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))["flows"] == {"gw-b": 1}
    assert pods["shop1"]("say", name="old") == B


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("ip rule add pref 5003 from 10.1.1.1 lookup 200", "priority 5003"),
        ("ip rule add pref 900 fwmark 0x10000/0x10000 lookup 200", "mark bits 0x10000"),
        ("ip route add 10.9.0.0/16 dev eth0 table 52007", "table 52007"),
        ("iptables-nft -t mangle -A PREROUTING -j MARK --set-xmark 0x100000/0x100000", "mark bits 0x100000"),
    ],
)
def test_start_refuses_what_others_hold(pods: World, command: str, said: str) -> None:
    pods.sh("n1", *command.split())
    with pytest.raises(RuntimeError, match="DataplaneError") as refusal:
        pods.start(pods.wish(routes=(route(),)))
    assert said in str(refusal.value)
    assert "sluicegate" not in pods.sh("n1", "nft", "list", "tables")


def test_uninstall_leaves_nothing(pods: World) -> None:
    before = [pods.sh("n1", "nft", "list", "tables"), pods.sh("n1", "ip", "rule"), pods.sh("n1", "ip", "link")]
    pods.start(pods.wish(routes=(route(),)))
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A
    pods["n1"]("uninstall")
    assert [pods.sh("n1", "nft", "list", "tables"), pods.sh("n1", "ip", "rule"), pods.sh("n1", "ip", "link")] == before
    assert "173" not in pods.sh("n1", "ip", "route", "show", "table", "all")
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == N1


def test_what_the_fast_path_builds_is_what_a_full_look_wants(pods: World) -> None:
    wish = pods.wish(routes=tuple(route(f"app{n}", pair=n) for n in range(1, 60)), pods=("blog1",))
    pods.start(wish)
    for n in range(1, 40):
        pod = {**pods.pods["shop1"], "address": f"10.244.1.{50 + n}", "namespace": f"app{n}", "interface": f"x{n}"}
        pods["n1"]("pod_added", wish=wish, pod=pod)
        wish["pods"].append(pod)
    assert pods["n1"]("reconcile", wish=wish)["repaired"] == []


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


def test_a_pod_that_starts_while_the_table_is_lost_is_right_all_the_same(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),), pods=("shop2", "blog1", "blog2")))
    pods.sh("n1", "nft", "delete", "table", "inet", "sluicegate")
    pods["n1"]("pod_added", wish=pods.wish(routes=(route(),)), pod=pods.pods["shop1"])
    pods["shop1"]("tell", name="first", to=OBSERVER, port=80)
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A
    assert pods.sources() == {A}


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
