"""An address has a new owner: nothing of the old one's passes to it, in neither direction.

The old one's connections are still open at the other end, which goes on speaking; its interface may still stand and its
process go on; DEL may have come, or not, or the agent was frozen or dead.
"""

import itertools
import signal
import time
from collections.abc import Iterator

import frames as f
import pytest
from dataplane_world import N1, OBSERVER, A
from lair import Lair, Packet

pytestmark = pytest.mark.netns
KINDS = pytest.mark.parametrize("bridged", [False, True], ids=["ptp", "bridge"])
TOLD = pytest.mark.parametrize("told", [True, False], ids=["DEL came", "DEL never came"])
SPORT = 5555
_addresses = itertools.count(32)


def cases(owners: list[tuple[str, str]]) -> pytest.MarkDecorator:
    """All ways in which an address gets from one app to another; always run is a fourth of them, in turn."""
    found = []
    for number, (bridged, moved, told) in enumerate(itertools.product([False, True], repeat=3)):
        for at, (before, after) in enumerate(owners):
            kinds = f"{'bridge' if bridged else 'ptp'} to {'bridge' if bridged != moved else 'ptp'}"
            name = f"{before} to {after}, {kinds}, DEL {'came' if told else 'never came'}"
            short = (number * 3 + number // 4 + at * 2) % 4 == 0
            marks = () if short else pytest.mark.full
            found.append(pytest.param(before, after, bridged, told, moved, id=name, marks=marks))
    return pytest.mark.parametrize(("before", "after", "bridged", "told", "moved"), found)


@pytest.fixture
def address(lair: Lair) -> Iterator[str]:
    """One that nobody had before, in the bridge's range; a ptp pod may have it as well. Its pods end with the test."""
    yield f"10.244.1.{next(_addresses) + 128}"
    for name in set(lair.pods) - {"shop1", "blog1", "shop2", "blog2"}:
        lair.vanish(name)
    lair["n1"]("reconcile", wish=lair.here())


def begin(lair: Lair, name: str, source: str) -> None:
    for kind in ("tcp", "udp"):
        assert lair[name]("open", name=kind, to=OBSERVER, port=80, kind=kind, source=SPORT) == source


def meet(lair: Lair, name: str, source: str) -> None:
    """Have the other end speak into what was open, and the heir begin the same connections anew."""
    lair.outside()
    lair["net"]("push")
    for kind in ("tcp", "udp"):
        assert lair[name]("ask", to=OBSERVER, port=80, kind=kind, source=SPORT) == source
    lair["net"]("push")
    own = [packet for packet in lair.show_sign("blog1") if not refusal(packet)]
    assert {packet.leg for packet in own} == {"gw-a" if source == A else "n1"}


def refusal(packet: Packet) -> bool:
    """Tell whether it is the node's own answer to what it no longer knows."""
    resets = packet.protocol == f.TCP and packet.flags & f.RST
    return packet.source in {N1, "10.110.0.21"} and bool(resets or packet.protocol == f.ICMP)


def silence(lair: Lair, name: str, *others: str) -> None:
    """Have the pod send all that it can; nothing of it may come out anywhere."""
    lair.show_sign("blog1", *others)
    for kind in ("tcp", "udp"):
        assert lair[name]("open", name="", to=OBSERVER, port=80, kind=kind, timeout=0.1) not in {A, N1}
    for port in (80, 443):
        lair[name]("tell", name="late", to=OBSERVER, port=port)
    place = lair.places[name]
    lair.send_packets(name, f.ip(place.address, OBSERVER, f.UDP, f.udp(place.address, OBSERVER, SPORT, 80)))
    assert [packet for packet in lair.show_sign("blog1", *others) if not refusal(packet)] == []


@cases([("shop", "blog"), ("blog", "shop")])
def test_an_heir_meets_nothing_of_the_dead(
    lair: Lair, address: str, *, before: str, after: str, bridged: bool, told: bool, moved: bool
) -> None:
    paths = {"shop": A, "blog": N1}
    lair.add_pod("old", before, address, bridged=bridged)
    begin(lair, "old", paths[before])
    if told:
        lair.remove_pod("old")
    lair.vanish("old")
    lair.add_pod("heir", after, address, bridged=bridged != moved)
    meet(lair, "heir", paths[after])


@cases([("shop", "blog"), ("blog", "shop"), ("shop", "shop")])
def test_who_lives_on_after_its_address_has_an_heir_gets_nothing_out(
    lair: Lair, address: str, *, before: str, after: str, bridged: bool, told: bool, moved: bool
) -> None:
    lair.add_pod("old", before, address, bridged=bridged)
    begin(lair, "old", {"shop": A, "blog": N1}[before])
    if told:
        lair.remove_pod("old")
    lair.add_pod("heir", after, address, bridged=bridged != moved, without="old")
    if not (before == after == "blog"):
        silence(lair, "old")
    lair.vanish("old")
    if not bridged:
        # The route of the old one's interface went with it.
        lair.sh("n1", "ip", "route", "replace", address, "dev", "cni0" if moved else lair.pods["heir"]["interface"])
    meet(lair, "heir", {"shop": A, "blog": N1}[after])


@KINDS
@pytest.mark.parametrize("app", ["shop", "blog"])
def test_an_interfaces_name_used_again_is_another_interface(
    lair: Lair, address: str, app: str, *, bridged: bool
) -> None:
    """Some networks name it after the pod: one that starts anew under its name isn't shut in for its forerunner."""
    lair.add_pod("named", app, address, bridged=bridged)
    lair.remove_pod("named")
    lair.vanish("named")
    lair.settle("named", app, f"10.244.1.{next(_addresses) + 128}", bridged=bridged)
    if app == "blog":
        lair["n1"]("reconcile", wish=lair.here("named"))
        assert lair["named"]("ask", to=OBSERVER, port=80) == N1, "also while the agent doesn't know it yet"
    lair["n1"]("pod_added", wish=lair.here(), pod=lair.pods["named"])
    assert lair["named"]("ask", to=OBSERVER, port=80) == {"shop": A, "blog": N1}[app]


@KINDS
@TOLD
def test_a_new_agent_keeps_shut_in_who_is_gone_while_the_interface_stands(
    lair: Lair, address: str, *, bridged: bool, told: bool
) -> None:
    lair.add_pod("old", "shop", address, bridged=bridged)
    begin(lair, "old", A)
    if told:
        lair.remove_pod("old")
    lair["n1"].kill()
    del lair.puppets["n1"]
    lair.start(lair.here("old"))
    silence(lair, "old")
    lair.add_pod("heir", "blog", address, bridged=bridged, without="old")
    silence(lair, "old")
    lair.vanish("old")
    if not bridged:
        lair.sh("n1", "ip", "route", "replace", address, "dev", lair.pods["heir"]["interface"])
    meet(lair, "heir", N1)
    lair.vanish("heir")
    lair["n1"]("reconcile", wish=lair.here())
    assert f'"{address}"' not in lair.sh("n1", "nft", "list", "ruleset")


@KINDS
def test_a_frozen_agent_hands_no_pair_to_an_heir(lair: Lair, address: str, *, bridged: bool) -> None:
    lair.add_pod("old", "shop", address, bridged=bridged)
    begin(lair, "old", A)
    frozen = lair["n1"].process
    frozen.send_signal(signal.SIGSTOP)
    try:
        lair.vanish("old")
        lair.settle("heir", "blog", address, bridged=bridged)
        silence(lair, "heir")
    finally:
        frozen.send_signal(signal.SIGCONT)
    lair["n1"]("pod_added", wish=lair.here(), pod=lair.pods["heir"])
    end = time.monotonic() + 30
    while (seen := lair["heir"]("ask", to=OBSERVER, port=80)) != N1:
        assert seen != A
        assert time.monotonic() < end, "its neighbours have forgotten the old one's station by now"
    meet(lair, "heir", N1)


@KINDS
@pytest.mark.parametrize("app", ["shop", "blog"])
def test_what_is_under_way_during_del_leaves_no_entry(lair: Lair, address: str, app: str, *, bridged: bool) -> None:
    lair.add_pod("old", app, address, bridged=bridged)
    lair["old"]("flood", to=OBSERVER, port=9)
    lair.remove_pod("old")
    entries = lair.sh("n1", "conntrack", "-L", "-s", address)
    assert address not in entries
