"""Rules, routes, links and addresses as the kernel's messages (linux/rtnetlink.h, fib_rules.h, if_link.h). Pure.

A look at the kernel parses several messages for each pod on the node, and the agent does it all day: so this holds
the few attributes that matter here, and nothing else.
"""

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .netlink import attribute, attributes, nested
from .routing import PROTOCOL, RouteEntry, Rule

NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26
NEW_RULE, DELETE_RULE, GET_RULE = 32, 33, 34
NEW_NETCONF = 80
MAIN_TABLE = 254

_RULE_HEAD = _ROUTE_HEAD = struct.Struct("=8BI")
_LINK_HEAD = struct.Struct("=BxHiII")
_ADDRESS_HEAD = struct.Struct("=4BI")
_NETCONF_HEAD_BYTES = 4
_FRA_SOURCE, _FRA_GOTO, _FRA_PRIORITY, _FRA_MARK, _FRA_TABLE, _FRA_MASK, _FRA_PROTOCOL = 2, 4, 6, 10, 15, 16, 21
_RTA_DESTINATION, _RTA_INTERFACE, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 1, 4, 5, 6, 15
_IFLA_NAME, _IFLA_INFO, _IFLA_EXTENT, _INFO_KIND, _INFO_DATA = 3, 18, 29, 1, 2
#: A bridge's switches (value, mask), and the one that keeps it from learning stations from frames for its own group.
_BRIDGE_SWITCHES, _NO_LINK_LOCAL_LEARNING = 46, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NETCONF_INTERFACE, _NETCONF_REVERSE_PATH_FILTER = 1, 3
_SKIP_STATISTICS = 1 << 3
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_SCOPE_LINK = 253
_WHOLE_ADDRESS = 32
_ACTIONS: dict[int, Literal["lookup", "goto", "nop"]] = {1: "lookup", 2: "goto", 3: "nop"}
_KINDS: dict[int, Literal["unicast", "throw", "unreachable"]] = {1: "unicast", 7: "unreachable", 9: "throw"}

ALL_RULES = ALL_ROUTES = _RULE_HEAD.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
ALL_ADDRESSES = _ADDRESS_HEAD.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
ALL_LINKS = _LINK_HEAD.pack(0, 0, 0, 0, 0) + attribute(_IFLA_EXTENT, struct.pack("=I", _SKIP_STATISTICS))


@dataclass(frozen=True, slots=True)
class Link:
    """An interface; `kind` is "" for hardware."""

    index: int
    name: str
    kind: str
    up: bool
    #: A bridge that learns stations from frames for its own group.
    credulous: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 or IPv6 address of this host on interface number `index`."""

    index: int
    address: str
    length: int

    @property
    def six(self) -> bool:
        """Tell whether it is an IPv6 address."""
        return ":" in self.address


def rule_message(rule: Rule) -> bytes:
    """Return `rule`, as ours, for the kernel."""
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
    source_bits = int(length or _WHOLE_ADDRESS) if rule.source else 0
    return _RULE_HEAD.pack(socket.AF_INET, 0, source_bits, 0, 0, 0, 0, action, 0) + b"".join(terms)


def read_rule(message: bytes) -> tuple[int, Rule]:
    """Return whose rule it is, as a protocol number, and the rule."""
    _, _, source_bits, _, _, _, _, number, _ = _RULE_HEAD.unpack_from(message)
    found = attributes(message[_RULE_HEAD.size :])
    action = _ACTIONS.get(number, "nop")
    source = socket.inet_ntoa(found[_FRA_SOURCE]) if _FRA_SOURCE in found else ""
    rule = Rule(
        priority=_number(found, _FRA_PRIORITY),
        action=action,
        target=_number(found, {"lookup": _FRA_TABLE, "goto": _FRA_GOTO}.get(action, 0)),
        source=source if source_bits in {0, _WHOLE_ADDRESS} else f"{source}/{source_bits}",
        mark=_number(found, _FRA_MARK),
        mask=_number(found, _FRA_MASK),
    )
    return found.get(_FRA_PROTOCOL, b"\0")[0], rule


def route_message(route: RouteEntry, index: int) -> bytes:
    """Return `route`, as ours, for the kernel; `index` is the number of its interface, 0 for none."""
    address, _, length = route.destination.partition("/")
    terms = [attribute(_RTA_TABLE, _u32(route.table))]
    if length:
        terms.append(attribute(_RTA_DESTINATION, socket.inet_aton(address)))
    if route.metric:
        terms.append(attribute(_RTA_PRIORITY, _u32(route.metric)))
    if route.via:
        terms.append(attribute(_RTA_GATEWAY, socket.inet_aton(route.via)))
    if index:
        terms.append(attribute(_RTA_INTERFACE, _u32(index)))
    kind = next(number for number, name in _KINDS.items() if name == route.kind)
    scope = _SCOPE_LINK if route.interface and not route.via else 0
    return _ROUTE_HEAD.pack(socket.AF_INET, int(length or 0), 0, 0, 0, PROTOCOL, scope, kind, 0) + b"".join(terms)


def read_route(message: bytes, names: Mapping[int, str]) -> tuple[int, RouteEntry]:
    """Return whose route it is, as a protocol number, and the route; `names` are interfaces' by their numbers."""
    _, length, _, _, _, protocol, _, number, _ = _ROUTE_HEAD.unpack_from(message)
    found = attributes(message[_ROUTE_HEAD.size :])
    route = RouteEntry(
        table=_number(found, _RTA_TABLE),
        destination=f"{socket.inet_ntoa(found[_RTA_DESTINATION])}/{length}" if length else "default",
        kind=_KINDS.get(number, "unicast"),
        via=socket.inet_ntoa(found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else "",
        interface=names.get(_number(found, _RTA_INTERFACE), ""),
        metric=_number(found, _RTA_PRIORITY),
    )
    return protocol, route


def bridge_message(index: int, name: str) -> bytes:
    """Return the message that makes a bridge `name`, or changes interface number `index`, into one that is up, deaf."""
    flags = _IFF_UP | _IFF_NOARP
    head = _LINK_HEAD.pack(0, 0, index, flags, flags)
    if index:
        return head
    kind = nested(_IFLA_INFO, attribute(_INFO_KIND, b"bridge"))
    return head + attribute(_IFLA_NAME, name.encode() + b"\0") + kind


def disbelief_message(index: int) -> bytes:
    """Return the message that keeps bridge number `index` from learning stations from frames for its own group."""
    switch = attribute(_BRIDGE_SWITCHES, _u32(_NO_LINK_LOCAL_LEARNING) * 2)
    info = attribute(_INFO_KIND, b"bridge") + nested(_INFO_DATA, switch)
    return link_message(index) + nested(_IFLA_INFO, info)


def link_message(index: int) -> bytes:
    """Return the message that names interface number `index`."""
    return _LINK_HEAD.pack(0, 0, index, 0, 0)


def read_link(message: bytes) -> Link:
    """Return the interface that the kernel tells of."""
    _, _, index, flags, _ = _LINK_HEAD.unpack_from(message)
    found = attributes(message[_LINK_HEAD.size :])
    info = attributes(found.get(_IFLA_INFO, b""))
    kind = _text(info.get(_INFO_KIND, b""))
    switches = attributes(info.get(_INFO_DATA, b"")).get(_BRIDGE_SWITCHES, b"") if kind == "bridge" else b""
    credulous = bool(switches) and not _number({0: switches[:4]}, 0) & _NO_LINK_LOCAL_LEARNING
    return Link(index, _text(found.get(_IFLA_NAME, b"")), kind, bool(flags & _IFF_UP), credulous)


def read_address(message: bytes) -> Address:
    """Return the address that the kernel tells of."""
    family, length, _, _, index = _ADDRESS_HEAD.unpack_from(message)
    found = attributes(message[_ADDRESS_HEAD.size :])
    return Address(index, socket.inet_ntop(family, found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]), length)


def reverse_path_change(message: bytes) -> int | None:
    """Return the number of the interface whose rp_filter a netconf message tells of (-1: of all), None for others."""
    found = attributes(message[_NETCONF_HEAD_BYTES:])
    if _NETCONF_REVERSE_PATH_FILTER not in found or _NETCONF_INTERFACE not in found:
        return None
    return int(struct.unpack("=i", found[_NETCONF_INTERFACE])[0])


def _number(found: Mapping[int, bytes], kind: int) -> int:
    return int(struct.unpack("=I", found[kind])[0]) if kind in found else 0


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode(errors="replace")
