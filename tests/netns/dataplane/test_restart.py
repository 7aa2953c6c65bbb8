"""A process that starts anew, one that may not start, and one that takes all of its own away."""

import pytest
from dataplane_world import N1, OBSERVER, A, B, World, route

pytestmark = pytest.mark.netns


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
