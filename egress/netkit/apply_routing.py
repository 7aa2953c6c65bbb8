"""Read and change policy rules, routes, the sink and one sysctl. Thin: what to change is decided elsewhere."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from .errors import DataplaneError
from .routing import PROTOCOL, SINK, RouteEntry, Routing, Rule

_IPV4 = 2
_MAIN_TABLE = 254
_ACTIONS: dict[int, Literal["lookup", "goto", "nop"]] = {1: "lookup", 2: "goto", 3: "nop"}
_KINDS: dict[int, Literal["unicast", "throw", "unreachable"]] = {1: "unicast", 7: "unreachable", 9: "throw"}
#: Rules and tables that the kernel makes itself.
_KERNEL_TABLES = frozenset({0, 253, 254, 255})
_SETTINGS = Path("/proc/sys/net/ipv4/conf")


class RoutingKernel:
    """Policy rules and routes of the caller's network namespace; not for use inside a running asyncio loop."""

    def __init__(self) -> None:
        self._ip = IPRoute()
        self.foreign_rules: tuple[Rule, ...] = ()
        self.foreign_tables: frozenset[int] = frozenset()
        self.default_interfaces: frozenset[str] = frozenset()
        self.bridge_addresses: frozenset[str] = frozenset()
        self.own_addresses: frozenset[str] = frozenset()

    def close(self) -> None:
        """Give the sockets back."""
        self._ip.close()

    def observe(self) -> Routing:
        """Return what is ours; what is others' goes to the attributes."""
        names = {link["index"]: link for link in self._ip.get_links()}
        rules = [(rule.get("FRA_PROTOCOL"), _rule(rule)) for rule in self._ip.get_rules(family=_IPV4)]
        self.foreign_rules = tuple(rule for owner, rule in rules if owner != PROTOCOL)
        routes = list(self._ip.get_routes(family=_IPV4))
        ours = [route for route in routes if route["proto"] == PROTOCOL]
        self.foreign_tables = (
            frozenset(route["table"] for route in routes if route["proto"] != PROTOCOL) - _KERNEL_TABLES
        )
        defaults = [route for route in routes if route["table"] == _MAIN_TABLE and not route["dst_len"]]
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
        self._ip.link("set", index=self._index(SINK), state="up", arp=False)
        return True

    def add_rule(self, rule: Rule) -> None:
        """Add `rule`; one that is there already is fine."""
        _tolerating(errno.EEXIST, lambda: self._ip.rule("add", **_rule_terms(rule)))

    def delete_rule(self, rule: Rule) -> None:
        """Delete `rule`; one that is gone already is fine."""
        _tolerating(errno.ENOENT, lambda: self._ip.rule("del", **_rule_terms(rule)))

    def add_route(self, route: RouteEntry) -> None:
        """Add `route`; one that is there already is fine. Raises DataplaneError when its interface is down or missing."""
        try:
            _tolerating(errno.EEXIST, lambda: self._ip.route("add", **self._route_terms(route)))
        except NetlinkError as error:
            raise DataplaneError(
                f"route {route.destination} via {route.via or route.interface} in table {route.table}: {error}; "
                f"see that {route.interface} is up and reaches {route.via or 'nothing'} directly"
            ) from error

    def delete_route(self, route: RouteEntry) -> None:
        """Delete `route`; one that is gone already is fine."""
        _tolerating(errno.ESRCH, lambda: self._ip.route("del", **self._route_terms(route)))

    def delete_sink(self) -> None:
        """Remove the interface that swallows packets."""
        for index in self._ip.link_lookup(ifname=SINK):
            self._ip.link("del", index=index)

    def _route_terms(self, route: RouteEntry) -> dict[str, Any]:
        destination = "0.0.0.0/0" if route.destination == "default" else route.destination
        terms: dict[str, Any] = {
            "family": _IPV4, "dst": destination, "table": route.table, "proto": PROTOCOL, "type": route.kind,
        }  # fmt: skip
        if route.metric:
            terms["priority"] = route.metric
        if route.via:
            terms["gateway"] = route.via
        if route.interface:
            terms["oif"] = self._index(route.interface)
            terms["scope"] = "universe" if route.via else "link"
        return terms

    def _index(self, interface: str) -> int:
        found = self._ip.link_lookup(ifname=interface)
        if not found:
            raise DataplaneError(
                f"the interface {interface} isn't there: correct the node's configuration or bring it up"
            )
        index: int = found[0]
        return index


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


def _tolerating(code: int, act: Callable[[], object]) -> None:
    try:
        act()
    except NetlinkError as error:
        if error.code not in {code, errno.ENOENT if code == errno.ESRCH else code}:
            raise


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


def _rule_terms(rule: Rule) -> dict[str, Any]:
    terms: dict[str, Any] = {"family": _IPV4, "priority": rule.priority, "action": rule.action, "protocol": PROTOCOL}
    if rule.action == "lookup":
        terms["table"], terms["action"] = rule.target, "to_tbl"
    elif rule.action == "goto":
        terms["goto"] = rule.target
    if rule.source:
        address, _, length = rule.source.partition("/")
        terms |= {"src": address, "src_len": int(length or 32)}
    if rule.mask:
        terms |= {"fwmark": rule.mark, "fwmask": rule.mask}
    return terms


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
