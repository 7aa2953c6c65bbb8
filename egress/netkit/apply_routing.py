"""Read and change policy rules, routes, the sink and one sysctl. Thin: what to change is decided elsewhere."""

import errno
import socket
from contextlib import suppress
from pathlib import Path

from . import rtnetlink
from .errors import DataplaneError
from .netlink import NetlinkSocket
from .routing import PROTOCOL, SINK, RouteEntry, Routing, Rule

_CREATE = 0x600  # NLM_F_CREATE | NLM_F_EXCL
_REPLACE = 0x500  # NLM_F_CREATE | NLM_F_REPLACE
#: Tables that the kernel makes itself.
_KERNEL_TABLES = frozenset({0, 253, 254, 255})
_DEFAULT = (rtnetlink.MAIN_TABLE, "default")
_SETTINGS = Path("/proc/sys/net/ipv4/conf")


class RoutingKernel:
    """Policy rules and routes of the caller's network namespace; not for two threads at once."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(socket.NETLINK_ROUTE)
        self._sink: rtnetlink.Link | None = None
        self.foreign_rules: tuple[Rule, ...] = ()
        self.foreign_tables: frozenset[int] = frozenset()
        self.default_interfaces: frozenset[str] = frozenset()
        self.bridges: frozenset[int] = frozenset()
        self._credulous: frozenset[int] = frozenset()
        #: Of IPv4 and IPv6.
        self.bridge_addresses: frozenset[str] = frozenset()
        self.own_addresses: frozenset[str] = frozenset()

    @property
    def port(self) -> int:
        """The number that the kernel's notices give as the sender of what was changed here."""
        return self._netlink.port

    def close(self) -> None:
        """Give the socket back."""
        self._netlink.close()

    def observe(self) -> Routing:
        """Return what is ours; what is others' goes to the attributes."""
        links = [rtnetlink.read_link(each) for each in self._netlink.dump(rtnetlink.GET_LINK, rtnetlink.ALL_LINKS)]
        self._sink = next((link for link in links if link.name == SINK), None)
        names = {link.index: link.name for link in links}
        rules = [rtnetlink.read_rule(each) for each in self._netlink.dump(rtnetlink.GET_RULE, rtnetlink.ALL_RULES)]
        routes = [
            rtnetlink.read_route(each, names) for each in self._netlink.dump(rtnetlink.GET_ROUTE, rtnetlink.ALL_ROUTES)
        ]
        self.foreign_rules = tuple(rule for owner, rule in rules if owner != PROTOCOL)
        self.foreign_tables = frozenset(route.table for owner, route in routes if owner != PROTOCOL) - _KERNEL_TABLES
        defaults = [route for _, route in routes if (route.table, route.destination) == _DEFAULT]
        self.default_interfaces = frozenset(route.interface for route in defaults if route.interface)
        self.bridges = frozenset(link.index for link in links if link.kind == "bridge" and link.name != SINK)
        self._credulous = frozenset(link.index for link in links if link.credulous and link.name != SINK)
        self._observe_addresses()
        return Routing(
            frozenset(rule for owner, rule in rules if owner == PROTOCOL),
            frozenset(route for owner, route in routes if owner == PROTOCOL),
        )

    def _observe_addresses(self) -> None:
        messages = self._netlink.dump(rtnetlink.GET_ADDRESS, rtnetlink.ALL_ADDRESSES)
        found = [rtnetlink.read_address(each) for each in messages if each[0] in {socket.AF_INET, socket.AF_INET6}]
        self.own_addresses = frozenset(each.address for each in found if not each.six)
        self.bridge_addresses = frozenset(each.address for each in found if each.index in self.bridges)

    def ensure_sink(self) -> bool:
        """See that the interface that swallows packets, as last observed, is there and up; True if it was put right."""
        sink = self._sink
        if sink and sink.up:
            return False
        message = rtnetlink.bridge_message(sink.index if sink else 0, SINK)
        self._netlink.request(rtnetlink.NEW_LINK, message, flags=0 if sink else _CREATE)
        return True

    def steady_stations(self) -> None:
        """Keep bridges, as last observed, from learning by LLDP and the like: no rule sees such frames first.

        A neighbour would take a pod's station with them as often as it likes, and so all that is sent to the pod.
        """
        for index in self._credulous:
            with suppress(OSError):  # it is gone by now, or the kernel is older than the switch (4.20)
                self._netlink.request(rtnetlink.NEW_LINK, rtnetlink.disbelief_message(index))

    def add_rule(self, rule: Rule) -> None:
        """Add `rule`; one that is there already is fine."""
        self._change(rtnetlink.NEW_RULE, rtnetlink.rule_message(rule), _CREATE, tolerated=errno.EEXIST)

    def delete_rule(self, rule: Rule) -> None:
        """Delete `rule`; one that is gone already is fine."""
        self._change(rtnetlink.DELETE_RULE, rtnetlink.rule_message(rule), tolerated=errno.ENOENT)

    def add_route(self, route: RouteEntry) -> None:
        """Add `route` in the place of what its table has for that destination and metric.

        Raises DataplaneError when its interface is down or missing, or doesn't reach the next hop.
        """
        try:
            self._change(rtnetlink.NEW_ROUTE, _route_message(route), _REPLACE, tolerated=errno.EEXIST)
        except OSError as error:
            raise DataplaneError(
                f"route {route.destination} via {route.via or route.interface} in table {route.table}: {error}; "
                f"see that {route.interface} is up and reaches {route.via or 'nothing'} directly"
            ) from error

    def delete_route(self, route: RouteEntry) -> None:
        """Delete `route`; one that is gone already is fine."""
        # One whose interface is gone went with it.
        with suppress(DataplaneError):
            self._change(rtnetlink.DELETE_ROUTE, _route_message(route), tolerated=errno.ESRCH)

    def _change(self, kind: int, message: bytes, flags: int = 0, *, tolerated: int) -> None:
        try:
            self._netlink.request(kind, message, flags=flags)
        except OSError as error:
            if error.errno != tolerated:
                raise

    def delete_sink(self) -> None:
        """Remove the interface that swallows packets."""
        with suppress(DataplaneError):
            self._change(rtnetlink.DELETE_LINK, rtnetlink.link_message(_index(SINK)), tolerated=errno.ENODEV)


def reverse_path_filter(interface: str) -> int:
    """Return how strictly `interface` checks the way back: 0 not at all, 1 strictly, 2 loosely."""
    try:
        return max(int((_SETTINGS / name / "rp_filter").read_text()) for name in ("all", interface))
    except FileNotFoundError as error:
        raise DataplaneError(
            f"the interface {interface} isn't there: correct the node's configuration or bring it up"
        ) from error


def loosen_reverse_path_filter(interface: str) -> bool:
    """Set `interface` to the loose check: replies from gateways have sources that the node routes elsewhere.

    Return True if it had to be changed.
    """
    setting = _SETTINGS / interface / "rp_filter"
    try:
        if setting.read_text().strip() == "2":
            return False
        setting.write_text("2")
    except OSError as error:
        raise DataplaneError(f"can't set {setting} to 2: {error}") from error
    return True


def _route_message(route: RouteEntry) -> bytes:
    """Return `route` for the kernel; raises DataplaneError when its interface isn't there."""
    return rtnetlink.route_message(route, _index(route.interface) if route.interface else 0)


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise DataplaneError(
            f"the interface {interface} isn't there: correct the node's configuration or bring it up"
        ) from None
