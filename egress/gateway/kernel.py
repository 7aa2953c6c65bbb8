"""Speak to the kernel: nftables, policy rules, sysctls, addresses. No decisions here.

Programs: nft and ip, which every Ubuntu image has. Everything raises KernelError and nothing else.
"""

import json
import os
import select
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .ruleset import DYNAMIC_SETS, FAMILY, MARK, TABLE

#: Marks our policy rules as ours ("protocol" of rtnetlink; below 4 and from 186 on others have theirs).
PROTOCOL = 83
#: Marked packets are routed; unmarked ones that came from outside are not. Together they are the barrier that holds
#: while the table is missing.
BARRIER = {
    98: ["fwmark", hex(MARK), "lookup", "main"],
    99: ["not", "iif", "lo", "blackhole"],
}
#: Lets rp_filter's look at the way back bear the packet's mark: unmarked, it would meet the barrier.
SOURCE_CHECK_BY_MARK = "net/ipv4/conf/all/src_valid_mark"
_NETLINK_NETFILTER = 12
_NFTABLES_GROUP = 1 << (7 - 1)
#: Link, address, route and rule changes, and changes of ip_forward (RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE,
#: IPV4_NETCONF).
_ROUTE_GROUPS = sum(1 << (group - 1) for group in (1, 5, 7, 8, 24))
_NFT_MSG_GETGEN = (10 << 8) | 16
_NFTA_GEN_ID = 1
_RTM_GETLINK = 18
_NLMSG_ERROR = 2
_IFLA_IFNAME = 3
_IFLA_STATS64 = 23
_UP_WITH_CARRIER = 0x1 | 0x10000
_TIMEOUT_SECONDS = 20


class KernelError(Exception):
    """The kernel, or the program that speaks to it, refused; the message quotes it."""


def load(rules: str) -> None:
    """Apply `rules`, text for nft, as one transaction."""
    _run(["nft", "-f", "-"], rules)


def listing() -> str | None:
    """Return what our table holds, in a form that is the same for the same rules; None when there is no table."""
    tables = json.loads(_run(["nft", "-j", "list", "tables"]))["nftables"]
    ours = {"family": FAMILY, "name": TABLE}
    if not any({key: each.get("table", {}).get(key) for key in ours} == ours for each in tables):
        return None
    items = json.loads(_run(["nft", "-j", "-s", "list", "table", FAMILY, TABLE]))["nftables"]
    return json.dumps([_lasting(item) for item in items if "metainfo" not in item], sort_keys=True)


def _lasting(item: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return one listed object without what differs from load to load, or changes as packets pass."""
    ((kind, body),) = item.items()
    kept = {key: value for key, value in body.items() if key != "handle"}
    if kind == "set" and kept["name"] in DYNAMIC_SETS:
        kept.pop("elem", None)
    elif "elem" in kept:
        kept["elem"] = sorted(kept["elem"], key=str)
    return {kind: kept}


def generation() -> int:
    """Return the number of nftables transactions so far in this network namespace (it wraps at 2**32)."""
    request = struct.pack("=IHHII4s", 20, _NFT_MSG_GETGEN, 1, 0, 0, b"\0" * 4)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as nfnetlink:
            nfnetlink.settimeout(_TIMEOUT_SECONDS)
            nfnetlink.bind((0, 0))
            nfnetlink.send(request)
            return _generation_in(nfnetlink.recv(4096))
    except (OSError, struct.error) as error:
        raise KernelError(f"nftables' generation can't be read: {error}") from error


def _generation_in(answer: bytes) -> int:
    found = _attribute(answer, 20, _NFTA_GEN_ID)
    if found is None:
        raise KernelError("nftables' generation can't be read: the answer holds none")
    return int.from_bytes(found, "big")


def _attribute(answer: bytes, at: int, wanted: int) -> bytes | None:
    """Return the content of a netlink attribute among those that begin at `at`."""
    while at + 4 <= len(answer):
        size, kind = struct.unpack_from("=HH", answer, at)
        if kind == wanted:
            return answer[at + 4 : at + size]
        at += max(4, (size + 3) & ~3)
    return None


@dataclass(frozen=True, slots=True)
class Link:
    """An interface: whether it is up with a carrier, and how many packets it has received."""

    up: bool
    packets: int


def link(interface: str) -> Link:
    """Return how `interface` is; one that isn't there is down.

    Asked by netlink, whose flag follows the carrier at once: the flag of older calls may lag a second behind.
    """
    name = interface.encode() + b"\0"
    body = struct.pack("=BxHiIIHH", 0, 0, 0, 0, 0, 4 + len(name), _IFLA_IFNAME) + name
    request = struct.pack("=IHHII", 16 + len(body), _RTM_GETLINK, 1, 0, 0) + body
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
            route.settimeout(_TIMEOUT_SECONDS)
            route.send(request)
            answer = route.recv(16384)
    except OSError as error:
        raise KernelError(f"the state of {interface} can't be read: {error}") from error
    if struct.unpack_from("=H", answer, 4)[0] == _NLMSG_ERROR:
        return Link(up=False, packets=0)
    flags = struct.unpack_from("=I", answer, 24)[0]
    counters = _attribute(answer, 32, _IFLA_STATS64)
    packets = struct.unpack_from("=Q", counters)[0] if counters else 0
    return Link(up=flags & _UP_WITH_CARRIER == _UP_WITH_CARRIER, packets=packets)


def raise_barrier() -> bool:
    """Put the policy rules of `BARRIER` in place; True when one was missing."""
    if sysctl(SOURCE_CHECK_BY_MARK) != "1":
        set_sysctl(SOURCE_CHECK_BY_MARK, "1")
    rules = json.loads(_run(["ip", "-j", "-4", "rule", "show"]))
    ours = {rule["priority"] for rule in rules if str(rule.get("protocol")) == str(PROTOCOL)}
    for priority, rule in BARRIER.items():
        if priority not in ours:
            _run(["ip", "-4", "rule", "add", "pref", str(priority), *rule, "protocol", str(PROTOCOL)])
    return not ours.issuperset(BARRIER)


def addresses() -> list[dict[str, Any]]:
    """Return all interfaces with their IPv4 addresses, as `ip -j` tells them."""
    return list(json.loads(_run(["ip", "-j", "-4", "address", "show"])))


def default_routes() -> list[dict[str, Any]]:
    """Return the IPv4 default routes of the main table, as `ip -j` tells them."""
    return list(json.loads(_run(["ip", "-j", "-4", "route", "show", "default"])))


def sysctl(name: str) -> str:
    """Return a sysctl's value; `name` has slashes, as below /proc/sys."""
    try:
        return Path("/proc/sys", name).read_text(encoding="ascii").strip()
    except OSError as error:
        raise KernelError(f"sysctl {name} can't be read: {error}") from error


def set_sysctl(name: str, value: str) -> None:
    """Write a sysctl."""
    try:
        Path("/proc/sys", name).write_text(value, encoding="ascii")
    except OSError as error:
        raise KernelError(f"sysctl {name} can't be set to {value}: {error}") from error


def bytes_sent(interface: str) -> int:
    """Return what `interface` has sent since it came up, 0 when there is no such interface."""
    for line in Path("/proc/self/net/dev").read_text(encoding="ascii").splitlines():
        name, colon, counters = line.partition(":")
        if colon and name.strip() == interface:
            return int(counters.split()[8])
    return 0


class Watch:
    """Tells when something changed that the gateway stands on; changes between two waits are kept."""

    def __init__(self) -> None:
        groups = ((_NETLINK_NETFILTER, _NFTABLES_GROUP), (socket.NETLINK_ROUTE, _ROUTE_GROUPS))
        self._sockets = []
        for family, mask in groups:
            each = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, family)
            each.bind((0, mask))
            self._sockets.append(each)

    def wait(self, timeout_seconds: float) -> None:
        """Return at the next change, or after `timeout_seconds`."""
        ready, _, _ = select.select(self._sockets, [], [], timeout_seconds)
        for each in ready:
            _drain(each)


def _drain(notices: socket.socket) -> None:
    try:
        while notices.recv(65536):
            pass
    except BlockingIOError:
        return
    except OSError:
        # ENOBUFS: more came than the kernel could keep for us. That something changed is all we want to know.
        return


def _run(command: list[str], text: str = "") -> str:
    # /usr/sbin is not on every service manager's PATH.
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise KernelError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise KernelError(f"{' '.join(command)}: {done.stderr.strip()[:500]}")
    return done.stdout
