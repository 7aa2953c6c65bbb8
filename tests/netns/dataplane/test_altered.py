"""Rules that are lost or altered by others: nothing leaks, and they come back."""

import pytest
from dataplane_world import N1, OBSERVER, A, World, route

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


def test_a_pod_that_starts_while_the_table_is_lost_is_right_all_the_same(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),), pods=("shop2", "blog1", "blog2")))
    pods.sh("n1", "nft", "delete", "table", "inet", "sluicegate")
    pods["n1"]("pod_added", wish=pods.wish(routes=(route(),)), pod=pods.pods["shop1"])
    pods["shop1"]("tell", name="first", to=OBSERVER, port=80)
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A
    assert pods.sources() == {A}
