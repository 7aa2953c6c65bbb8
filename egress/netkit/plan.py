"""Wanted against observed: the difference, as nftables text and as rules and routes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from .routing import RouteEntry, Routing, Rule, is_guard
from .ruleset import TABLE, Set, Table, script_for


@dataclass(frozen=True, slots=True)
class SeenTable:
    """A table as the kernel holds it. A chain that isn't as we wrote it has None for its text."""

    chains: Mapping[str, tuple[str, tuple[str, ...]] | None]
    sets: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class NftChange:
    """A transaction; `altered` names in words what differs."""

    script: str
    altered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoutingChange:
    """What to add and delete, in the four steps in which it must happen (see `plan_routing`)."""

    routes_added: tuple[RouteEntry, ...] = ()
    rules_added: tuple[Rule, ...] = ()
    guards_added: tuple[Rule, ...] = ()
    guards_deleted: tuple[Rule, ...] = ()
    rules_deleted: tuple[Rule, ...] = ()
    routes_deleted: tuple[RouteEntry, ...] = ()

    @property
    def altered(self) -> tuple[str, ...]:
        """Return what differs, in words."""
        added = [f"missing {_rule_text(rule)}" for rule in (*self.rules_added, *self.guards_added)]
        added += [f"missing {_route_text(route)}" for route in self.routes_added]
        gone = [f"extra {_rule_text(rule)}" for rule in (*self.rules_deleted, *self.guards_deleted)]
        return tuple(added + gone + [f"extra {_route_text(route)}" for route in self.routes_deleted])


def plan_table(wanted: Table, seen: SeenTable | None) -> NftChange:
    """Return the smallest transaction from `seen` to `wanted`; the whole table anew where its frame is broken."""
    if seen is None:
        return NftChange(script_for(wanted), (f"table {wanted.family} {TABLE} was missing",))
    broken = _broken_frame(wanted, seen)
    if broken:
        return NftChange(script_for(wanted), broken)
    lines: list[str] = []
    altered: list[str] = []
    _plan_chains(wanted, seen, lines, altered)
    _plan_elements(wanted, seen, lines, altered)
    for name in sorted(set(seen.chains) - set(wanted.chains)):
        lines += [f"flush chain {wanted.family} {TABLE} {name}"]
        altered.append(f"extra chain {name}")
    lines += [f"delete chain {wanted.family} {TABLE} {name}" for name in sorted(set(seen.chains) - set(wanted.chains))]
    return NftChange("\n".join(lines), tuple(altered))


def _broken_frame(wanted: Table, seen: SeenTable) -> tuple[str, ...]:
    problems = [f"set {name} was missing" for name in sorted(set(wanted.sets) - set(seen.sets))]
    for name, chain in sorted(wanted.chains.items()):
        if chain.hook and (name not in seen.chains or seen.chains[name] is None):
            problems.append(f"chain {name} was {'altered' if name in seen.chains else 'missing'}")
    return tuple(problems)


def _plan_chains(wanted: Table, seen: SeenTable, lines: list[str], altered: list[str]) -> None:
    owner = f"{wanted.family} {TABLE}"
    changed = {
        name: chain for name, chain in wanted.chains.items() if seen.chains.get(name) != (chain.hook, chain.rules)
    }
    lines += [f"add chain {owner} {name}" for name in changed if name not in seen.chains]
    for name, chain in changed.items():
        lines.append(f"flush chain {owner} {name}")
        lines += [f"add rule {owner} {name} {rule}" for rule in chain.rules]
        altered.append(f"chain {name} was {'altered' if name in seen.chains else 'missing'}")


def _plan_elements(wanted: Table, seen: SeenTable, lines: list[str], altered: list[str]) -> None:
    for name, each in wanted.sets.items():
        # The same object, where nothing was looked at: some of these sets grow with the cluster.
        if each.elements is seen.sets[name]:
            continue
        lines += element_lines(wanted.family, name, each, seen.sets[name])
        altered += [f"missing {name} {element}" for element in sorted(each.elements - seen.sets[name])]
        altered += [f"extra {name} {element}" for element in sorted(seen.sets[name] - each.elements)]


def element_lines(family: str, name: str, wanted: Set, seen: frozenset[str]) -> list[str]:
    """Return the commands that turn the elements `seen` into those of `wanted`: what goes first, then what comes."""
    lines = []
    gone, new = sorted(seen - wanted.elements), sorted(wanted.elements - seen)
    if gone:
        keys = (element.partition(" : ")[0] for element in gone)
        lines.append(f"delete element {family} {TABLE} {name} {{ {', '.join(keys)} }}")
    if new:
        lines.append(f"add element {family} {TABLE} {name} {{ {', '.join(new)} }}")
    return lines


def plan_routing(wanted: Routing, seen: Routing) -> RoutingChange:
    """Return the changes from `seen` to `wanted`.

    Order matters: routes, their rules and the guards that go come before nftables changes, the guards that come
    and all else that goes after: no packet is marked without its route or stopped by a guard too early.
    """
    new, old = wanted.rules - seen.rules, seen.rules - wanted.rules
    return RoutingChange(
        routes_added=tuple(sorted(wanted.routes - seen.routes)),
        rules_added=tuple(sorted(rule for rule in new if not is_guard(rule))),
        guards_added=tuple(sorted(filter(is_guard, new))),
        guards_deleted=tuple(sorted(filter(is_guard, old))),
        rules_deleted=tuple(sorted(rule for rule in old if not is_guard(rule))),
        routes_deleted=tuple(sorted(seen.routes - wanted.routes)),
    )


def _rule_text(rule: Rule) -> str:
    source = f" from {rule.source}" if rule.source else ""
    mark = f" fwmark {rule.mark:#x}/{rule.mask:#x}" if rule.mask else ""
    return f"rule {rule.priority}:{source}{mark} {rule.action} {rule.target}"


def _route_text(route: RouteEntry) -> str:
    via = f" via {route.via}" if route.via else ""
    return f"route {route.kind} {route.destination}{via} in table {route.table}"
