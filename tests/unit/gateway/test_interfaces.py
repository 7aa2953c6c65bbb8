"""Which interface is which, from what `ip -j` prints."""

from typing import Any

import pytest

from egress.gateway.interfaces import Legs, NoLegs, find_legs

VPC = "10.110.0.0/20"


def link(name: str, *addresses: str) -> dict[str, Any]:
    return {"ifname": name, "addr_info": [{"family": "inet", "local": address} for address in addresses]}


PUBLIC = link("eth0", "203.0.113.7", "10.17.0.5")
PRIVATE = link("eth1", "10.110.0.101")
DEFAULT = {"dst": "default", "gateway": "203.0.113.1", "dev": "eth0"}


def test_the_default_route_tells_the_public_and_the_vpc_the_private_interface() -> None:
    assert find_legs([link("lo", "127.0.0.1"), PRIVATE, PUBLIC], [DEFAULT], VPC) == Legs(
        public_interface="eth0",
        public_addresses=frozenset({"203.0.113.7", "10.17.0.5"}),
        private_interface="eth1",
        private_address="10.110.0.101",
        next_hop="203.0.113.1",
    )


def test_an_anchor_address_inside_the_vpcs_range_doesnt_make_the_public_interface_private() -> None:
    legs = find_legs([link("eth0", "203.0.113.7", "10.110.0.9"), PRIVATE], [DEFAULT], VPC)
    assert legs.private_interface == "eth1"


def test_of_two_default_routes_the_lower_metric_counts() -> None:
    routes = [{"dst": "default", "dev": "eth1", "metric": 200}, {**DEFAULT, "metric": 100}]
    assert find_legs([PUBLIC, PRIVATE], routes, VPC).public_interface == "eth0"


def test_a_default_route_without_a_next_hop_or_with_one_of_ipv6_names_none() -> None:
    for route in ({"dst": "default", "dev": "eth0"}, {**DEFAULT, "gateway": "fe80::1"}):
        assert not find_legs([PUBLIC, PRIVATE], [route], VPC).next_hop


@pytest.mark.parametrize(
    ("links", "routes", "words"),
    [
        ([PUBLIC, PRIVATE], [], "no default route"),
        ([PUBLIC], [DEFAULT], "no interface but eth0 has an address in the VPC 10.110.0.0/20"),
        ([PUBLIC, link("eth1", "10.120.0.5")], [DEFAULT], "no interface but eth0"),
        ([PUBLIC, {"ifname": "eth1"}], [DEFAULT], "no interface but eth0"),
    ],
)
def test_a_missing_leg_is_named(links: list[Any], routes: list[Any], words: str) -> None:
    with pytest.raises(NoLegs, match=words):
        find_legs(links, routes, VPC)
