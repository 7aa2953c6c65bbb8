"""Read and change policy rules, routes, the sink and one sysctl. Thin: what to change is decided elsewhere."""

import errno
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pyroute2 import IPRoute

from .errors import DataplaneError
from .netlink import NetlinkSocket, attribute
from .routing import PROTOCOL, SINK, RouteEntry, Routing, Rule

_IPV4 = socket.AF_INET
_CREATE = 0x600  # NLM_F_CREATE | NLM_F_EXCL
_REPLACE = 0x500  # NLM_F_CREATE | NLM_F_REPLACE
_NEW_ROUTE, _DELETE_ROUTE, _NEW_RULE, _DELETE_RULE = 24, 25, 32, 33
_FRA_SOURCE, _FRA_GOTO, _FRA_PRIORITY, _FRA_MARK, _FRA_TABLE, _FRA_MASK, _FRA_PROTOCOL = 2, 4, 6, 10, 15, 16, 21
_RTA_DESTINATION, _RTA_INTERFACE, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_SCOPE_LINK = 253
_MAIN_TABLE = 254
_ACTIONS: dict[int, Literal["lookup", "goto", "nop"]] = {1: "lookup", 2: "goto", 3: "nop"}
_KINDS: dict[int, Literal["unicast", "throw", "unreachable"]] = {1: "unicast", 7: "unreachable", 9: "throw"}
#: Rules and tables that the kernel makes itself.
_KERNEL_TABLES = frozenset({0, 253, 254, 255})
_SETTINGS = Path("/proc/sys/net/ipv4/conf")


class RoutingKernel:
    """Policy rules and routes of the caller's network namespace; not for use inside a running asyncio loop."""

    def __init__(self) -> None:
        # pyroute2 reads well but takes about a millisecond a change, and a starting pod waits for up to seven.
        self._ip = IPRoute()
        self._netlink = NetlinkSocket(socket.NETLINK_ROUTE)
        self.foreign_rules: tuple[Rule, ...] = ()
        self.foreign_tables: frozenset[int] = frozenset()
        self.default_interfaces: frozenset[str] = frozenset()
        self.bridge_addresses: frozenset[str] = frozenset()
        self.own_addresses: frozenset[str] = frozenset()

    def close(self) -> None:
        """Give the sockets back."""
        self._ip.close()
        self._netlink.close()

    def observe(self) -> Routing:
        """Return what is ours; what is others' goes to the attributes."""
        names = {link["index"]: link for link in self._ip.get_links()}
        rules = [(rule.get("FRA_PROTOCOL"), _rule(rule)) for rule in self._ip.get_rules(family=_IPV4)]
        self.foreign_rules = tuple(rule for owner, rule in rules if owner != PROTOCOL)
        routes = list(self._ip.get_routes(family=_IPV4))
        ours = [route for route in routes if route["proto"] == PROTOCOL]
        self.foreign_tables = (
            frozenset(route.get("table") for route in routes if route["proto"] != PROTOCOL) - _KERNEL_TABLES
        )
        defaults = [route for route in routes if route.get("table") == _MAIN_TABLE and not route["dst_len"]]
        self.default_interfaces = frozenset(
            names[route.get("oif")].get("ifname") for route in defaults if route.get("oif") in names
        )
        self._observe_addresses(names)
        return Routing(
            frozenset(rule for owner, rule in rules if owner == PROTOCOL),
            frozenset(_route(route, names) for route in ours),
        )

    def _observe_addresses(self, names: dict[int, Any]) -> None:
        bridges = {index for index, link in names.items() if link.get(("linkinfo", "kind")) == "bridge"}
        found = [(entry["index"], entry.get("address")) for entry in self._ip.get_addr(family=_IPV4)]
        self.own_addresses = frozenset(address for _, address in found)
        self.bridge_addresses = frozenset(address for index, address in found if index in bridges)

    def ensure_sink(self) -> bool:
        """See that the interface that swallows packets is there and up; return True if it had to be put right."""
        links = list(self._ip.get_links(ifname=SINK)) if self._ip.link_lookup(ifname=SINK) else []
        if links and links[0]["state"] == "up":
            return False
        if not links:
            self._ip.link("add", ifname=SINK, kind="bridge")
        self._ip.link("set", index=_index(SINK), state="up", arp=False)
        return True

    def add_rule(self, rule: Rule) -> None:
        """Add `rule`; one that is there already is fine."""
        self._change(_NEW_RULE, _rule_message(rule), _CREATE, tolerated=errno.EEXIST)

    def delete_rule(self, rule: Rule) -> None:
        """Delete `rule`; one that is gone already is fine."""
        self._change(_DELETE_RULE, _rule_message(rule), tolerated=errno.ENOENT)

    def add_route(self, route: RouteEntry) -> None:
        """Add `route` in the place of what its table has for that destination and metric.

        Raises DataplaneError when its interface is down or missing, or doesn't reach the next hop.
        """
        try:
            self._change(_NEW_ROUTE, _route_message(route), _REPLACE, tolerated=errno.EEXIST)
        except OSError as error:
            raise DataplaneError(
                f"route {route.destination} via {route.via or route.interface} in table {route.table}: {error}; "
                f"see that {route.interface} is up and reaches {route.via or 'nothing'} directly"
            ) from error

    def delete_route(self, route: RouteEntry) -> None:
        """Delete `route`; one that is gone already is fine."""
        # One whose interface is gone went with it.
        with suppress(DataplaneError):
            self._change(_DELETE_ROUTE, _route_message(route), tolerated=errno.ESRCH)

    def _change(self, kind: int, message: bytes, flags: int = 0, *, tolerated: int) -> None:
        try:
            self._netlink.request(kind, message, flags=flags)
        except OSError as error:
            if error.errno != tolerated:
                raise

    def delete_sink(self) -> None:
        """Remove the interface that swallows packets."""
        for index in self._ip.link_lookup(ifname=SINK):
            self._ip.link("del", index=index)


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


def _rule(message: Any) -> Rule:
    action = _ACTIONS.get(message["action"], "nop")
    source = message.get("FRA_SRC") or ""
    return Rule(
        priority=message.get("FRA_PRIORITY") or 0,
        action=action,
        target={"lookup": message.get("FRA_TABLE"), "goto": message.get("FRA_GOTO")}.get(action) or 0,
        source=source if message["src_len"] in {0, 32} else f"{source}/{message['src_len']}",
        mark=message.get("FRA_FWMARK") or 0,
        mask=message.get("FRA_FWMASK") or 0,
    )


def _rule_message(rule: Rule) -> bytes:
    """Return `rule` as linux/fib_rules.h has it."""
    address, _, length = rule.source.partition("/")
    terms = [attribute(_FRA_PRIORITY, _u32(rule.priority)), attribute(_FRA_PROTOCOL, bytes([PROTOCOL]))]
    if rule.action == "lookup":
        terms.append(attribute(_FRA_TABLE, _u32(rule.target)))
    elif rule.action == "goto":
        terms.append(attribute(_FRA_GOTO, _u32(rule.target)))
    if rule.source:
        terms.append(attribute(_FRA_SOURCE, socket.inet_aton(address)))
    if rule.mask:
        terms += [attribute(_FRA_MARK, _u32(rule.mark)), attribute(_FRA_MASK, _u32(rule.mask))]
    action = next(number for number, name in _ACTIONS.items() if name == rule.action)
    source_bits = int(length or 32) if rule.source else 0
    return struct.pack("=8BI", socket.AF_INET, 0, source_bits, 0, 0, 0, 0, action, 0) + b"".join(terms)


def _route_message(route: RouteEntry) -> bytes:
    """Return `route` as linux/rtnetlink.h has it; raises DataplaneError when its interface isn't there."""
    address, _, length = route.destination.partition("/")
    terms = [attribute(_RTA_TABLE, _u32(route.table))]
    if length:
        terms.append(attribute(_RTA_DESTINATION, socket.inet_aton(address)))
    if route.metric:
        terms.append(attribute(_RTA_PRIORITY, _u32(route.metric)))
    if route.via:
        terms.append(attribute(_RTA_GATEWAY, socket.inet_aton(route.via)))
    if route.interface:
        terms.append(attribute(_RTA_INTERFACE, _u32(_index(route.interface))))
    kind = next(number for number, name in _KINDS.items() if name == route.kind)
    scope = _SCOPE_LINK if route.interface and not route.via else 0
    head = struct.pack("=8BI", socket.AF_INET, int(length or 0), 0, 0, 0, PROTOCOL, scope, kind, 0)
    return head + b"".join(terms)


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise DataplaneError(
            f"the interface {interface} isn't there: correct the node's configuration or bring it up"
        ) from None


def _route(message: Any, names: dict[int, Any]) -> RouteEntry:
    link = names.get(message.get("oif"))
    destination = f"{message.get('dst')}/{message['dst_len']}" if message["dst_len"] else "default"
    return RouteEntry(
        table=message.get("table"),
        destination=destination,
        kind=_KINDS.get(message["type"], "unicast"),
        via=message.get("gateway") or "",
        interface=(link.get("ifname") if link else "") or "",
        metric=message.get("priority") or 0,
    )
