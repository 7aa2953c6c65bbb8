"""Enabling, disabling, draining and removing, on pods that run and that start."""

import time
from typing import Any

import pytest
from dataplane_world import N1, OBSERVER, A, B, World, route

pytestmark = pytest.mark.netns


def gateways(**states: str) -> list[dict]:
    return [
        {**gateway, "state": states.get(gateway["id"].replace("-", "_"), "active")} for gateway in route()["gateways"]
    ]


def test_first_packet_of_a_pod_added_later_leaves_by_its_gateway(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),), pods=("blog1", "blog2")))
    pods["n1"]("pod_added", wish=pods.wish(routes=(route(),), pods=("blog1", "blog2", "shop1")), pod=pods.pods["shop1"])
    pods["n1"]("pod_added", wish=pods.wish(routes=(route(),)), pod=pods.pods["shop2"])
    pods.sources()
    for name in ("shop1", "shop2"):
        pods[name]("tell", name="first", to=OBSERVER, port=80)
        assert pods[name]("ask", to=OBSERVER, port=80) == A
    assert pods.sources() == {A}


@pytest.mark.parametrize("pod", ["shop1", "shop2"])
def test_toggle_keeps_connections_on_the_path_that_they_began_on(pods: World, pod: str) -> None:
    pods.start(pods.wish())
    assert pods[pod]("open", name="old", to=OBSERVER, port=80) == N1
    assert pods[pod]("open", name="old-udp", to=OBSERVER, port=80, kind="udp") == N1
    pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))
    assert pods[pod]("say", name="old") == N1
    assert pods[pod]("say", name="old-udp") == N1
    assert pods[pod]("open", name="new", to=OBSERVER, port=80) == A
    assert pods[pod]("open", name="new-udp", to=OBSERVER, port=80, kind="udp") == A
    told = pods["n1"]("reconcile", wish=pods.wish(routes=(route(state="draining"),)))
    assert told["flows"] == {"gw-a": 2}
    assert [pods[pod]("say", name=name) for name in ("old", "old-udp", "new", "new-udp")] == [N1, N1, A, A]
    assert pods[pod]("ask", to=OBSERVER, port=80) == N1
    pods["n1"]("reconcile", wish=pods.wish())
    assert pods["n1"]("reconcile", wish=pods.wish())["flows"] == {}
    assert pods[pod]("ask", to=OBSERVER, port=80) == N1
    assert pods[pod]("say", name="old") == N1
    assert "173" not in pods.sh("n1", "ip", "rule").replace(
        "from all fwmark 0xffe0000/0xfff0000 goto 9095 proto 173", ""
    ).replace("from all nop proto 173", "")


def test_one_way_datagrams_soon_change_path_with_the_right_source(pods: World) -> None:
    pods.start(pods.wish())

    def tell_until(wish: dict[str, Any], source: str) -> None:
        pods["n1"]("reconcile", wish=wish)
        end = time.monotonic() + 60
        seen: set[str] = set()
        while seen != {source}:
            assert seen <= {A, N1}
            assert time.monotonic() < end
            time.sleep(0.5)
            pods["n1"]("reconcile", wish=wish)
            pods["shop1"]("tell", name="syslog", to=OBSERVER, port=80)
            seen = pods.sources()

    pods["shop1"]("tell", name="syslog", to=OBSERVER, port=80)
    assert pods.sources() == {N1}
    tell_until(pods.wish(routes=(route(),)), A)
    tell_until(pods.wish(routes=(route(state="draining"),)), N1)


def test_what_was_just_asked_keeps_its_entry_over_a_toggle(pods: World) -> None:
    """Its answer comes after the toggle and must still find its way."""
    pods.start(pods.wish())
    pods["shop1"]("tell", name="query", to=OBSERVER, port=80)
    pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))
    assert "UNREPLIED" in pods.sh("n1", "conntrack", "-L", "-p", "udp", "-s", "10.244.1.11")


def test_shared_connections_end_at_the_deadline_after_enabling(pods: World) -> None:
    pods["blog2"]("serve", port=8080, host="10.244.1.131")
    pods.start(pods.wish())
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == N1
    assert pods["shop1"]("open", name="local", to="10.244.1.131", port=8080) == "10.244.1.11"
    pods["n1"]("reconcile", wish=pods.wish(routes=(route(),), settings={"flow_deadline_seconds": 1}))
    assert pods["shop1"]("say", name="old") == N1
    time.sleep(1.1)
    pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))
    pods.sources()
    assert pods["shop1"]("say", name="old") != N1
    assert N1 not in pods.sources()
    assert pods["shop1"]("say", name="local") == "10.244.1.11"


def test_drain_and_suspicion_move_only_new_connections(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),)))
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    for more in ({"routes": (route(gateways=gateways(gw_a="draining")),)}, {"routes": (route(),), "suspect": ["gw-a"]}):
        pods["n1"]("reconcile", wish=pods.wish(**more))
        assert pods["shop1"]("ask", to=OBSERVER, port=80) == B
        assert pods["shop1"]("say", name="old") == A
    pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A


def test_nodes_spread_over_the_two_gateways(pods: World) -> None:
    pods.pod("shop3", "shop", "n2", "10.244.2.11")
    pods.start(pods.wish("n1", routes=(route(),), pods=("shop1",)), "n1")
    pods.start(pods.wish("n2", routes=(route(),), pods=("shop3",)), "n2")
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A
    assert pods["shop3"]("ask", to=OBSERVER, port=80) == B


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_without_a_usable_gateway_traffic_is_refused_at_once(pods: World, kind: str) -> None:
    pods.start(pods.wish(routes=(route(),), suspect=["gw-a", "gw-b"]))
    for name in ("shop1", "shop2"):
        assert pods[name]("ask", to=OBSERVER, port=80, kind=kind) in {"Connection refused", "No route to host"}
    assert pods.sources() == set()
    assert pods["blog1"]("ask", to=OBSERVER, port=80, kind=kind) == N1


def test_fallback_to_shared_addresses_where_the_customer_chose_it(pods: World) -> None:
    chosen = route(on_outage="shared")
    pods.start(pods.wish(routes=(chosen,)))
    assert pods["shop1"]("open", name="dedicated", to=OBSERVER, port=80) == A
    pods["n1"]("reconcile", wish=pods.wish(routes=(chosen,), suspect=["gw-a", "gw-b"]))
    assert pods["shop1"]("open", name="fallback", to=OBSERVER, port=80) == N1
    assert pods["shop1"]("say", name="dedicated") == A
    pods["n1"]("reconcile", wish=pods.wish(routes=(chosen,)))
    assert pods["shop1"]("say", name="fallback") == N1
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == A


def test_a_stranger_with_a_dead_pods_address_never_uses_the_pair(pods: World) -> None:
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    assert pods["shop1"]("ask", to=OBSERVER, port=80, source=5555) == A
    pods.unplug("shop1")
    stranger = pods.pod("stranger", "blog", "n1", "10.244.1.11")
    pods["n1"]("pod_added", wish=pods.wish(routes=(route(),)), pod=stranger)
    assert pods["stranger"]("ask", to=OBSERVER, port=80, source=5555) == N1


def test_a_pod_with_a_dead_strangers_address_never_uses_its_shared_connection(pods: World) -> None:
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    assert pods["blog1"]("open", name="kept", to=OBSERVER, port=80, kind="udp", source=5555) == N1
    pods.unplug("blog1")
    heir = pods.pod("heir", "shop", "n1", "10.244.1.12")
    pods.sources()
    pods["n1"]("pod_added", wish=pods.wish(routes=(route(),)), pod=heir)
    assert pods["heir"]("ask", to=OBSERVER, port=80, kind="udp", source=5555) == A
    assert pods.sources() == {A, OBSERVER} - {OBSERVER}


def test_a_removed_pod_whose_process_still_runs_leaks_nothing(pods: World) -> None:
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    for name in ("shop1", "shop2"):
        pods["n1"](
            "pod_removed", wish=pods.wish(routes=(route(),), pods=("blog1",)), address=pods.pods[name]["address"]
        )
        pods[name]("tell", name="late", to=OBSERVER, port=80)
    pods["n1"]("reconcile", wish=pods.wish(routes=(route(),), pods=("blog1",)))
    for name in ("shop1", "shop2"):
        assert pods[name]("ask", to=OBSERVER, port=80) in {"Connection refused", "No route to host"}
    assert pods.sources() == set()
    pods.unplug("shop1")
    pods["n1"]("reconcile", wish=pods.wish(routes=(route(),), pods=("blog1",)))
    assert "10.244.1.11" not in pods.sh("n1", "nft", "list", "ruleset").replace("10.244.1.11:8080", "")


def test_what_a_removed_shared_pod_still_begins_leaves_nothing_for_its_heir(pods: World) -> None:
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    for name in ("blog1", "blog2"):
        address = pods.pods[name]["address"]
        assert pods[name]("ask", to=OBSERVER, port=80, kind="udp", source=5555) == N1
        pods["n1"]("pod_removed", wish=wish, address=address)
        pods[name]("tell", name="late", to=OBSERVER, port=80)
        assert pods[name]("ask", to=OBSERVER, port=80) in {"Connection refused", "No route to host"}
        assert address not in pods.sh("n1", "conntrack", "-L", "-s", address)


def test_toggling_under_load_fails_no_request_and_cuts_no_connection(pods: World) -> None:
    pods.start(pods.wish())
    for name in ("shop1", "shop2"):
        assert pods[name]("open", name="long", to=OBSERVER, port=80) == N1
        pods[name]("hammer", to=OBSERVER, port=80)
    for _ in range(3):
        pods["n1"]("reconcile", wish=pods.wish(routes=(route(),)))
        assert pods["shop1"]("open", name="dedicated", to=OBSERVER, port=80) == A
        pods["n1"]("reconcile", wish=pods.wish(routes=(route(state="draining"),)))
        assert pods["shop1"]("say", name="dedicated") == A
    for name in ("shop1", "shop2"):
        answers = pods[name]("hammered")
        assert set(answers) <= {N1, A}, answers
        assert pods[name]("say", name="long") == N1
