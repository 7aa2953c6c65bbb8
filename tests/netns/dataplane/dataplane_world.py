"""The small internet that the data plane's tests live in.

observer 192.0.2.80 ─┐ internet 198.51.100.0/24
inbound  198.51.100.1┘        │
    ┌────────────────┬────────┴─────────┬────────────────┐
 gw-a .11          gw-b .12          n1 .21           n2 .22
 (203.0.113.10)    (203.0.113.20)       │                │
    └──────── VPC 10.110.0.0/20 ────────┴──── host .50 ──┘
                            n1: shop1 .11, blog1 .12 on ptp; shop2 .130, blog2 .131 on the bridge cni0
                            n2: shop3 .11 on ptp
"""

import itertools
import os
import subprocess
from pathlib import Path

from dataplane_puppet import Puppet

OBSERVER, METADATA, SERVICE, VPC_HOST = "192.0.2.80", "169.254.169.254", "10.96.0.10", "10.110.0.50"
A, B, N1, N2 = "203.0.113.10", "203.0.113.20", "198.51.100.21", "198.51.100.22"
_serial = itertools.count()

GATEWAY_RULES = """
table ip gw {{
  chain forward {{ type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
    iifname "eth1" oifname "eth0" ip saddr {{ 10.110.0.21, 10.110.0.22 }} accept
  }}
  chain post {{ type nat hook postrouting priority srcnat;
    oifname "eth0" snat to {public}
  }}
}}
"""
#: What a platform does by itself: masquerade to the internet, a service by DNAT, a port of the node for shop1.
NODE_RULES = """
table ip platform {{
  chain pre {{ type nat hook prerouting priority dstnat;
    ip daddr 10.96.0.10 tcp dport 80 dnat to 10.244.1.12:8080
    iifname "eth0" tcp dport 30080 dnat to 10.244.1.11:8080
  }}
  chain post {{ type nat hook postrouting priority srcnat;
    ip saddr 10.244.0.0/16 ip daddr != {{ 10.0.0.0/8 }} oifname "eth0" masquerade
  }}
}}
"""


def run(*command: str, text: str = "") -> str:
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=30).stdout


class World:
    """Namespaces by short name, and a puppet in each on demand."""

    def __init__(self, folder: Path) -> None:
        self.prefix = f"sgt-{os.getpid()}-{next(_serial)}-"
        self.folder = folder
        self.names: list[str] = []
        self.puppets: dict[str, Puppet] = {}
        self.pods: dict[str, dict] = {}

    def ns(self, name: str) -> str:
        return self.prefix + name

    def sh(self, name: str, *command: str, text: str = "") -> str:
        return run("ip", "netns", "exec", self.ns(name), *command, text=text)

    def ip(self, name: str, lines: str) -> None:
        run("ip", "-n", self.ns(name), "-batch", "-", text=lines)

    def __getitem__(self, name: str) -> Puppet:
        if name not in self.puppets:
            self.puppets[name] = Puppet(self.ns(name))
        return self.puppets[name]

    def add(self, *names: str) -> None:
        for name in names:
            run("ip", "netns", "add", self.ns(name))
            self.names.append(name)
            self.ip(name, "link set lo up")

    def cable(self, name: str, interface: str, address: str, hub: str, port: str) -> None:
        self.ip(name, f"link add {interface} type veth peer name {port} netns {self.ns(hub)}")
        self.ip(hub, f"link set {port} master br0 up")
        self.ip(name, f"addr add {address} dev {interface}\nlink set {interface} up")

    def build(self) -> None:
        self.add("net", "vpc", "gw-a", "gw-b", "n1", "n2")
        self.ip("net", "link add br0 type bridge forward_delay 0\nlink set br0 up\naddr add 198.51.100.1/24 dev br0")
        self.ip("net", f"addr add {OBSERVER}/32 dev lo\naddr add {METADATA}/32 dev lo")
        self.ip("vpc", f"link add br0 type bridge forward_delay 0\nlink set br0 up\naddr add {VPC_HOST}/20 dev br0")
        for name, host, public in (("gw-a", 11, A), ("gw-b", 12, B)):
            self._machine(name, host)
            self.ip(name, f"addr add {public}/32 dev lo")
            self.ip("net", f"route add {public} via 198.51.100.{host}")
            self.sh(name, "nft", "-f", "-", text=GATEWAY_RULES.format(public=public))
        for number in (1, 2):
            node = f"n{number}"
            self._machine(node, 20 + number)
            self.ip(node, f"route add 10.244.{3 - number}.0/24 via 10.110.0.{23 - number}")
            self.ip(node, "link add cni0 type bridge forward_delay 0\nlink set cni0 up")
            self.ip(node, f"addr add 10.244.{number}.129/25 dev cni0")
            self.sh(node, "nft", "-f", "-", text=NODE_RULES.format())
        for number in (1, 2):
            self.ip("vpc", f"route add 10.244.{number}.0/24 via 10.110.0.2{number}")

    def _machine(self, name: str, host: int) -> None:
        self.cable(name, "eth0", f"198.51.100.{host}/24", "net", f"p-{name}")
        self.cable(name, "eth1", f"10.110.0.{host}/20", "vpc", f"p-{name}")
        self.ip(name, "route add default via 198.51.100.1")
        self.sh(name, "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def pod(self, name: str, app: str, node: str, address: str, *, bridged: bool = False) -> dict:
        """Make a pod the way that the reference plugins do, and return it as `Pod` wants it."""
        port = f"v-{name}"
        self.add(name)
        self.ip(name, f"link add eth0 type veth peer name {port} netns {self.ns(node)}")
        if bridged:
            self.ip(node, f"link set {port} master cni0 up")
            gateway = address.rpartition(".")[0] + ".129"
            self.ip(name, f"addr add {address}/25 dev eth0\nlink set eth0 up\nroute add default via {gateway}")
        else:
            self.ip(
                node, f"link set {port} up\naddr add 10.244.255.1/32 dev {port}\nroute replace {address}/32 dev {port}"
            )
            self.ip(
                name, f"addr add {address}/32 dev eth0\nlink set eth0 up\nroute add 10.244.255.1 dev eth0 scope link"
            )
            self.ip(name, "route add default via 10.244.255.1 dev eth0")
        mac = self.sh(name, "cat", "/sys/class/net/eth0/address").strip()
        self.pods[name] = {
            "address": address,
            "namespace": app,
            "container_id": name,
            "interface": port,
            "bridge": "cni0" if bridged else "",
            "mac": mac,
        }
        return self.pods[name]

    def unplug(self, name: str) -> None:
        """End a pod: its processes and its namespace."""
        puppet = self.puppets.pop(name, None)
        if puppet:
            puppet.kill()
        self.ip("n1", f"link del {self.pods.pop(name)['interface']}")
        run("ip", "netns", "del", self.ns(name))
        self.names.remove(name)

    def wish(
        self, node: str = "n1", *, routes: tuple[dict, ...] = (), pods: tuple[str, ...] | None = None, **more: object
    ) -> dict:
        """Return the wish of `node`; without `pods`, all pods of n1."""
        number = int(node[1])
        here = self.pods if pods is None else pods
        settings = {
            "vpc": "10.110.0.0/20",
            "local_networks": ["10.244.0.0/16", "10.96.0.0/16"],
            **more.pop("settings", {}),
        }
        return {
            "settings": settings,
            "private_address": f"10.110.0.2{number}",
            "ordinal": number - 1,
            "routes": list(routes),
            "pods": [self.pods[name] for name in here],
            **more,
        }

    def start(self, wish: dict, node: str = "n1") -> None:
        folder = self.folder / node
        folder.mkdir(exist_ok=True)
        self[node]("dataplane_new", state_dir=str(folder))
        self[node]("start", wish=wish)

    def sources(self) -> set[str]:
        """Return the sources of all packets that reached the observer since the last call."""
        seen = self["net"]("seen_packets")
        return {pair.partition(">")[0] for pair in seen if pair.endswith(f">{OBSERVER}") or pair == "ipv6"}

    def close(self) -> None:
        for puppet in self.puppets.values():
            puppet.kill()
        for name in self.names:
            run("ip", "netns", "del", self.ns(name))


def route(namespace: str = "shop", *, pair: int = 7, **more: object) -> dict:
    gateways = [
        {"id": "gw-a", "slot": 0, "private_address": "10.110.0.11", "public_address": A, "state": "active"},
        {"id": "gw-b", "slot": 1, "private_address": "10.110.0.12", "public_address": B, "state": "active"},
    ]
    return {"namespace": namespace, "pair": pair, "state": "active", "gateways": gateways, **more}
