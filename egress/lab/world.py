"""The lab's world: an internet, a VPC, worker nodes; each a network namespace.

    observer 192.0.2.80, and every public address that nobody else has
        |
    internet (router) ---- 198.51.100.0/24: control .80, nodes .21 .22
        |
        +----------------- 203.0.113.0/24: Droplets' public addresses

    vpc (a switch) ------- 10.110.0.0/20: nodes .21 .22, Droplets

A node has eth0 towards the internet and eth1 in the VPC, forwards for its pods (10.244.N.0/24), and carries what a
Kubernetes node has: masquerade of pods' internet traffic to its own address, DNAT for services and node ports, routes
to the other nodes' pods through the VPC, and the metadata address.
"""

import asyncio
from collections.abc import Iterable, Sequence

from .config import NodeConfig
from .netns import ip, mac_of, nft, set_sysctls

INTERNET, OBSERVER, CONTROL, VPC = "internet", "observer", "control", "vpc"
OBSERVER_ADDRESS = "192.0.2.80"
CONTROL_ADDRESS = "198.51.100.80"
METADATA_ADDRESS = "169.254.169.254"
#: A service of the cluster, and the port on the first node's private address that it stands for.
SERVICE_ADDRESS, SERVICE_PORT, SERVICE_BACKEND_PORT = "10.96.0.10", 80, 10_080
PODS, SERVICES, VPC_NETWORK = "10.244.0.0/16", "10.96.0.0/16", "10.110.0.0/20"
NODES_BRIDGE, DROPLETS_BRIDGE, VPC_BRIDGE = "nodes0", "droplets0", "vpc0"
#: The internet carries none of these.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")
_QUIET = {"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"}
#: What systemd sets on Ubuntu and Debian; the other namespaces are to let everything be seen.
_LOOSE = {"ipv4/conf/all/rp_filter": "2", "ipv4/conf/default/rp_filter": "2"}
_SEE_ALL = {"ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0"}
_FORWARD = {"ipv4/ip_forward": "1"}


async def build(nodes: Sequence[NodeConfig]) -> None:
    """Make all namespaces and what connects them."""
    places = [INTERNET, OBSERVER, CONTROL, VPC, *(node.namespace for node in nodes)]
    await ip(f"netns add {place}" for place in places)
    for place in places:
        set_sysctls(place, _QUIET | (_LOOSE if place.startswith("node-") else _SEE_ALL))
    await _internet()
    await _vpc()
    await _observer()
    await join(CONTROL, INTERNET, NODES_BRIDGE, CONTROL_ADDRESS, 24, interface="eth0", port="control")
    await ip(["link set lo up", "route add default via 198.51.100.1"], namespace=CONTROL)
    await asyncio.gather(*(_node(node, nodes) for node in nodes))


async def join(place: str, switch: str, bridge: str, address: str, prefix: int, *, interface: str, port: str) -> None:
    """Give `place` an interface with `address`, plugged into `bridge` in the namespace `switch` as `port`."""
    ends = f"{interface} address {mac_of(address)} netns {place} type veth peer name {port} netns {switch}"
    await ip([f"link add {ends}"])
    await ip([f"link set {port} master {bridge} up"], namespace=switch)
    await ip([f"address add {address}/{prefix} dev {interface}", f"link set {interface} up"], namespace=place)


async def _internet() -> None:
    lines = ["link set lo up"]
    for name, address in ((NODES_BRIDGE, "198.51.100.1"), (DROPLETS_BRIDGE, "203.0.113.1")):
        # Without a MAC of its own a bridge takes a port's: the router's would change as Droplets come and go.
        lines += [*_bridge(name), f"link set {name} address {mac_of(address)}", f"address add {address}/24 dev {name}"]
    lines += [f"route add unreachable {network}" for network in PRIVATE]
    await ip(lines, namespace=INTERNET)
    set_sysctls(INTERNET, _FORWARD)


async def _vpc() -> None:
    # A MAC of its own, as above: a test makes the switch a machine as well.
    lines = ["link set lo up", *_bridge(VPC_BRIDGE), f"link set {VPC_BRIDGE} address {mac_of('10.110.0.1')}"]
    await ip(lines, namespace=VPC)


async def _observer() -> None:
    await ip([f"link add eth0 netns {OBSERVER} type veth peer name observer netns {INTERNET}"])
    await ip(
        [
            # No subnet here: the observer is to get packets for its neighbours' addresses too.
            "address add 192.0.2.1/32 dev observer",
            "link set observer up",
            f"route add {OBSERVER_ADDRESS}/32 dev observer",
            f"route add default via {OBSERVER_ADDRESS}",
        ],
        namespace=INTERNET,
    )
    await ip(
        [
            "link set lo up",
            f"address add {OBSERVER_ADDRESS}/32 dev eth0",
            "link set eth0 up",
            "route add 192.0.2.1/32 dev eth0",
            *(f"route add {network} via 192.0.2.1" for network in ("198.51.100.0/24", "203.0.113.0/24", *PRIVATE)),
            # Every other address of the internet is here, so that no packet that leaves goes uncounted.
            "route add local default dev lo",
        ],
        namespace=OBSERVER,
    )


async def _node(node: NodeConfig, nodes: Iterable[NodeConfig]) -> None:
    place = node.namespace
    await join(place, INTERNET, NODES_BRIDGE, node.public_address, 24, interface="eth0", port=place)
    await join(place, VPC, VPC_BRIDGE, node.private_address, 20, interface="eth1", port=place)
    others = (other for other in nodes if other != node)
    await ip(
        [
            "link set lo up",
            f"address add {METADATA_ADDRESS}/32 dev lo",
            "route add default via 198.51.100.1",
            *(f"route add {other.pod_network} via {other.private_address} dev eth1" for other in others),
        ],
        namespace=place,
    )
    set_sysctls(place, _FORWARD)
    await nft(place, kube_ruleset(node, next(iter(nodes))))


def kube_ruleset(node: NodeConfig, first: NodeConfig) -> str:
    """Return what a cluster's own software would put into `node`'s netfilter, in the manner of kube-proxy."""
    services = f"""
        ip daddr {SERVICE_ADDRESS} tcp dport {SERVICE_PORT} dnat to {first.private_address}:{SERVICE_BACKEND_PORT}
        ip daddr {SERVICES} tcp dport != 0 dnat ip addr . port to ip daddr . tcp dport map @services
        fib daddr type local dnat ip addr . port to tcp dport map @node_ports"""
    return f"""
    table ip kube {{
      map services {{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }}
      map node_ports {{ type inet_service : ipv4_addr . inet_service; }}
      chain prerouting {{ type nat hook prerouting priority dstnat;{services}
      }}
      chain output {{ type nat hook output priority -100;{services}
      }}
      chain postrouting {{ type nat hook postrouting priority srcnat;
        ip saddr {node.pod_network} ip daddr != {{ {PODS}, {SERVICES}, {VPC_NETWORK} }} oifname "eth0" masquerade
      }}
    }}
    """


def node_port_rule(port: int, address: str, target_port: int) -> str:
    """Return the change that forwards a node's TCP `port` to a pod."""
    return f"add element ip kube node_ports {{ {port} : {address} . {target_port} }}\n"


def _bridge(name: str) -> list[str]:
    return [f"link add {name} type bridge forward_delay 0 mcast_snooping 0", f"link set {name} up"]
