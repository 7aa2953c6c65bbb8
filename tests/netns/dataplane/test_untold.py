"""Pods that came and went while nobody told the agent: what they left doesn't meet their addresses' heirs."""

import pytest
from dataplane_world import N1, OBSERVER, A, World, route

pytestmark = pytest.mark.netns

ADDRESS = "10.244.1.21"


def entries(world: World) -> str:
    return world.sh("n1", "conntrack", "-L", "-s", ADDRESS)


def test_what_a_pod_left_that_died_untold_is_deleted(pods: World) -> None:
    pods.pod("late", "shop", "n1", ADDRESS)
    pods.start(pods.wish(routes=(route(),)))
    assert pods["late"]("open", name="old", to=OBSERVER, port=80, kind="udp") == A
    assert ADDRESS in entries(pods)
    pods.unplug("late")
    pods["n1"]("change", wish=pods.wish(routes=(route(),)))
    assert ADDRESS not in entries(pods)


def test_an_heir_found_later_keeps_its_own_connections_and_meets_none_of_the_dead_ones(pods: World) -> None:
    """An enabled app's pod died, another app's got its address, both while the agent was frozen."""
    pods.pod("late", "shop", "n1", ADDRESS)
    pods.start(pods.wish(routes=(route(),)))
    assert pods["late"]("ask", to=OBSERVER, port=80, kind="udp", source=5000) == A
    pods.unplug("late")
    pods.pod("heir", "blog", "n1", ADDRESS)
    pods.pods["heir"]["container_id"] = "heir"
    # On the way of the dead one's rules it gets nothing out; that is the blast radius of such a reuse.
    pods.sources()
    assert pods["heir"]("ask", to=OBSERVER, port=80, kind="udp", source=5001, timeout=0.3) != A
    assert pods.sources() <= {N1}
    pods["n1"]("change", wish=pods.wish(routes=(route(),)))
    assert pods["heir"]("ask", to=OBSERVER, port=80, kind="udp", source=5000) == N1
    assert pods.sources() == {N1}


@pytest.mark.parametrize("told", ["told", ""])
def test_an_address_whose_pod_lived_and_died_unseen_counts_as_used(pods: World, told: str) -> None:
    """Told that something was missed, the data plane clears up before the heir starts; else the heir is refused."""
    wish = pods.wish(routes=(route(),))
    pods.start(wish)
    pods.pod("unseen", "blog", "n1", ADDRESS)
    assert pods["unseen"]("ask", to=OBSERVER, port=80, kind="udp", source=5000) == N1
    pods.unplug("unseen")
    if told:
        pods["n1"]("unsure")
    heir = pods.pod("heir", "shop", "n1", ADDRESS)
    pods.sources()
    pods["n1"]("pod_added", wish=pods.wish(routes=(route(),)), pod=heir)
    seen = pods["heir"]("ask", to=OBSERVER, port=80, kind="udp", source=5000, timeout=1)
    assert seen == A if told else seen != N1
    assert pods.sources() <= {A}, "in no case from the shared address"
