"""The node's nftables tables as text: what each chain says, and the elements of each set. Pure.

Way of a packet from a pod with dedicated egress, in table inet: `spoof` (before conntrack) drops what doesn't come
from its own place; `classify` (after destination NAT) leaves local destinations and replies alone and hands the
rest to the chain of the pod's pair; that restores the gateway of a known connection or sends a new one through
`fresh_N`, the one rule that a pivot or a drain changes; `source` and `check` see to the address it leaves with.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .desired import Pod, Wish
from .local import Gateway, Local, Pair, not_internet
from .marks import MarkLayout

TABLE = "sluicegate"
#: What comes from a container and says that it comes from the internet.
_FALSE_INTERNET = "ip saddr != @not_internet iifname . ip saddr != @places"

#: Containers are behind these; a node's uplink may be one, too.
_CONTAINERS = '{ "veth", "bridge" }'
#: By these come packets of pods and nodes, none from the internet (kube-proxy translates what it passes on).
_TUNNELS = "{ vxlan, geneve, ipip, gre, gretap, sit }"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; `hook` is empty for one that is only jumped to."""

    hook: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Set:
    """A set or map; `head` is its type line, each element as nft prints it (`key` or `key : verdict`)."""

    kind: str
    head: str
    elements: frozenset[str]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of ours."""

    family: str
    chains: Mapping[str, Chain]
    sets: Mapping[str, Set]


def inet_table(wish: Wish, local: Local, uplinks: frozenset[str] = frozenset()) -> Table:
    """Return the table that steers packets; `uplinks` are the interfaces of the node's default routes."""
    names = frozenset(map(_quoted, {wish.private_interface, *uplinks}))
    by_node = {"uplinks": Set("set", "type ifname;", names)}
    return Table("inet", inet_chains(wish, local), {**by_node, **cluster_sets(wish), **inet_sets(local)})


def bridge_table(wish: Wish, local: Local, bridge_addresses: frozenset[str]) -> Table:
    """Return the table that keeps bridge ports honest; `bridge_addresses` are those of the node's own bridges."""
    layout = MarkLayout(wish.settings.mark_mask)
    six = frozenset(address for address in bridge_addresses if ":" in address)
    hosts = {
        "hosts": Set("set", "type ipv4_addr;", bridge_addresses - six),
        "hosts6": Set("set", "type ipv6_addr;", six),
    }
    cluster = {"not_internet": cluster_sets(wish)["not_internet"]}
    return Table(
        "bridge",
        {
            "spoof": Chain(_hook("filter", "prerouting", "dstnat"), (*_router_six(six), *_bridge_rules(layout))),
            "inward": Chain(_hook("filter", "input", "filter"), _INWARD),
            "across": Chain(_hook("filter", "forward", "filter"), _ACROSS),
            "deliver": Chain(_hook("filter", "postrouting", "srcnat"), _DELIVER),
        },
        {**hosts, **cluster, **bridge_sets(local)},
    )


def inet_chains(wish: Wish, local: Local) -> dict[str, Chain]:
    """Return the chains of table inet, those per gateway and pair included."""
    layout = MarkLayout(wish.settings.mark_mask)
    chains = {
        "spoof": Chain(_hook("filter", "prerouting", "raw - 160"), _spoof(wish)),
        "classify": Chain(_hook("filter", "prerouting", "dstnat + 10"), _classify(wish, layout)),
        "returning": Chain(_hook("filter", "prerouting", "dstnat + 11"), _returning(wish, local, layout)),
        "unrouted": Chain("", _unrouted(layout)),
        "forward": Chain(_hook("filter", "forward", "filter - 10"), _forward(wish, layout)),
        "source": Chain(_hook("nat", "postrouting", "srcnat - 10"), _source(wish, layout)),
        "check": Chain(_hook("filter", "postrouting", "srcnat + 10"), _check(wish, layout)),
        "shared": Chain("", (_set_mark("meta", layout, layout.shared), "accept")),
        "refused": Chain(
            "", ("meta l4proto tcp counter reject with tcp reset", "counter reject with icmpx admin-prohibited")
        ),
    }
    for gateway in local.gateways:
        chains[_gateway_chain(gateway.number)] = Chain("", _gateway_rules(gateway, layout))
    for number in local.watched:
        chains[returned_chain(number)] = Chain("", ("counter",))
    for pair in local.pairs:
        chains[f"fresh_{pair.number}"] = Chain("", (f"goto {_fresh(pair)}",))
        chains[f"pair_{pair.number}"] = Chain("", _pair_rules(pair, layout))
    return chains


def inet_sets(local: Local) -> dict[str, Set]:
    """Return the sets of table inet that pods here have elements in."""
    pods = [*(pod for pod, _, _ in local.pods), *local.leaving]
    unrouted = [*(pod for pod, _, active in local.pods if active), *local.leaving]
    return {
        "guarded": Set("set", "type ipv4_addr;", frozenset(pod.address for pod in pods if pod.address)),
        "places": Set(
            "set",
            "type ifname . ipv4_addr;",
            frozenset(_place(_routed(pod), pod.address) for pod in (*pods, *local.others) if pod.address),
        ),
        "interfaces": Set("set", "type ifname;", frozenset(_quoted(pod.interface) for pod in pods if not pod.bridge)),
        "unrouted_interfaces": Set(
            "set", "type ifname;", frozenset(_quoted(pod.interface) for pod in unrouted if not pod.bridge)
        ),
        "earlier": Set("set", "type ipv4_addr;", local.earlier),
        "asked": Set("set", "type ipv4_addr;", local.asked),
        "pods": Set(
            "map",
            "type ipv4_addr : verdict;",
            frozenset(f"{pod.address} : goto pair_{pair}" for pod, pair, _ in local.pods),
        ),
    }


def bridge_sets(local: Local) -> dict[str, Set]:
    """Return the sets of table bridge that pods here have elements in."""
    ports = [(pod, active) for pod, _, active in local.pods if pod.bridge]
    ports += [(pod, True) for pod in local.leaving if pod.bridge]
    others = [pod for pod in local.others if pod.bridge]
    placed = [*(pod for pod, _ in ports if pod.address), *others]
    known = [pod for pod, _ in ports if pod.mac]
    return {
        "guarded": Set("set", "type ipv4_addr;", frozenset(pod.address for pod, _ in ports if pod.address)),
        "places": Set(
            "set", "type ifname . ipv4_addr;", frozenset(_place(pod.interface, pod.address) for pod in placed)
        ),
        "ports": Set("set", "type ifname;", frozenset(_quoted(pod.interface) for pod, _ in ports)),
        "unrouted_ports": Set(
            "set", "type ifname;", frozenset(_quoted(pod.interface) for pod, active in ports if active)
        ),
        "other_ports": Set("set", "type ifname;", frozenset(_quoted(pod.interface) for pod in others)),
        "stations": Set("set", "type ether_addr;", frozenset(pod.mac.lower() for pod in known)),
        "station_places": Set(
            "set", "type ifname . ether_addr;", frozenset(_place(pod.interface, pod.mac.lower()) for pod in known)
        ),
    }


def cluster_sets(wish: Wish) -> dict[str, Set]:
    """Return the sets of table inet that are the same on every node of the cluster."""
    gateways = frozenset(gateway.private_address for route in wish.routes.values() for gateway in route.gateways)
    networks = frozenset(not_internet(wish.settings.vpc, wish.settings.local_networks))
    return {
        "gateways": Set("set", "type ipv4_addr;", gateways),
        "not_internet": Set("set", "type ipv4_addr; flags interval;", networks),
    }


def script_for(table: Table) -> str:
    """Return the script that puts `table` in the place of whatever bears its name, in one transaction."""
    name = f"{table.family} {TABLE}"
    lines = [f"add table {name}", f"delete table {name}", f"add table {name}"]
    for key, each in table.sets.items():
        lines.append(f"add {each.kind} {name} {key} {{ {each.head} }}")
    lines += [f"add chain {name} {key} {chain.hook}" for key, chain in table.chains.items()]
    for key, chain in table.chains.items():
        lines += [f"add rule {name} {key} {rule}" for rule in chain.rules]
    lines += [
        f"add element {name} {key} {{ {', '.join(sorted(each.elements))} }}"
        for key, each in table.sets.items()
        if each.elements
    ]
    return "\n".join(lines)


def _hook(kind: str, hook: str, priority: str) -> str:
    return f"{{ type {kind} hook {hook} priority {priority}; policy accept; }}"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _routed(pod: Pod) -> str:
    """Return the interface by which the node routes to and from `pod`."""
    return pod.bridge or pod.interface


def _place(interface: str, address: str) -> str:
    return f"{_quoted(interface)} . {address}"


def _set_mark(where: str, layout: MarkLayout, value: int) -> str:
    return f"{where} mark set {where} mark & {layout.keep:#010x} | {value:#010x}"


#: The source isn't reached by the interface that the packet came in by.
_NO_WAY_BACK = "fib saddr . iif oif missing"
#: To a pod or node, in the internet's name, from where that isn't.
_IN_ITS_NAME = f"ip daddr @not_internet {_FALSE_INTERNET} {_NO_WAY_BACK} counter drop"


def _spoof(wish: Wish) -> tuple[str, ...]:
    """Return what holds before conntrack, so that a false packet makes and meets no entry.

    And before fragments are put together (priority -400): the whole bears the interface of the last one only, and so a
    neighbour's first fragment would leave with the rest of the victim's.
    """
    legs = f'{{ "lo", "{wish.private_interface}" }}'
    return (
        "ip saddr @guarded iifname . ip saddr != @places counter drop",
        "iifname @interfaces iifname . ip saddr != @places counter drop",
        # Where gateways' answers go, nobody else speaks in the internet's name.
        f"ip daddr {wish.private_address} iifname != {legs} ip saddr != @not_internet {_NO_WAY_BACK} counter drop",
        # In a router's name, from where that isn't: it would move the next hop of all that shares a route.
        f"icmp type redirect {_NO_WAY_BACK} counter drop",
    )


def _forward(wish: Wish, layout: MarkLayout) -> tuple[str, ...]:
    """Return who may not pass: probes are the node's own business, so what is forwarded to a gateway is a pod's.

    A source-routed packet, where the node honours those, gets its next destination only after this.
    """
    leg = f'oifname "{wish.private_interface}"'
    return (
        "ip daddr @gateways counter reject with icmpx admin-prohibited",
        # By another's route, or one that was redirected: only the map leads to a gateway.
        f"rt ip nexthop @gateways meta mark & {layout.mask:#010x} == 0 counter drop",
        f"{leg} ip option lsrr exists counter drop",
        f"{leg} ip option ssrr exists counter drop",
    )


def _classify(wish: Wish, layout: MarkLayout) -> tuple[str, ...]:
    return (
        # An ICMP error that quotes a pod's connection is taken for the connection's own, whoever sent it.
        f'ct direction reply ct mark & {layout.mask:#010x} != 0 iifname != "{wish.private_interface}" counter drop',
        # A neighbour that speaks to a pod in the internet's name would make its answers, and what it begins itself at
        # that port, pass as replies to an inbound connection: also to one that is enabled or born only later, or is on
        # another node. Who routes for a network of its own, and is known for that to the node, may. By the kind of
        # interface, since a container that began while this agent stood still is in no set.
        f"meta iifkind {_CONTAINERS} iifname != @uplinks {_IN_ITS_NAME}",
        # Overlay networks take such packets from anybody who can reach their port, pods too.
        f"meta iifkind {_TUNNELS} ct direction original ip daddr @guarded ip saddr != @not_internet counter drop",
        "iifname @unrouted_interfaces meta nfproto ipv6 goto unrouted",
        f"meta nfproto ipv6 meta mark & {layout.mask:#010x} == {layout.unrouted:#010x} goto unrouted",
        "meta nfproto != ipv4 return",
        "ip saddr != @guarded return",
        "ip daddr @not_internet return",
        "fib daddr type != unicast return",
        "ct direction reply goto shared",
        # The translation of an invalid packet would be skipped: it would leave with the pod's address.
        "ct state invalid counter drop",
        "ip saddr vmap @pods",
        "goto refused",
    )


def _unrouted(layout: MarkLayout) -> tuple[str, ...]:
    """Return the chain for IPv6: what isn't for local addresses is refused unless it was begun by others or before.

    Local is what the standards say (RFC 4193, 4291): 64:ff9b::/96, say, is the IPv4 internet behind a translator.
    """
    return (
        _set_mark("meta", layout, 0),
        "ip6 daddr { fc00::/7, fe80::/10, ff00::/8 } accept",
        "fib daddr type != unicast accept",
        "ct direction reply accept",
        "ct state established,related accept",
        "goto refused",
    )


def _source(wish: Wish, layout: MarkLayout) -> tuple[str, ...]:
    diverted = f'oifname "{wish.private_interface}" ct mark & {layout.mask:#010x} != 0'
    low, high = wish.settings.snat_ports
    return (
        f"{diverted} meta l4proto {{ tcp, udp }} snat ip to {wish.private_address}:{low}-{high}",
        f"{diverted} snat ip to {wish.private_address}",
    )


def _check(wish: Wish, layout: MarkLayout) -> tuple[str, ...]:
    """Return the last look: a diverted packet leaves by the private leg with its address, or not at all.

    Nor does that address leave by another: the node's own word on a late answer, once it has forgotten the connection,
    would.
    """
    leg = f"{{ {_place(wish.private_interface, wish.private_address)} }}"
    diverted = f"ct direction original ct mark & {layout.mask:#010x} != 0"
    return (
        f"meta nfproto ipv4 {diverted} oifname . ip saddr != {leg} counter drop",
        f'ip saddr {wish.private_address} ip daddr != @not_internet oifname != "{wish.private_interface}" counter drop',
    )


def _returning(wish: Wish, local: Local, layout: MarkLayout) -> tuple[str, ...]:
    """Return what counts the packets that suspect gateways return: one whose responder hangs may forward still.

    Empty as long as all is well. Each counter has its own chain, which stays when another gateway comes or goes.
    """
    reply = f'iifname "{wish.private_interface}" ct direction reply ct mark & {layout.mask:#010x}'
    return tuple(f"{reply} == {layout.value(number):#010x} jump {returned_chain(number)}" for number in local.watched)


def returned_chain(number: int) -> str:
    """Return the name of the chain that counts what gateway `number` returns."""
    return f"returned_{number}"


def _gateway_chain(number: int) -> str:
    return f"gateway_{number}"


def _gateway_rules(gateway: Gateway, layout: MarkLayout) -> tuple[str, ...]:
    value = layout.value(gateway.number)
    return (_set_mark("meta", layout, value), _set_mark("ct", layout, value), "counter accept")


def _fresh(pair: Pair) -> str:
    if pair.fresh is not None:
        return _gateway_chain(pair.fresh)
    return "shared" if not pair.active or pair.shared_on_outage else "refused"


def _pair_rules(pair: Pair, layout: MarkLayout) -> tuple[str, ...]:
    """Return what happens to packets for the internet from a pod of `pair`.

    A connection is new until a reply was seen. One on a gateway may move to the other until then: both see the
    same source. One on the shared path may not, since its translation is made: hence "not confirmed".

    What was never answered and bears no mark began there only if the pod was just enabled. Else it was begun while
    rules were missing, and what the second barrier held back then has no translation.

    Of a gateway that died, TCP is reset; all else goes where new connections go, but not to the shared path (as above).
    """
    mark = f"ct mark & {layout.mask:#010x}"
    fresh = f"goto fresh_{pair.number}"
    moving = (f"ct state new {mark} != 0 {fresh}",) if pair.fresh is not None or not pair.shared_on_outage else ()
    entering = (*(moving if pair.active else ()), f"ct state new ct status ! confirmed {fresh}")
    known = tuple(f"{mark} == {layout.value(number):#010x} goto {_gateway_chain(number)}" for number in pair.gateways)
    ends = ("meta l4proto tcp goto refused", fresh if pair.fresh is not None else "goto refused")
    over = tuple(f"{mark} == {layout.value(number):#010x} {then}" for number in pair.retired for then in ends)
    anyone = not pair.active or pair.shared_on_outage
    earlier = (
        f"{mark} == 0 ct status seen-reply ip saddr @earlier goto shared",
        f"{mark} == 0 ip saddr @asked goto shared",
    )
    staying = (f"{mark} == 0 goto shared",) if anyone else earlier
    return (*entering, *known, *over, *staying, "goto refused")


#: The kernel takes off one VLAN tag after the other where their number is 0, and below a second one no rule here sees
#: anything. So nothing with two goes up to the node, by whichever bridge, or to a pod of ours.
_TWICE_TAGGED = "meta protocol { 8021q, 8021ad } counter drop"
_INWARD = (_TWICE_TAGGED,)
#: From port to port. Who sends router advertisements takes all of a pod's IPv6, which here would be refused.
_ACROSS = (
    f"oifname @ports {_TWICE_TAGGED}",
    "oifname @unrouted_ports meta protocol ip6 icmpv6 type { nd-router-advert, nd-redirect } counter drop",
    f"oifname @ports iifname @other_ports meta protocol ip {_FALSE_INTERNET} counter drop",
)
#: Frames for a bridge's own group may move a station to another port before any rule sees them (on kernels without
#: the switch, see `steady_stations`); and what is for a station that was silent for long goes to all ports. Neither may
#: be overheard.
_DELIVER = ("ether daddr @stations oifname . ether daddr != @station_places counter drop",)


def _router_six(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return what keeps a bridge's IPv6 addresses the node's: who takes one gets what pods send to the internet.

    A solicitation or redirect that teaches has the address as its source, an advertisement in its body (RFC 4861).
    """
    numbers = (int(ipaddress.IPv6Address(address)) for address in sorted(addresses))
    advert = "meta protocol ip6 icmpv6 type nd-neighbor-advert"
    claims = (f"{advert} @th,64,128 {number:#034x} counter drop" for number in numbers)
    return ("meta protocol ip6 ip6 saddr @hosts6 counter drop", *claims)


def _bridge_rules(layout: MarkLayout) -> tuple[str, ...]:
    # Each names its protocol: the one that nft adds by itself is read from the frame, where a VLAN tag hides it.
    return (
        "ether saddr @stations iifname . ether saddr != @station_places counter drop",
        "meta protocol ip ip saddr @guarded iifname . ip saddr != @places counter drop",
        "meta protocol arp arp saddr ip @guarded iifname . arp saddr ip != @places counter drop",
        "meta protocol arp arp saddr ip @hosts counter drop",
        # ICMP redirects in the router's name.
        "meta protocol ip ip saddr @hosts counter drop",
        "iifname @ports meta protocol ip iifname . ip saddr != @places counter drop",
        "iifname @ports meta protocol arp arp saddr ip != 0.0.0.0 iifname . arp saddr ip != @places counter drop",
        f"iifname @unrouted_ports meta protocol ip6 {_set_mark('meta', layout, layout.unrouted)}",
    )
