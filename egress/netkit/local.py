"""From the wish and what is remembered to what concerns this node: pure, and quick, for a starting pod waits for it."""

import ipaddress
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from egress.wire.messages import Route, RouteGateway

from .desired import Pod, Wish
from .marks import MarkLayout, allocate

#: Not the internet, whatever the settings say (RFC 6890): "this network", loopback, link-local, multicast, reserved.
ALWAYS_LOCAL = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What must survive a restart of the agent.

    `marks`: the number of each gateway (by id) that has a rule here. `active`: pairs that had pods here and were
    active at the last look. `earlier`: pods (by address) that ran before their app was enabled, and until when (Unix
    time) what they began on shared addresses may go on. `retired`: numbers that gateways had when they died, with their
    pair; nobody gets one as long as a connection bears it.
    """

    marks: Mapping[str, int] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    active: frozenset[int] = frozenset()
    earlier: Mapping[str, float] = field(default_factory=dict)
    retired: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that has a mark, a rule and a route table here."""

    id: str
    address: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One app's pair as its chains need it; `fresh` is where new connections go: a gateway's number, or None.

    `retired` are numbers of gateways that died: what bears them is reset, or goes where new connections go.
    """

    number: int
    active: bool
    gateways: tuple[int, ...]
    fresh: int | None
    shared_on_outage: bool
    retired: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """All that this node holds for its own pods.

    `pods` are those whose namespace has a route, with their pair and whether it is active; `others` have none.
    `leaving` are pods of any namespace that were removed while their interface still stands: nothing from there may
    pass as a stranger's, or be left to whoever gets the address next. One whose address has an heir has none itself.
    """

    pods: tuple[tuple[Pod, int, bool], ...]
    pairs: tuple[Pair, ...]
    gateways: tuple[Gateway, ...]
    earlier: frozenset[str]
    others: tuple[Pod, ...] = ()
    #: Those of `earlier` that were enabled only now: what they asked for on the shared path may still be unanswered.
    asked: frozenset[str] = frozenset()
    leaving: tuple[Pod, ...] = ()
    #: Numbers of gateways that are suspect: what they still return is counted.
    watched: tuple[int, ...] = ()


def usable_gateway(
    route: Route, ordinal: int, suspect: frozenset[str], resting: tuple[str, ...] = ()
) -> RouteGateway | None:
    """Return the gateway that new connections take: the node's own slot, the other one when that isn't usable.

    One that is `resting` comes after one that isn't, and of two that are, the one that came back first.
    """
    own = (ordinal + route.spread) % 2

    def rank(gateway: RouteGateway) -> tuple[int, bool]:
        return (resting.index(gateway.id) + 1 if gateway.id in resting else 0), gateway.slot != own

    usable = (gateway for gateway in route.gateways if gateway.state == "active" and gateway.id not in suspect)
    return min(usable, key=rank, default=None)


def fresh_gateway(route: Route, wish: Wish) -> RouteGateway | None:
    """Return the gateway of an active route that new connections take, None where none can be used."""
    return usable_gateway(route, wish.ordinal, wish.suspect | wish.dead, wish.resting)


def routes_here(wish: Wish) -> dict[str, Route]:
    """Return the routes, by namespace, of the namespaces that have pods on this node."""
    return {pod.namespace: wish.routes[pod.namespace] for pod in wish.pods.values() if pod.namespace in wish.routes}


def has_own_path(wish: Wish, address: str) -> bool:
    """Tell whether new connections of the pod at `address` take its app's pair."""
    pod = wish.pods.get(address)
    route = wish.routes.get(pod.namespace) if pod else None
    return route is not None and route.state == "active"


def localize(wish: Wish, memory: Memory, bearing: Iterable[int] = ()) -> tuple[Local, Memory]:
    """Return what this node must hold, and the memory with the marks that this takes.

    A gateway keeps its mark until `forget_gateways` lets it go. `bearing` are the numbers that live connections
    bear. Raises DataplaneError when marks run out.
    """
    routes = routes_here(wish)
    memory = _retire(memory, routes.values(), wish.dead)
    here = {gateway.id: gateway for route in routes.values() for gateway in route.gateways}
    taken = (*bearing, *memory.retired)
    marks = allocate(memory.marks, here.keys() - wish.dead, taken, MarkLayout(wish.settings.mark_mask))
    addresses = {**memory.addresses, **{gateway.id: gateway.private_address for gateway in here.values()}}
    addresses = {gateway: addresses[gateway] for gateway in marks}
    pods = [(pod, routes[pod.namespace]) for pod in wish.pods.values() if pod.namespace in routes]
    local = Local(
        pods=tuple((pod, route.pair, route.state == "active") for pod, route in pods),
        pairs=tuple(_pair(route, marks, wish, memory.retired) for _, route in sorted(routes.items())),
        gateways=tuple(Gateway(id=key, address=addresses[key], number=marks[key]) for key in sorted(marks)),
        earlier=frozenset(memory.earlier) & {pod.address for pod, route in pods if route.state == "active"},
        others=tuple(pod for pod in wish.pods.values() if pod.namespace not in routes),
        watched=tuple(sorted(marks[gateway] for gateway in wish.suspect if gateway in marks)),
    )
    return local, replace(memory, marks=marks, addresses=addresses)


def _retire(memory: Memory, routes: Iterable[Route], dead: Container[str]) -> Memory:
    """Return `memory` with the marks of dead gateways retired: what began over one must not go on over its heir.

    A mark goes this way once: the gateway that comes back gets another.
    """
    pairs = {gateway.id: route.pair for route in routes for gateway in route.gateways}
    gone = {gateway: number for gateway, number in memory.marks.items() if gateway in dead}
    retired = {number: pairs.get(gateway, 0) for gateway, number in gone.items()}
    marks = {gateway: number for gateway, number in memory.marks.items() if gateway not in gone}
    return replace(memory, marks=marks, retired={**memory.retired, **retired})


def _pair(route: Route, marks: Mapping[str, int], wish: Wish, retired: Mapping[int, int]) -> Pair:
    active = route.state == "active"
    fresh = fresh_gateway(route, wish) if active else None
    return Pair(
        number=route.pair,
        active=active,
        gateways=tuple(sorted(marks[gateway.id] for gateway in route.gateways if gateway.id in marks)),
        fresh=marks[fresh.id] if fresh else None,
        shared_on_outage=route.on_outage == "shared",
        retired=tuple(sorted(number for number, pair in retired.items() if pair == route.pair)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Toggles:
    """Addresses of running pods whose app was enabled, was disabled, or whose time on the shared path is up."""

    enabled: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()
    expired: frozenset[str] = frozenset()


def remember(wish: Wish, memory: Memory, now: float, newborn: str = "") -> tuple[Memory, Toggles]:
    """Return the memory after `wish`, and what must be done to connections of running pods.

    A pod that is here when its pair turns active ran before; the one at address `newborn` starts only now, and
    whatever lived there before it doesn't count.
    """
    active = {route.pair for route in routes_here(wish).values() if route.state == "active"}
    turned_on, turned_off = active - memory.active, memory.active - active
    enabled, disabled, still = set(), set(), set()
    for pod in wish.pods.values():
        route = wish.routes.get(pod.namespace)
        if route is None or pod.address == newborn:
            continue
        if route.pair in turned_on:
            enabled.add(pod.address)
        elif route.pair in turned_off:
            disabled.add(pod.address)
        if route.state == "active":
            still.add(pod.address)
    begun = dict.fromkeys(enabled, now + wish.settings.flow_deadline_seconds)
    earlier = {**memory.earlier, **begun}
    expired = {address for address, until in earlier.items() if until <= now and address in still}
    kept = {address: until for address, until in earlier.items() if address in still - expired}
    toggles = Toggles(enabled=frozenset(enabled), disabled=frozenset(disabled), expired=frozenset(expired))
    return replace(memory, active=frozenset(active), earlier=kept), toggles


def forget_gateways(memory: Memory, wish: Wish, borne: Container[int]) -> Memory:
    """Return `memory` without the gateways that no pod here uses and no connection bears."""
    used = {gateway.id for route in routes_here(wish).values() for gateway in route.gateways}
    kept = {gateway: number for gateway, number in memory.marks.items() if gateway in used or number in borne}
    addresses = {gateway: address for gateway, address in memory.addresses.items() if gateway in kept}
    return forget_retired(replace(memory, marks=kept, addresses=addresses), borne)


def forget_retired(memory: Memory, borne: Container[int]) -> Memory:
    """Return `memory` without the retired numbers that no connection bears."""
    return replace(memory, retired={number: pair for number, pair in memory.retired.items() if number in borne})


def idle_gateways(memory: Memory, wish: Wish) -> frozenset[str]:
    """Return the gateways that have a mark here though no pod here uses them."""
    used = {gateway.id for route in routes_here(wish).values() for gateway in route.gateways}
    return frozenset(memory.marks) - used


def removed_gateways(memory: Memory, wish: Wish) -> frozenset[str]:
    """Return the gateways that have a mark here but stand in no route of the cluster any more."""
    idle = idle_gateways(memory, wish)
    # Most of the time there are none, and the cluster's routes can be many.
    return idle - {gateway.id for route in wish.routes.values() for gateway in route.gateways} if idle else idle


def draining(wish: Wish, memory: Memory) -> frozenset[str]:
    """Return the gateways that have a mark here and on which the end of connections is waited for."""
    routes = wish.routes if idle_gateways(memory, wish) else routes_here(wish)
    return frozenset(
        gateway.id
        for route in routes.values()
        for gateway in route.gateways
        if gateway.id in memory.marks and "draining" in {route.state, gateway.state}
    )


def awaited(wish: Wish, memory: Memory) -> frozenset[int]:
    """Return the numbers whose connections are waited for: of gateways that drain, idle ones, and retired ones."""
    gateways = draining(wish, memory) | idle_gateways(memory, wish)
    return frozenset(memory.marks[gateway] for gateway in gateways) | frozenset(memory.retired)


@lru_cache(maxsize=8)
def not_internet(vpc: str, local_networks: tuple[str, ...]) -> tuple[str, ...]:
    """Return all destinations that aren't the internet as disjoint networks, a single address without its /32."""
    networks = [ipaddress.IPv4Network(network) for network in (vpc, *local_networks, *ALWAYS_LOCAL)]
    return tuple(str(network).removesuffix("/32") for network in ipaddress.collapse_addresses(networks))


def is_internet(wish: Wish, address: str) -> bool:
    """Tell whether `address` is none of the cluster's own or special ones."""
    networks = not_internet(wish.settings.vpc, wish.settings.local_networks)
    return not any(ipaddress.IPv4Address(address) in ipaddress.IPv4Network(network) for network in networks)
