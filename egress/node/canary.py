"""Send a packet from a container of our own through the node's real network, and see whether netfilter meets it.

All steering happens in netfilter and in the kernel's routes. A network that forwards past them (eBPF host routing,
macvlan, a network card handed to the container) looks like any other in CNI's result; only a packet tells.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from egress.netkit.desired import Pod
from egress.netkit.nft import Nft

from .cni_chain import INTERFACE, Attachment, Chain, ChainError, read_network
from .cni_protocol import CniError, pod_from
from .config import Config
from .netns import entered, fresh

log = logging.getLogger(__name__)
TABLE = "sluicegate_canary"
#: For documentation (RFC 5737): where the packet gets past netfilter, no host of the internet receives it.
DESTINATION, PORT = "192.0.2.254", 9
#: So long for the packet to show up: some networks let a new container's packets through only after a second or two.
WATCH_SECONDS = 5.0
_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Sighting:
    """The interfaces that the container's packets arrived from, and those where conntrack followed them."""

    seen: frozenset[str] = frozenset()
    tracked: frozenset[str] = frozenset()


def unfit(pod: Pod) -> str:
    """Return why a container with this place can't be steered, whatever its packets do; "" when it may be."""
    if not pod.address:
        return "it gives containers no IPv4 address"
    if not pod.interface:
        return "it gives containers no interface on the host"
    return ""


def judge(pod: Pod, sighting: Sighting, trouble: str = "") -> str:
    """Return why packets of containers like `pod` can't be steered; "" when they can. `trouble` is sending's own."""
    place = pod.bridge or pod.interface
    if place in sighting.tracked:
        return ""
    if place in sighting.seen:
        return "conntrack doesn't follow containers' packets (a notrack rule?)"
    if sighting.seen:
        return f"containers' packets arrive from {', '.join(sorted(sighting.seen))}, not from {place}"
    if trouble:
        return f"containers can't send to the internet: {trouble}"
    return "containers' packets to the internet pass by this node's netfilter"


def identity(node: str) -> str:
    """Return the canary's container id: the same each time, so that the next one finds what a killed one left."""
    return f"sluicegate-canary-{node}"


def send(config: Config) -> tuple[str, str]:
    """Send one, and return the network's digest and why it isn't supported ("": it is).

    Blocks for seconds, and enters namespaces with the calling thread. Raises ChainError or OSError where nothing can be
    told.
    """
    network = read_network(Path(config.cni_conf_dir))
    chain = Chain(network, config.cni_bin_dirs)
    container = identity(config.name)
    # What a killed one left is an address: a plugin that needs the result to clean up has said no to nothing.
    with contextlib.suppress(ChainError):
        chain.delete(Attachment(container))
    with fresh() as namespace:
        attachment = Attachment(container, f"/proc/{os.getpid()}/fd/{namespace}")
        result: Mapping[str, Any] | None = None
        try:
            result = chain.add(attachment)
            pod = _pod(result, container)
            reason = unfit(pod) or _watch(pod, namespace)
        finally:
            _take_down(chain, attachment, result)
    return network.digest, f"network {network.name}: {reason}" if reason else ""


def sweep(config: Config) -> None:
    """Take away what a canary left that was killed."""
    nft = Nft()
    try:
        nft.run(_REMOVE)
    finally:
        nft.close()
    with contextlib.suppress(ChainError):
        chain = Chain(read_network(Path(config.cni_conf_dir)), config.cni_bin_dirs)
        _take_down(chain, Attachment(identity(config.name)), None)


def _take_down(chain: Chain, attachment: Attachment, result: Mapping[str, Any] | None) -> None:
    try:
        chain.delete(attachment, result)
    except ChainError as error:
        # The verdict stands; the next canary's first act is to try this again.
        log.warning("the canary isn't cleaned up after: %s", error)


def _pod(result: Mapping[str, Any], container: str) -> Pod:
    try:
        return pod_from(result, namespace="", container_id=container, interface=INTERFACE, netns="")
    except CniError as error:
        raise ChainError(f"the network's result can't be read: {error}") from None


def _watch(pod: Pod, namespace: int) -> str:
    """Send from `pod`, which lives in `namespace`, until a packet is seen or time is up; return the verdict."""
    nft = Nft()
    try:
        nft.run(_script(pod.address))
        with entered(namespace):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            return _send_until_seen(sender, nft, pod)
    finally:
        nft.run(_REMOVE)
        nft.close()


def _send_until_seen(sender: socket.socket, nft: Nft, pod: Pod) -> str:
    deadline = time.monotonic() + WATCH_SECONDS
    while True:
        trouble = ""
        try:
            sender.sendto(b"sluicegate canary", (DESTINATION, PORT))
        except OSError as error:
            trouble = str(error.strerror)
        time.sleep(_AGAIN_SECONDS)
        reason = judge(pod, _sighting(nft), trouble)
        if not reason or time.monotonic() > deadline:
            return reason


def _sighting(nft: Nft) -> Sighting:
    return Sighting(_elements(nft, "seen"), _elements(nft, "tracked"))


def _elements(nft: Nft, name: str) -> frozenset[str]:
    objects = nft.listing(f"set inet {TABLE} {name}")
    return frozenset(str(element) for each in objects if "set" in each for element in each["set"].get("elem", ()))


_REMOVE = f"add table inet {TABLE}\ndelete table inet {TABLE}"


def _script(address: str) -> str:
    """Return a table of its own that takes down, where `classify` would decide, what comes from `address`."""
    packet = f"ip saddr {address} ip daddr {DESTINATION} udp dport {PORT}"
    return f"""
    {_REMOVE}
    table inet {TABLE} {{
      set seen {{ type ifname; size 64; flags dynamic; }}
      set tracked {{ type ifname; size 64; flags dynamic; }}
      chain arrival {{
        type filter hook prerouting priority dstnat + 10; policy accept;
        {packet} add @seen {{ iifname }}
        {packet} ct state new,established add @tracked {{ iifname }}
        {packet} drop
      }}
    }}
    """
