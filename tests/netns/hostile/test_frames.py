"""A neighbour with raw sockets attacks, while the victim's pair carries its traffic and while it is idle."""

import pytest
from attacks import ATTACKS, VXLAN_STATION, Scene
from dataplane_world import OBSERVER, A
from lair import Lair, Packet, evil_by_the_pair, victims_by_the_node

pytestmark = pytest.mark.netns
NEIGHBOURS = [("blog1", "shop1"), ("blog2", "shop2"), ("blog2", "shop1"), ("blog1", "shop2")]


@pytest.fixture(scope="module", autouse=True)
def _tunnel(lair: Lair) -> None:
    """As an overlay network makes it on each node."""
    lair.ip("n1", "link add flannel.1 type vxlan id 1 dstport 8472 local 10.110.0.21 nolearning")
    lair.ip("n1", f"link set flannel.1 address {VXLAN_STATION} up")


def last(seen: list[Packet], protocol: int) -> Packet | None:
    return next((each for each in reversed(seen) if each.protocol == protocol and each.leg == "gw-a"), None)


@pytest.mark.parametrize(("liar", "victim"), NEIGHBOURS)
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_of_it_leaves_by_the_pair(lair: Lair, name: str, liar: str, victim: str) -> None:
    idle = Scene(lair.places[liar], lair.places[victim])
    lair.hush(victim, liar)
    lair.send(liar, *ATTACKS[name](idle))
    seen = lair.show_sign(victim, liar)
    assert [each for each in seen if each.leg != "n1"] == []
    assert victims_by_the_node(seen, idle.victim) == []

    for kind in ("tcp", "udp"):
        assert lair[victim]("open", name=kind, to=OBSERVER, port=80, kind=kind) == A
    seen = lair.show_sign(victim, liar)
    ports = {kind: lair[victim]("port_of", name=kind) for kind in ("tcp", "udp")}
    busy = Scene(idle.me, idle.victim, last(seen, 6), last(seen, 17), ports["tcp"], ports["udp"])
    assert busy.tcp
    assert busy.udp
    lair.send(liar, *ATTACKS[name](busy))
    assert [lair[victim]("say", name=kind) for kind in ("tcp", "udp")] == [A, A]
    seen = lair.show_sign(victim, liar)
    for kind in ("tcp", "udp"):
        lair[victim]("hang_up", name=kind)
    assert evil_by_the_pair(seen) == []
    assert victims_by_the_node(seen, idle.victim) == []
