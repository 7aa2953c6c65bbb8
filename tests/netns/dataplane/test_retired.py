"""The data plane, told that a gateway is dead: what becomes of each kind of connection, also over a restart."""

import pytest
from dataplane_world import N1, OBSERVER, A, B, World, route
from served_world import cut

pytestmark = pytest.mark.netns


def within(world: World, wish: dict) -> dict:
    """Return `wish` with what the runtime says of pods' namespaces."""
    pods = [{**pod, "netns": f"/run/netns/{world.ns(pod['container_id'])}"} for pod in wish["pods"]]
    return {**wish, "pods": pods}


def test_who_sends_is_reset_and_who_is_idle_once_its_namespace_is_known_also_by_the_next_agent(pods: World) -> None:
    """A process that ends between the verdict and the last reset leaves the rest to the next."""
    wish, dead = pods.wish(routes=(route(),)), pods.wish(routes=(route(),), dead=["gw-a"])
    pods.start(wish)
    for pod in ("shop1", "shop2"):
        for name in ("busy", "idle"):
            assert pods[pod]("open", name=name, to=OBSERVER, port=80) == A
    cut(pods, "gw-a")
    pods.sources()
    pods["n1"]("change", wish=dead)
    for pod in ("shop1", "shop2"):
        assert pods[pod]("say", name="busy") == "Connection reset by peer"
        assert pods[pod]("standing", name="idle") == "open"
    assert pods.sources() == set(), "it was the node that answered"
    pods["n1"].kill()
    del pods.puppets["n1"]
    pods.start(within(pods, dead))
    assert [pods[pod]("standing", name="idle") for pod in ("shop1", "shop2")] == [
        "Software caused connection abort"
    ] * 2
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == B


def test_a_mark_that_a_connection_bears_is_not_given_to_the_gateway_that_comes_back(pods: World) -> None:
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    pods["n1"]("change", wish=pods.wish(routes=(route(),), dead=["gw-a"]))
    pods["n1"]("change", wish=wish)
    assert pods["shop1"]("open", name="new", to=OBSERVER, port=80) == A
    assert pods["shop1"]("say", name="old") == "Connection reset by peer", "though its gateway is back"
    assert pods["shop1"]("say", name="new") == A


@pytest.mark.parametrize("others", ["reject", "shared"])
def test_with_both_dead_datagrams_do_as_new_ones_do(pods: World, others: str) -> None:
    chosen = route(on_outage=others)
    pods.start(within(pods, pods.wish(routes=(chosen,))))
    assert pods["shop1"]("open", name="udp", to=OBSERVER, port=80, kind="udp") == A
    pods.sources()
    pods["n1"]("change", wish=within(pods, pods.wish(routes=(chosen,), dead=["gw-a", "gw-b"])))
    said = pods["shop1"]("say", name="udp")
    assert said == {"reject": "Connection refused", "shared": N1}[others] or (others == "reject" and "route" in said)
    assert pods.sources() <= ({N1} if others == "shared" else set())


def test_a_listener_at_the_port_of_a_connection_that_is_gone_lives_on(pods: World) -> None:
    pods["shop1"]("serve", port=5555, host="0.0.0.0")
    assert pods["shop1"]("destroy", address="10.244.1.11", port=5555, peer=OBSERVER, peer_port=80) is False
    assert pods["net"]  # the observer
    pods.ip("net", "route add 10.244.1.0/24 via 198.51.100.21")
    assert pods["net"]("ask", to="10.244.1.11", port=5555) == "198.51.100.1"


def test_packets_that_a_suspect_gateway_returns_are_counted_and_only_those(pods: World) -> None:
    pods.start(pods.wish(routes=(route(),)))
    assert pods["n1"]("returned") == {}
    assert pods["shop1"]("open", name="old", to=OBSERVER, port=80) == A
    pods["n1"]("change", wish=pods.wish(routes=(route(),), suspect=["gw-a"]))
    assert pods["n1"]("returned") == {"gw-a": 0}
    assert pods["shop1"]("ask", to=OBSERVER, port=80) == B
    assert pods["n1"]("returned") == {"gw-a": 0}
    assert pods["shop1"]("say", name="old") == A
    seen = pods["n1"]("returned")["gw-a"]
    assert seen > 0
    pods["n1"]("change", wish=pods.wish(routes=(route(),), suspect=["gw-a", "gw-b"]))
    assert pods["n1"]("returned") == {"gw-a": seen, "gw-b": 0}, "another's trouble doesn't begin the count anew"
