"""What passes between the CNI plugin and the agent: frames on a socket, CNI's errors, a network's result. Pure."""

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from egress.cni import plugin
from egress.netkit.desired import Pod

MAX_ENV_BYTES = 64 * 1024
#: The first line of a frame is never longer.
MAX_HEAD_BYTES = 32
CONTAINER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")
INTERFACE = re.compile(r"(?!\.{1,2}$)[^\s/:]{1,15}")
#: What names of the host's interfaces and hardware addresses may be: they go into rulesets as they are.
_HOST_INTERFACE = re.compile(r"[!#-)+-.0-9;-\[\]-~]{1,15}")
_MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|")

INCOMPATIBLE_VERSION = 1
BAD_ENVIRONMENT = plugin.BAD_ENVIRONMENT
BAD_INPUT = plugin.BAD_INPUT
BAD_CONFIG = plugin.BAD_CONFIG
TRY_LATER = plugin.TRY_LATER
#: From 100 on the codes are a plugin's own.
UNSUPPORTED_NETWORK = 100
NOT_AS_ADDED = 101


class CniError(Exception):
    """An error that the runtime shall see."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(f"{message} ({details})" if details else message)
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True, slots=True)
class Answer:
    """What the plugin prints, and its exit code."""

    code: int = 0
    output: bytes = b""

    def frame(self) -> bytes:
        """Return it as it goes over the socket."""
        return b"SG1 %d %d\n%s" % (self.code, len(self.output), self.output)


def error_answer(error: CniError, version: object = None) -> Answer:
    """Return `error` as CNI wants it: JSON on the standard output, in the caller's version."""
    known = version if isinstance(version, str) else plugin.VERSIONS[-1]
    content = {"cniVersion": known, "code": error.code, "msg": f"sluicegate: {error.message}", "details": error.details}
    return Answer(1, json.dumps(content).encode())


def parse_head(line: bytes) -> tuple[int, int]:
    """Return the sizes of environment and standard input that the first line of a request announces."""
    match = re.fullmatch(rb"SG1 (\d{1,9}) (\d{1,9})\n", line)
    if not match:
        raise CniError(BAD_INPUT, "the request doesn't begin with 'SG1 <env bytes> <stdin bytes>'")
    env_bytes, stdin_bytes = int(match[1]), int(match[2])
    if env_bytes > MAX_ENV_BYTES or stdin_bytes > plugin.MAX_BYTES:
        raise CniError(BAD_INPUT, f"the request is too large: at most {MAX_ENV_BYTES} and {plugin.MAX_BYTES} bytes")
    return env_bytes, stdin_bytes


def parse_env(content: bytes) -> dict[str, str]:
    """Return the variables in `content`, `K=V` divided by NUL."""
    try:
        pairs = [pair.split("=", 1) for pair in content.decode().split("\0") if pair]
        return {name: value for name, value in pairs}  # noqa: C416 - dict(pairs) isn't typed
    except ValueError:
        raise CniError(BAD_ENVIRONMENT, "the environment isn't K=V in UTF-8") from None


def parse_config(stdin: bytes) -> dict[str, Any]:
    """Return the network configuration."""
    try:
        config = json.loads(stdin)
    except (ValueError, RecursionError) as error:
        raise CniError(BAD_INPUT, "the network configuration isn't JSON", str(error)[:300]) from None
    if not isinstance(config, dict):
        raise CniError(BAD_INPUT, "the network configuration isn't a JSON object")
    return config


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of the plugin, its environment checked as far as the command needs it."""

    command: str
    config: Mapping[str, Any]
    container_id: str = ""
    interface: str = ""
    netns: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def network(self) -> str:
        """The network's name."""
        name = self.config.get("name", "")
        return name if isinstance(name, str) else ""


def parse_call(env: Mapping[str, str], config: Mapping[str, Any]) -> Call:
    """Return the call that `env` and `config` describe; raise CniError as the specification wants it."""
    command = env.get("CNI_COMMAND", "")
    if command in ("GC", "STATUS", "VERSION"):
        return Call(command, config)
    if command not in ("ADD", "CHECK", "DEL"):
        raise CniError(BAD_ENVIRONMENT, f"CNI_COMMAND is {command!r}, which is no command of CNI 1.1")
    version = config.get("cniVersion", "")
    if version not in plugin.VERSIONS:
        versions = ", ".join(plugin.VERSIONS)
        raise CniError(INCOMPATIBLE_VERSION, f"cniVersion is {version!r}; it must be one of {versions}")
    container_id, interface = env.get("CNI_CONTAINERID", ""), env.get("CNI_IFNAME", "")
    if not CONTAINER_ID.fullmatch(container_id):
        raise CniError(BAD_ENVIRONMENT, f"CNI_CONTAINERID is {container_id[:80]!r}, which is no container's id")
    if not INTERFACE.fullmatch(interface):
        raise CniError(BAD_ENVIRONMENT, f"CNI_IFNAME is {interface[:80]!r}, which is no interface's name")
    netns = env.get("CNI_NETNS", "")
    if not netns and command != "DEL":
        raise CniError(BAD_ENVIRONMENT, "CNI_NETNS is missing")
    pairs = [pair.partition("=") for pair in env.get("CNI_ARGS", "").split(";")]
    return Call(command, config, container_id, interface, netns, {name: value for name, _, value in pairs})


def namespace_of(arguments: Mapping[str, str]) -> str:
    """Return the namespace that CNI's arguments name; where there is none (podman), the container's name."""
    return arguments.get("K8S_POD_NAMESPACE") or arguments.get("K8S_POD_NAME", "")


def previous_result(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the result of the plugin before this one."""
    previous = config.get("prevResult")
    if not isinstance(previous, dict):
        raise CniError(BAD_CONFIG, "no prevResult: put sluicegate after the network's main plugin in the conflist")
    return previous


def pod_from(result: Any, *, namespace: str, container_id: str, interface: str, netns: str) -> Pod:
    """Return the container's place as `result` tells it: its IPv4 address, its host's interface, the bridge.

    The specification has interfaces in the order of their making: (bridge, host's end, container's end) with a
    bridge, (host's end, container's end) with ptp; what later plugins add comes after. A network that gives no IPv4
    address, or no interface on the host, leaves that "". Raises CniError.
    """
    try:
        links = [dict(link) for link in result.get("interfaces") or ()]
        addresses = [dict(item) for item in result.get("ips") or ()]
        inside = _inside(links, interface)
        host = [str(link["name"]) for link in links[:inside] if not link.get("sandbox")]
        address = _address(addresses, inside)
        mac = str(links[inside].get("mac", "")) if inside < len(links) else ""
        netns = netns or (str(links[inside].get("sandbox", "")) if inside < len(links) else "")
        _check_fit(host, mac, netns)
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise CniError(BAD_CONFIG, "prevResult isn't a CNI result", repr(error)[:300]) from None
    return Pod(
        address=address,
        namespace=namespace,
        container_id=container_id,
        interface=host[-1] if host else "",
        bridge=host[-2] if len(host) > 1 else "",
        mac=mac,
        netns=netns,
    )


def _check_fit(host: list[str], mac: str, netns: str) -> None:
    """Raise ValueError for names that no kernel, or no ruleset, takes."""
    if not all(map(_HOST_INTERFACE.fullmatch, host)) or not _MAC.fullmatch(mac):
        raise ValueError(f"{host[:4]!r} or {mac[:20]!r}: no interface's name or no hardware address")
    if "\0" in netns:
        raise ValueError("a path with a NUL in it")
    os.fsencode(netns)


def _inside(links: list[dict[str, Any]], interface: str) -> int:
    """Return the index of the container's own interface; the list's length where only the host's end is told."""
    sandboxed = [at for at, link in enumerate(links) if link.get("sandbox")]
    named = [at for at in sandboxed if links[at].get("name") == interface]
    return next(iter(named or sandboxed), len(links))


def _address(items: list[dict[str, Any]], inside: int) -> str:
    for item in items:
        address = ipaddress.ip_interface(str(item["address"])).ip
        if address.version == 4 and item.get("interface") in (None, inside):  # noqa: PLR2004 - IPv4
            return str(address)
    return ""
