"""The node's policy rules and routes: what they should be. Pure.

    PRIORITY            packets that take the shared path rightly: go to LAST
    PRIORITY + n        mark n: table TABLE + n, whose default is gateway n, else unreachable
    PRIORITY + GUARD    from each pod with dedicated egress: the guard table, where only local destinations pass
    LAST                nothing; the end of our range

The guard is the second barrier: it stops what nftables, its table lost, has not marked. Its default must be a
unicast route, or the reverse-path check of every *incoming* packet for these pods, which asks the same rules,
would fail: so it leads to a bridge without ports.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .desired import Wish
from .local import Local, not_internet
from .marks import MarkLayout

#: Marks rules and routes as ours (see `ip rule`, `ip route`: "proto 173").
PROTOCOL = 173
SINK = "sluicegate-sink"
#: The metric of the route that holds a gateway's table when the gateway's own route is gone.
LAST_METRIC = 0xFFFF_FFFF
GUARD_PLACE, LAST_PLACE = 4_094, 4_095


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Rule:
    """One IPv4 policy rule. `target` is a table for lookup, a priority for goto."""

    priority: int
    action: Literal["lookup", "goto", "nop"]
    target: int = 0
    source: str = ""
    mark: int = 0
    mask: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RouteEntry:
    """One IPv4 route of a table of ours; `destination` is "default" or a network."""

    table: int
    destination: str
    kind: Literal["unicast", "throw", "unreachable"]
    via: str = ""
    interface: str = ""
    metric: int = 0


@dataclass(frozen=True, slots=True)
class Routing:
    """Rules and routes, wanted or observed."""

    rules: frozenset[Rule]
    routes: frozenset[RouteEntry]


def routing_for(wish: Wish, local: Local, *, guarded: bool) -> Routing:
    """Return the rules and routes for `local`; without `guarded` the second barrier is left out."""
    settings, layout = wish.settings, MarkLayout(wish.settings.mark_mask)
    rules = {
        Rule(
            priority=settings.rule_priority,
            action="goto",
            target=settings.rule_priority + LAST_PLACE,
            mark=layout.shared,
            mask=layout.mask,
        ),
        Rule(priority=settings.rule_priority + LAST_PLACE, action="nop"),
    }
    routes: set[RouteEntry] = set()
    for gateway in local.gateways:
        table = settings.table_base + gateway.number
        mark = layout.value(gateway.number)
        rules.add(
            Rule(
                priority=settings.rule_priority + gateway.number,
                action="lookup",
                target=table,
                mark=mark,
                mask=layout.mask,
            )
        )
        routes.add(
            RouteEntry(
                table=table,
                destination="default",
                kind="unicast",
                via=gateway.address,
                interface=wish.private_interface,
            )
        )
        routes.add(RouteEntry(table=table, destination="default", kind="unreachable", metric=LAST_METRIC))
    rules |= guard_rules(wish, local) if guarded else frozenset()
    return Routing(frozenset(rules), frozenset(routes | guard_routes(wish)))


def guard_rules(wish: Wish, local: Local) -> frozenset[Rule]:
    """Return the rule for each pod whose internet traffic must not take the shared path."""
    priority, table = wish.settings.rule_priority + GUARD_PLACE, wish.settings.table_base + GUARD_PLACE
    pods = [*(pod for pod, _, active in local.pods if active), *local.leaving]
    addresses = {pod.address for pod in pods if pod.address}
    return frozenset(Rule(priority=priority, action="lookup", target=table, source=each) for each in addresses)


def guard_routes(wish: Wish) -> set[RouteEntry]:
    """Return the guard table: local destinations go back to the rules, the rest goes nowhere."""
    table = wish.settings.table_base + GUARD_PLACE
    networks = not_internet(wish.settings.vpc, wish.settings.local_networks)
    thrown = {RouteEntry(table=table, destination=_with_prefix(network), kind="throw") for network in networks}
    return thrown | {RouteEntry(table=table, destination="default", kind="unicast", interface=SINK)}


def is_guard(rule: Rule) -> bool:
    """Tell whether `rule` belongs to the second barrier."""
    return bool(rule.source)


def in_range(start: int, value: int) -> bool:
    """Tell whether `value` lies in the range of 4096 from `start`."""
    return start <= value <= start + LAST_PLACE


def collisions(wish: Wish, foreign_rules: Iterable[Rule], foreign_tables: Iterable[int]) -> tuple[str, ...]:
    """Return in words what others hold of the places and mark bits that the settings give us."""
    settings, found = wish.settings, list[str]()
    for rule in sorted(set(foreign_rules)):
        which = f"another program's policy rule at priority {rule.priority}"
        if in_range(settings.rule_priority, rule.priority):
            found.append(f"{which} is in our range from {settings.rule_priority}")
        if rule.mask & settings.mark_mask:
            found.append(f"{which} matches mark bits {rule.mask:#x}, some of them ours ({settings.mark_mask:#x})")
    tables = [table for table in sorted(set(foreign_tables)) if in_range(settings.table_base, table)]
    found += [f"table {table}, in our range from {settings.table_base}, holds another's route" for table in tables]
    return tuple(found)


def adopted_marks(wish: Wish, seen: Routing) -> tuple[dict[str, int], dict[str, str]]:
    """Return the number and address of each gateway of `wish` that rules and routes of ours already lead to."""
    layout = MarkLayout(wish.settings.mark_mask)
    ids = {gateway.private_address: gateway.id for route in wish.routes.values() for gateway in route.gateways}
    vias = {route.table: route.via for route in seen.routes if route.via in ids}
    numbers = {
        ids[vias[rule.target]]: layout.number(rule.mark)
        for rule in seen.rules
        if rule.mask == layout.mask and rule.target in vias
    }
    return numbers, {ids[via]: via for via in vias.values() if ids[via] in numbers}


def _with_prefix(network: str) -> str:
    return network if "/" in network else f"{network}/32"
