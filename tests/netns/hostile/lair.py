"""The data plane's world with a camera on every public leg, and with a victim and a neighbour on each kind of network.

What counts is what arrives on the internet's side of the two gateways and of the node, every packet of it.
"""

import itertools
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from dataplane_world import METADATA, OBSERVER, World, route, run
from frames import EVIL, RST, TCP, ethernet

#: Where honest signs of life go: nobody answers there.
SIGN_PORT = 9
LEGS = {"p-gw-a": "gw-a", "p-gw-b": "gw-b", "p-n1": "n1"}
_serial = itertools.count()


@dataclass(frozen=True)
class Packet:
    """One packet as it arrived on the internet's side of `leg`."""

    leg: str
    source: str
    to: str
    protocol: int
    sport: int
    dport: int
    #: Of TCP.
    flags: int
    seq: int
    ack: int
    raw: bytes

    @property
    def evil(self) -> bool:
        return EVIL in self.raw


def parse(leg: str, raw: bytes) -> Packet:
    if raw[0] >> 4 == 6:
        source, to = (socket.inet_ntop(socket.AF_INET6, raw[at : at + 16]) for at in (8, 24))
        return Packet(leg, source, to, raw[6], 0, 0, 0, 0, 0, raw)
    size = (raw[0] & 15) * 4
    sport, dport, seq, ack, _, flags = struct.unpack(">HHIIBB", (raw[size:] + b"\0" * 14)[:14])
    is_tcp = raw[9] == TCP
    tcp = (flags, seq, ack) if is_tcp else (0, 0, 0)
    return Packet(leg, socket.inet_ntoa(raw[12:16]), socket.inet_ntoa(raw[16:20]), raw[9], sport, dport, *tcp, raw)


@dataclass(frozen=True)
class Place:
    """A pod on the wire, with the MAC of its router on the node."""

    name: str
    address: str
    mac: str
    router: str
    port: str


class Lair(World):
    """The world, with its data plane running on n1: app shop is enabled, its neighbour blog isn't."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.places: dict[str, Place] = {}

    def build(self) -> None:
        super().build()
        for host in (OBSERVER, METADATA):
            self["net"]("serve", port=80, host=host)
        self["net"]("watch", interfaces=list(LEGS))
        # What goes from port to port is seen by the bridge's own rules only.
        self.sh("n1", "sysctl", "-eqw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0")
        self.settle("shop1", "shop", "10.244.1.11")
        self.settle("blog1", "blog", "10.244.1.12")
        self.settle("shop2", "shop", "10.244.1.130", bridged=True)
        self.settle("blog2", "blog", "10.244.1.131", bridged=True)
        self.start(self.wish(routes=(route(),)))

    def settle(self, name: str, app: str, address: str, *, bridged: bool = False) -> Place:
        """Make a pod as its network plugins do; the data plane isn't told."""
        pod = self.pod(name, app, "n1", address, bridged=bridged)
        router = "cni0" if bridged else pod["interface"]
        self.places[name] = Place(name, address, pod["mac"], self.station_of("n1", router), pod["interface"])
        return self.places[name]

    def station_of(self, name: str, interface: str) -> str:
        """Return the MAC of an interface."""
        return self.sh(name, "cat", f"/sys/class/net/{interface}/address").strip()

    def vanish(self, name: str) -> None:
        """End a pod at once: its connections stay open for the other end."""
        self.ip("n1", f"link del {self.pods[name]['interface']}")
        self.leave(name)

    def leave(self, name: str) -> None:
        """End a pod's process and namespace, after its interface or not."""
        self[name].kill()
        del self.puppets[name], self.pods[name]
        run("ip", "netns", "del", self.ns(name))
        self.names.remove(name)

    def here(self, *without: str) -> dict:
        """Return the wish with all pods but these."""
        return self.wish(routes=(route(),), pods=tuple(name for name in self.pods if name not in without))

    def add_pod(self, name: str, app: str, address: str, *, bridged: bool, without: str = "") -> Place:
        """Do what ADD does: the pod's network, then the data plane; `without` is who has lost its address by that."""
        place = self.settle(name, app, address, bridged=bridged)
        self["n1"]("pod_added", wish=self.here(without), pod=self.pods[name])
        return place

    def remove_pod(self, name: str) -> None:
        """Do what DEL does first."""
        self["n1"]("pod_removed", wish=self.here(name), address=self.pods[name]["address"])

    def send(self, name: str, *frames: bytes) -> None:
        """Have pod `name` send whole frames."""
        self[name]("send_frames", frames=[frame.hex() for frame in frames])

    def send_packets(self, name: str, *packets: bytes) -> None:
        """Have pod `name` send IPv4 packets to its router."""
        self.send(name, *(self.frame_of(name, packet) for packet in packets))

    def frame_of(self, name: str, packet: bytes) -> bytes:
        """Return the frame in which pod `name` sends an IPv4 packet to its router."""
        place = self.places[name]
        return ethernet(place.router, place.mac, 0x0800, packet)

    def show_sign(self, *names: str, seconds: float = 60) -> list[Packet]:
        """Have each pod send an honest datagram, wait until all were seen outside, and return all else that was.

        What was sent before has arrived by then, or never will: all of it waits in the same queues.
        """
        signs = {f"sign-{next(_serial)}".encode(): name for name in names}
        for sign, name in signs.items():
            self[name]("tell", name="sign", to=OBSERVER, port=SIGN_PORT, text=sign.decode())
        seen: list[Packet] = []
        end = time.monotonic() + seconds
        while signs:
            assert time.monotonic() < end, f"signs of {sorted(signs.values())} weren't seen outside"
            for packet in self.outside():
                sign = packet.raw[28:]
                leg = "n1" if signs.get(sign, "").startswith("blog") else "gw-a"
                if packet.leg == leg and signs.pop(sign, None):
                    continue
                seen.append(packet)
        return seen

    def hush(self, *names: str, seconds: float = 20) -> None:
        """Wait until honest signs of life are all that is seen outside."""
        end = time.monotonic() + seconds
        while self.show_sign(*names):
            assert time.monotonic() < end, "what was begun before goes on"

    def outside(self) -> list[Packet]:
        """Return what arrived on the public legs since the last call."""
        return [parse(LEGS[leg], bytes.fromhex(raw)) for leg, raw in self["net"]("watched")]


def evil_by_the_pair(seen: list[Packet]) -> list[Packet]:
    """Return what came out of a gateway and wasn't the victim's own traffic to port 80."""
    return [
        packet
        for packet in seen
        if packet.leg != "n1" and (packet.evil or packet.dport != 80 or (packet.protocol == TCP and packet.flags & RST))
    ]


def victims_by_the_node(seen: list[Packet], victim: Place) -> list[Packet]:
    """Return what came out of the node's own leg and is the victim's, or looks like it."""

    def suspicious(packet: Packet) -> bool:
        as_the_node = packet.source == "10.110.0.21" and packet.evil
        return packet.source == victim.address or packet.dport == 80 or as_the_node

    return [packet for packet in seen if packet.leg == "n1" and suspicious(packet)]
