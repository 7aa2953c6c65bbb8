"""Which of the kernel's notices matter, and the messages that they and its listings are made of."""

import socket
import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.netkit import rtnetlink
from egress.netkit.netlink import OVERRUN, attribute, attributes
from egress.netkit.nft import NEW_GENERATION, generation
from egress.netkit.notices import Ours, Transaction, alters_routing
from egress.netkit.routing import PROTOCOL, SINK, RouteEntry, Rule

NEW_RULE, NEW_CHAIN, DELETE_TABLE = (10 << 8) | 6, (10 << 8) | 3, (10 << 8) | 2
INET, IPV4 = 1, socket.AF_INET
numbers = st.integers(1, 2**32 - 1)
addresses = st.integers(0, 2**32 - 1).map(lambda value: str(IPv4Address(value)))
networks = st.builds("{}/{}".format, addresses, st.integers(1, 32))


def nft(family: int, *names: str) -> bytes:
    return struct.pack("BBH", family, 0, 0) + b"".join(
        attribute(kind, name.encode() + b"\0") for kind, name in enumerate(names, 1) if name
    )


def end(number: int) -> tuple[int, bytes]:
    return NEW_GENERATION, nft(0) + attribute(1, struct.pack(">I", number))


def aliens(*notices: tuple[int, bytes]) -> list[bool]:
    transaction, ours = Transaction(), Ours(generations={7})
    return [transaction.ends_alien(kind, message, ours) for kind, message in notices]


@pytest.mark.parametrize(
    ("notice", "matters"),
    [
        ((NEW_RULE, nft(INET, "sluicegate", "pair_7")), True),
        ((DELETE_TABLE, nft(7, "sluicegate")), True),
        ((NEW_RULE, nft(INET, "kube-proxy", "services")), False),
        ((NEW_RULE, nft(IPV4, "filter", "FORWARD")), True),
        ((NEW_CHAIN, nft(IPV4, "filter", "", "FORWARD")), True),
        ((NEW_RULE, nft(IPV4, "filter", "KUBE-FORWARD")), False),
        ((NEW_RULE, nft(socket.AF_INET6, "filter", "FORWARD")), False),
    ],
)
def test_a_transaction_matters_when_it_touches_what_is_ours(notice: tuple[int, bytes], *, matters: bool) -> None:
    assert aliens(notice, end(8)) == [False, matters]


def test_our_own_transaction_is_known_by_its_number() -> None:
    ours = (NEW_RULE, nft(INET, "sluicegate", "fresh_7"))
    assert aliens(ours, end(7), end(8), ours, end(9)) == [False, False, False, False, True]


def changed(rule: Rule, *, owner: int = PROTOCOL) -> bytes:
    return rtnetlink.rule_message(rule).replace(attribute(21, bytes([PROTOCOL])), attribute(21, bytes([owner])))


def test_rules_and_routes_of_ours_matter_unless_we_changed_them() -> None:
    rule = changed(Rule(priority=5001, action="lookup", target=52001))
    route = rtnetlink.route_message(RouteEntry(table=52001, destination="default", kind="throw"), 0)
    for kind, message in ((rtnetlink.DELETE_RULE, rule), (rtnetlink.NEW_ROUTE, route)):
        assert alters_routing(kind, 0, message, Ours(port=99))
        assert not alters_routing(kind, 99, message, Ours(port=99))
    assert not alters_routing(rtnetlink.NEW_RULE, 0, changed(Rule(priority=10, action="nop"), owner=3), Ours())


@pytest.mark.parametrize(("name", "matters"), [("eth1", True), (SINK, True), ("veth12", False)])
def test_only_interfaces_that_we_stand_on_matter(name: str, *, matters: bool) -> None:
    message = rtnetlink.bridge_message(0, name)
    assert alters_routing(rtnetlink.NEW_LINK, 0, message, Ours(interfaces={"eth1"})) == matters


def test_a_netconf_notice_matters_for_rp_filter_only() -> None:
    every = attribute(1, struct.pack("=i", -1))
    head = bytes([IPV4, 0, 0, 0])
    assert alters_routing(rtnetlink.NEW_NETCONF, 0, head + every + attribute(3, b"\1\0\0\0"), Ours())
    assert not alters_routing(rtnetlink.NEW_NETCONF, 0, head + every + attribute(2, b"\1\0\0\0"), Ours())
    unknown = attribute(1, struct.pack("=i", 1 << 30)) + attribute(3, b"\1\0\0\0")
    assert not alters_routing(rtnetlink.NEW_NETCONF, 0, head + unknown, Ours(interfaces={"eth1"}))


def test_an_overrun_is_none_of_the_kernels_notices() -> None:
    assert OVERRUN not in {NEW_GENERATION, rtnetlink.NEW_LINK, rtnetlink.NEW_RULE, rtnetlink.NEW_NETCONF}


@given(
    st.builds(Rule, priority=numbers, action=st.just("lookup"), target=numbers, mark=numbers, mask=numbers)
    | st.builds(Rule, priority=numbers, action=st.just("goto"), target=numbers, source=addresses)
    | st.builds(Rule, priority=numbers, action=st.just("nop"))
)
def test_a_rule_is_read_as_it_was_written(rule: Rule) -> None:
    assert rtnetlink.read_rule(rtnetlink.rule_message(rule)) == (PROTOCOL, rule)


@given(
    st.builds(RouteEntry, table=numbers, destination=networks, kind=st.just("throw"))
    | st.builds(RouteEntry, table=numbers, destination=st.just("default"), kind=st.just("unreachable"), metric=numbers)
    | st.builds(
        RouteEntry,
        table=numbers,
        destination=st.just("default"),
        kind=st.just("unicast"),
        via=addresses,
        interface=st.just("eth1"),
    )
)
def test_a_route_is_read_as_it_was_written(route: RouteEntry) -> None:
    message = rtnetlink.route_message(route, 4 if route.interface else 0)
    assert rtnetlink.read_route(message, {4: "eth1"}) == (PROTOCOL, route)


def test_a_link_is_read_as_it_was_written() -> None:
    made = rtnetlink.read_link(rtnetlink.bridge_message(0, SINK))
    assert made == rtnetlink.Link(index=0, name=SINK, kind="bridge", up=True)
    assert generation(end(12)[1]) == 12
    assert attributes(b"\3\0\1\0") == {}
