"""Pods that are gone for the runtime while their interface still stands: their processes may live on.

They stay shut in: what they send is neither their app's any more nor a stranger's, and must not meet whoever has their
address next.
"""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from egress.netkit.desired import Pod
from egress.netkit.plan import SeenTable


@dataclass(frozen=True, slots=True)
class _Leaver:
    """A pod and the index of its interface: the name alone may be another's by now."""

    pod: Pod
    index: int


class Leaving:
    """Knows who leaves. Interfaces are those of the caller's network namespace."""

    def __init__(self) -> None:
        #: Pods whose traffic must never pass as another's, as long as they are there, by interface.
        self._watched: dict[str, _Leaver] = {}
        self._leaving: dict[str, _Leaver] = {}

    def watch(self, pods: Iterable[Pod]) -> None:
        """Watch `pods` and no others: whichever of them is missing at the next `still`, leaves."""
        known = self._watched
        self._watched = {
            pod.interface: known[pod.interface]
            if pod.interface in known and known[pod.interface].pod == pod
            else _Leaver(pod, _index(pod.interface))
            for pod in pods
        }

    def begin(self, pod: Pod) -> None:
        """Shut `pod` in from the next `still` on; it is about to be removed."""
        self._leaving[pod.interface] = _Leaver(pod, _index(pod.interface))

    def adopt(self, pods: Iterable[Pod]) -> None:
        """Take over pods that a former process held, here or leaving; those that are there still don't leave."""
        for pod in pods:
            self.begin(pod)

    def still(self, present: Mapping[str, Pod]) -> tuple[Pod, ...]:
        """Return who leaves while `present`, by address, are here: without an address where an heir has it."""
        here = {pod.interface: pod for pod in present.values()}
        candidates = {**self._watched, **self._leaving}
        self._leaving = {
            name: leaver
            for name, leaver in candidates.items()
            if name not in here and leaver.index and _index(name) == leaver.index
        }
        pods = [leaver.pod for leaver in self._leaving.values()]
        return tuple(replace(pod, address="") if pod.address in present else pod for pod in pods)


def held_before(inet: SeenTable | None, bridge: SeenTable | None) -> tuple[Pod, ...]:
    """Return the pods that the kernel's tables hold as ours: what `inet_sets` and `bridge_sets` made of them."""
    routed, bridged = _pairs(inet, "places"), _pairs(bridge, "places")
    ways = {address: interface for interface, address in routed}
    addresses, macs = dict([*routed, *bridged]), dict(_pairs(bridge, "station_places"))

    def pod(interface: str, bridge: str) -> Pod:
        address, mac = addresses.get(interface, ""), macs.get(interface, "")
        return Pod(
            address=address,
            namespace="",
            container_id="",
            interface=interface,
            bridge=bridge,
            mac=mac if bridge else "",
        )

    # The bridge of one without an address isn't known, and doesn't matter: its packets get no further than its port.
    on_bridges = [pod(name, ways.get(addresses.get(name, ""), name)) for name in _names(bridge, "ports")]
    return (*(pod(name, "") for name in _names(inet, "interfaces")), *on_bridges)


def _names(table: SeenTable | None, name: str) -> list[str]:
    """Return the interfaces in set `name`, without quotes."""
    return sorted(each.strip('"') for each in (table.sets.get(name, ()) if table else ()))


def _pairs(table: SeenTable | None, name: str) -> list[tuple[str, str]]:
    """Return set `name` as (interface, address)."""
    elements = sorted(table.sets.get(name, ()) if table else ())
    return [(each.partition(" . ")[0].strip('"'), each.partition(" . ")[2]) for each in elements]


def _index(interface: str) -> int:
    """Return the interface's index, 0 when there is none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0
