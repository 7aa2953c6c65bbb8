"""Find a gateway's two legs: the public one bears the default route, the private one an address of the VPC."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class NoLegs(Exception):
    """The VM's interfaces don't make it a gateway; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Legs:
    """The two interfaces that a gateway forwards between."""

    public_interface: str
    public_addresses: frozenset[str]
    private_interface: str
    private_address: str
    #: The address of the next hop on the public leg, "" where the default route names none.
    next_hop: str


def find_legs(addresses: Sequence[Mapping[str, Any]], routes: Sequence[Mapping[str, Any]], vpc: str) -> Legs:
    """Return the legs, from what `ip -j -4 address` and `ip -j -4 route show default` print.

    Raises NoLegs. The public interface is never taken for the private one, whatever other addresses it has
    (DigitalOcean puts an anchor address of a private range on it).
    """
    by_interface = {
        link["ifname"]: [str(each["local"]) for each in link.get("addr_info", ()) if "local" in each]
        for link in addresses
        if "ifname" in link
    }
    defaults = sorted(
        (int(route.get("metric", 0)), str(route["dev"]), str(route.get("gateway", "")))
        for route in routes
        if "dev" in route
    )
    if not defaults:
        raise NoLegs("there is no default route, so no public interface")
    _, public, via = defaults[0]
    network = ipaddress.IPv4Network(vpc)
    for name, local in by_interface.items():
        for address in local:
            if name != public and ipaddress.IPv4Address(address) in network:
                return Legs(
                    public_interface=public,
                    public_addresses=frozenset(by_interface.get(public, ())),
                    private_interface=name,
                    private_address=address,
                    # One of IPv6 isn't asked.
                    next_hop="" if ":" in via else via,
                )
    raise NoLegs(f"no interface but {public} has an address in the VPC {vpc}")
