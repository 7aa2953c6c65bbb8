"""Hear at once of changes that others make to what is ours: nftables, rules, routes, interfaces, rp_filter.

The kernel tells everybody of everything, so most notices are about pods that come and go. Which ones matter is decided
without knowing the wish: a needless look costs some milliseconds, a missed one until the next full look.
"""

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from . import rtnetlink
from .netlink import NETFILTER, OVERRUN, Subscription, attributes
from .nft import NEW_GENERATION, NFGENMSG_BYTES, generation
from .routing import PROTOCOL, SINK
from .ruleset import TABLE

_NFTABLES = (7,)
#: Links, IPv4 addresses, routes, rules, IPv6 addresses, settings such as rp_filter (RTNLGRP_… in linux/rtnetlink.h).
_ROUTING = (1, 5, 7, 8, 9, 24)
_CHAIN_KINDS = {(10 << 8) | 3, (10 << 8) | 5}
_LAST_KERNEL_TABLE = 255
_WHOLE_ADDRESS = 32
_ALL_INTERFACES = -1


@dataclass(frozen=True, slots=True)
class Ours:
    """What tells our own changes from others', and our interfaces from pods'.

    `generations` are our transactions' numbers, `port` is the netlink port that our routing changes come from
    (the kernel's own is 0).
    """

    generations: Collection[int] = frozenset()
    port: int = -1
    interfaces: Collection[str] = field(default_factory=frozenset)
    #: The numbers of the node's bridges.
    bridges: Collection[int] = field(default_factory=frozenset)


class Notices:
    """What the kernel tells of changes in the caller's network namespace; not for two threads at once."""

    def __init__(self) -> None:
        self._nftables = Subscription(NETFILTER, _NFTABLES)
        self._routing = Subscription(socket.NETLINK_ROUTE, _ROUTING)
        self._transaction = Transaction()

    @property
    def files(self) -> tuple[int, int]:
        """The files that are readable while there is something to read."""
        return self._nftables.fileno(), self._routing.fileno()

    def close(self) -> None:
        """Give the sockets back."""
        self._nftables.close()
        self._routing.close()

    def read(self, ours: Ours) -> bool:
        """Take in all that has come; return whether others may have altered something of ours, True if in doubt."""
        transaction = self._transaction
        rules = _any_concerns(self._nftables, lambda kind, _, message: transaction.ends_alien(kind, message, ours))
        ways = _any_concerns(self._routing, lambda kind, port, message: alters_routing(kind, port, message, ours))
        return rules or ways


@dataclass(slots=True)
class Transaction:
    """The nftables transaction that notices tell of: what was changed first, its number last."""

    touched: bool = False

    def ends_alien(self, kind: int, message: bytes, ours: Ours) -> bool:
        """Tell whether `message` ends a transaction of another program's that touched what is ours."""
        if kind != NEW_GENERATION:
            self.touched = self.touched or touches(kind, message)
            return False
        touched, self.touched = self.touched, False
        return touched and generation(message) not in ours.generations


def touches(kind: int, message: bytes) -> bool:
    """Tell whether an nftables notice is about our tables, or the chain of iptables that we have rules in."""
    found = attributes(message[NFGENMSG_BYTES:])
    # Every kind of object has its table's name first; a chain has its own name third, a rule its chain's second.
    table = _text(found.get(1, b""))
    chain = _text(found.get(3 if kind in _CHAIN_KINDS else 2, b""))
    return table == TABLE or (message[0] == socket.AF_INET and (table, chain) == ("filter", "FORWARD"))


def alters_routing(kind: int, port: int, message: bytes, ours: Ours) -> bool:
    """Tell whether an rtnetlink notice is of another's change to a rule, route or interface that we stand on.

    Routes vanish without a notice when their interface goes down: the interface's own must do. Pods' addresses are
    whole ones; a network's is a bridge's or the node's own.
    """
    if port == ours.port:
        return False
    match kind:
        case rtnetlink.NEW_RULE | rtnetlink.DELETE_RULE:
            return rtnetlink.read_rule(message)[0] == PROTOCOL
        case rtnetlink.NEW_ROUTE | rtnetlink.DELETE_ROUTE:
            owner, route = rtnetlink.read_route(message, {})
            default = (route.table, route.destination) == (rtnetlink.MAIN_TABLE, "default")
            return owner == PROTOCOL or route.table > _LAST_KERNEL_TABLE or default
        case rtnetlink.NEW_LINK | rtnetlink.DELETE_LINK:
            return rtnetlink.read_link(message).name in {SINK, *ours.interfaces}
        case rtnetlink.NEW_ADDRESS | rtnetlink.DELETE_ADDRESS:
            address = rtnetlink.read_address(message)
            # Every pod's interface has an IPv6 address of its link.
            return address.index in ours.bridges if address.six else address.length < _WHOLE_ADDRESS
        case rtnetlink.NEW_NETCONF:
            index = rtnetlink.reverse_path_change(message)
            return index is not None and (index == _ALL_INTERFACES or _name(index) in ours.interfaces)
        case _:
            return False


def _any_concerns(subscription: Subscription, concerns: Callable[[int, int, bytes], bool]) -> bool:
    altered = False
    for kind, port, message in subscription.hear():
        altered = kind == OVERRUN or concerns(kind, port, message) or altered
    return altered


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index) if index > 0 else ""
    except OSError:
        return ""


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode(errors="replace")
