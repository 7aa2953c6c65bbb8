"""The node's data plane: brings the kernel to what the agent wishes, and says what it found.

Decisions are pure and live in `egress.netkit`; this is the order in which they are taken and applied.
"""

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from egress.netkit import forward, memory
from egress.netkit.apply_nft import Written, observe_table
from egress.netkit.apply_routing import RoutingKernel, loosen_reverse_path_filter, reverse_path_filter
from egress.netkit.conntrack import Conntrack, Flow
from egress.netkit.desired import Observed, Pod, Wish
from egress.netkit.errors import DataplaneError
from egress.netkit.local import (
    Local,
    Memory,
    Toggles,
    forget_gateways,
    has_own_path,
    is_internet,
    localize,
    remember,
    removed_gateways,
)
from egress.netkit.marks import MarkLayout
from egress.netkit.nft import Nft, NftError
from egress.netkit.plan import RoutingChange, SeenTable, plan_routing, plan_table
from egress.netkit.routing import Routing, adopted_marks, collisions, routing_for
from egress.netkit.ruleset import TABLE, Table, bridge_sets, bridge_table, inet_chains, inet_sets, inet_table

__all__ = ["Dataplane", "DataplaneError"]

_FAMILIES = ("inet", "bridge")
_MAX_REPAIRS_TOLD = 20
#: Each takes a walk through conntrack.
_MAX_SWEPT = 10
#: What was just asked when an app is toggled has this long to be answered on the path that it took.
BRIEF_SECONDS = 5.0
_STRICT_WARNING = (
    "rp_filter is strict on the interface of the default route: the second barrier stays off, since it would break "
    "inbound connections; set it to 2 or 0"
)


@dataclass(frozen=True, slots=True)
class _Applied:
    """What the kernel was brought to: the base of the fast path, and of telling drift from change."""

    local: Local
    tables: Mapping[str, Table]
    routing: Routing


class Dataplane:
    """The kernel's packet steering on this node, in the caller's network namespace.

    Synchronous; not for use by two threads at once or inside a running asyncio loop. `state_dir` must be there.
    """

    def __init__(self, *, state_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._memory_path, self._written_path = state_dir / "dataplane.json", state_dir / "ruleset.json"
        self._clock = clock
        self._nft = Nft()
        self._conntrack = Conntrack()
        self._routing = RoutingKernel()
        self._memory = Memory()
        self._written = Written()
        self._saved_memory: Memory | None = None
        self._saved_chains: dict[str, tuple[str, tuple[str, ...], str]] = {}
        self._applied: _Applied | None = None
        #: What was decided last, applied or not.
        self._local: Local | None = None
        self._guarded = True
        #: Numbers of gateways that connections bore at the last look.
        self._bearing: frozenset[int] = frozenset()
        #: The highest number ever given: no connection bears more.
        self._highest = 0
        #: Addresses that conntrack may know as a source: only these need a walk through it when they are reused.
        self._used_addresses: set[str] = set()
        self._removed: set[str] = set()
        # Not kept on disk: what a crash leaves here ends at the deadline.
        self._unsettled: dict[str, float] = {}

    def start(self, wish: Wish) -> None:
        """Adopt what a former process left and bring the kernel to `wish`.

        Raises DataplaneError when another program holds our places, or the kernel lacks something.
        """
        kept = memory.load_memory(self._memory_path)
        seen = self._routing.observe()
        found = collisions(wish, self._routing.foreign_rules, self._routing.foreign_tables)
        found += forward.foreign_marks(wish.settings.mark_mask)
        if found:
            raise DataplaneError(f"{'; '.join(found)}; change the cluster's mark mask, rule priority or table base")
        self._written = memory.load_written(self._written_path)
        if kept is None:
            marks, addresses = adopted_marks(wish, seen)
            kept = Memory(marks=marks, addresses=addresses)
        self._memory = kept
        layout = MarkLayout(wish.settings.mark_mask)
        borne = self._conntrack.open_by_mark(layout.mask, layout.mask)
        self._highest = max([*kept.marks.values(), *map(layout.number, borne)], default=0)
        self._used_addresses = self._conntrack.sources()
        self.reconcile(wish)

    def reconcile(self, wish: Wish) -> Observed:
        """Bring the kernel to `wish` whatever state it is in, changing only what differs; tell what had been altered.

        Raises DataplaneError; calling again is safe.
        """
        seen_routing = self._routing.observe()
        seen = {family: observe_table(self._nft, family, self._written) for family in _FAMILIES}
        repaired = self._drift(seen, seen_routing) + self._repair_surroundings(wish)
        layout = MarkLayout(wish.settings.mark_mask)
        flows = {
            layout.number(mark): count
            for mark, count in self._conntrack.open_by_mark(layout.mask, layout.value(self._highest)).items()
        }
        self._bearing = frozenset(flows)
        toggles, local = self._decide(wish, forget_gateways(self._memory, wish, flows))
        hosts = self._routing.bridge_addresses
        tables = {"inet": inet_table(wish, local), "bridge": bridge_table(wish, local, hosts)}
        routing = routing_for(wish, local, guarded=self._guarded)
        try:
            self._apply(_Applied(local, tables, routing), seen, seen_routing)
        except NftError:
            # What stands there isn't what it looks like, such as a set of another type: put the tables anew.
            self._apply(_Applied(local, tables, routing), dict.fromkeys(_FAMILIES), seen_routing)
        if self._written.awaits_print():
            for family in _FAMILIES:
                observe_table(self._nft, family, self._written)
        self._settle_connections(wish, toggles)
        self._used_addresses |= set(wish.pods)
        self._sweep_dead(wish)
        self._save_written()
        by_id = {gateway: flows[number] for gateway, number in self._memory.marks.items() if number in flows}
        return Observed(flows=by_id, repaired=repaired[:_MAX_REPAIRS_TOLD], warnings=self._warnings())

    def pod_added(self, wish: Wish, pod: Pod) -> None:
        """Make the node right for `pod` before its first packet, whether or not its namespace has a route."""
        self._change_pods(replace(wish, pods={**wish.pods, pod.address: pod}), newborn=pod.address)
        self._forget_connections(pod.address)
        self._used_addresses.add(pod.address)

    def pod_removed(self, wish: Wish, address: str) -> None:
        """Make the node forget the pod at `address`; as long as its interface stands, nothing gets out from there."""
        self._removed.add(address)
        self._change_pods(replace(wish, pods={key: pod for key, pod in wish.pods.items() if key != address}))
        self._conntrack.delete_from(address)

    def close(self) -> None:
        """Give sockets back and leave the kernel as it is."""
        self._nft.close()
        self._conntrack.close()
        self._routing.close()

    @staticmethod
    def uninstall() -> None:
        """Remove all that is ours from the kernel: tables, rules, routes, and connections that were diverted."""
        nft, routing, conntrack = Nft(), RoutingKernel(), Conntrack()
        seen = routing.observe()
        _apply_routing(routing, plan_routing(Routing(frozenset(), frozenset()), seen), change_nft=lambda: None)
        for family in _FAMILIES:
            nft.run(f"add table {family} {TABLE}\ndelete table {family} {TABLE}")
        for rule in seen.rules:
            if rule.mask and rule.action == "lookup":
                conntrack.delete_marked(rule.mark, rule.mask)
        routing.delete_sink()
        forward.withdraw_forwarding()
        for door in (nft, routing, conntrack):
            door.close()

    def _change_pods(self, wish: Wish, newborn: str = "") -> None:
        """Apply a change of pods against what was applied last, without a look at the kernel."""
        toggles, local = self._decide(wish, self._memory, newborn)
        base = self._applied
        if base is None:
            # The last change failed half-way: only a full look tells where the kernel stands.
            self.reconcile(wish)
            return
        chains = base.tables["inet"].chains
        if (local.pairs, local.gateways) != (base.local.pairs, base.local.gateways):
            chains = inet_chains(wish, local)
        inet, bridge = base.tables["inet"], base.tables["bridge"]
        tables = {
            "inet": replace(inet, chains=chains, sets={**inet.sets, **inet_sets(local)}),
            "bridge": replace(bridge, sets={**bridge.sets, **bridge_sets(local)}),
        }
        wanted = _Applied(local, tables, routing_for(wish, local, guarded=self._guarded))
        try:
            self._apply(wanted, {family: _as_seen(table) for family, table in base.tables.items()}, base.routing)
        except NftError:
            # Someone altered the table since the last look: only a full look helps.
            self.reconcile(wish)
            return
        self._settle_connections(wish, toggles)

    def _decide(self, wish: Wish, known: Memory, newborn: str = "") -> tuple[Toggles, Local]:
        known, toggles = remember(wish, known, self._clock(), newborn)
        local, self._memory = localize(wish, known, self._bearing)
        self._highest = max([self._highest, *self._memory.marks.values()])
        # Before the kernel bears a mark, the file must know whose it is.
        if self._memory != self._saved_memory:
            memory.save_memory(self._memory_path, self._memory)
            self._saved_memory = self._memory
        self._local = replace(local, leaving=self._still_leaving(wish))
        return toggles, self._local

    def _still_leaving(self, wish: Wish) -> tuple[Pod, ...]:
        """Return the pods that must go on being shut in: out of the wish, while their interface still stands."""
        before = self._local
        if before is None:
            return ()
        candidates = (*before.leaving, *(pod for pod, _, active in before.pods if active))
        gone = {pod.address: pod for pod in candidates if pod.address not in wish.pods}
        return tuple(pod for pod in gone.values() if _exists(pod.interface))

    def _apply(self, wanted: _Applied, seen: Mapping[str, SeenTable | None], seen_routing: Routing) -> None:
        changes = [plan_table(table, seen[family]).script for family, table in wanted.tables.items()]

        def run_script() -> None:
            script = "\n".join(filter(None, changes))
            if script:
                self._nft.run(script)
            for table in wanted.tables.values():
                self._written.note(table)

        self._applied = None
        _apply_routing(self._routing, plan_routing(wanted.routing, seen_routing), change_nft=run_script)
        self._applied = wanted

    def _drift(self, seen: Mapping[str, SeenTable | None], seen_routing: Routing) -> tuple[str, ...]:
        if self._applied is None:
            return ()
        altered = [plan_table(table, seen[family]).altered for family, table in self._applied.tables.items()]
        return (
            tuple(text for each in altered for text in each) + plan_routing(self._applied.routing, seen_routing).altered
        )

    def _repair_surroundings(self, wish: Wish) -> tuple[str, ...]:
        first = self._applied is None
        repaired = []
        if loosen_reverse_path_filter(wish.private_interface):
            repaired.append(f"rp_filter of {wish.private_interface} wasn't 2")
        if self._routing.ensure_sink():
            repaired.append("the sink interface was missing or down")
        repaired += forward.accept_forwarding(wish.private_interface, wish.settings.mark_mask)
        others = self._routing.default_interfaces - {wish.private_interface}
        self._guarded = all(reverse_path_filter(interface) != 1 for interface in others)
        return () if first else tuple(repaired)

    def _warnings(self) -> tuple[str, ...]:
        strict = (_STRICT_WARNING,)
        return (() if self._guarded else strict) + forward.foreign_drops(self._nft)

    def _settle_connections(self, wish: Wish, toggles: Toggles) -> None:
        """End the connections that may not go on after a change; pods' local ones are never touched."""
        layout = MarkLayout(wish.settings.mark_mask)
        own = self._routing.own_addresses

        def on_pair(flow: Flow) -> bool:
            return bool(flow.mark & layout.mask)

        def on_shared_path(flow: Flow) -> bool:
            return not on_pair(flow) and flow.peer not in own and is_internet(wish, flow.peer)

        now = self._clock()
        self._unsettled |= dict.fromkeys(toggles.enabled | toggles.disabled, now + BRIEF_SECONDS)
        for address in [address for address, at in self._unsettled.items() if at <= now]:
            del self._unsettled[address]
            left = on_shared_path if has_own_path(wish, address) else on_pair
            self._conntrack.delete_from(address, lambda flow, left=left: _brief(flow) and left(flow))  # type: ignore[misc]
        for address in toggles.expired:
            self._conntrack.delete_from(address, on_shared_path)
        for gateway in removed_gateways(self._memory, wish):
            self._conntrack.delete_marked(layout.value(self._memory.marks[gateway]), layout.mask)

    def _forget_connections(self, address: str) -> None:
        if address in self._used_addresses:
            self._conntrack.delete_from(address)

    def _sweep_dead(self, wish: Wish) -> None:
        """Delete what removed pods left in conntrack on their way out, some at a time, so that reuse is cheap."""
        shut_in = {pod.address for pod in self._local.leaving} if self._local else set()
        dead = sorted(self._removed - set(wish.pods) - shut_in)[:_MAX_SWEPT]
        for address in dead:
            self._conntrack.delete_from(address)
        self._used_addresses.difference_update(dead)
        self._removed.difference_update(dead)

    def _save_written(self) -> None:
        if self._written.chains != self._saved_chains:
            memory.save_written(self._written_path, self._written)
            self._saved_chains = dict(self._written.chains)


def _apply_routing(kernel: RoutingKernel, change: RoutingChange, *, change_nft: Callable[[], None]) -> None:
    for route in change.routes_added:
        kernel.add_route(route)
    for rule in change.rules_added:
        kernel.add_rule(rule)
    for rule in change.guards_deleted:
        kernel.delete_rule(rule)
    change_nft()
    for rule in change.guards_added:
        kernel.add_rule(rule)
    for rule in change.rules_deleted:
        kernel.delete_rule(rule)
    for route in change.routes_deleted:
        kernel.delete_route(route)


def _as_seen(table: Table) -> SeenTable:
    return SeenTable(
        {name: (chain.hook, chain.rules) for name, chain in table.chains.items()},
        {name: each.elements for name, each in table.sets.items()},
    )


def _brief(flow: Flow) -> bool:
    """Tell whether `flow` is no conversation: one-way, or a question and its answer; and isn't TCP.

    Such an entry keeps its path as long as it is fed, or its port used again.
    """
    return flow.protocol != socket.IPPROTO_TCP and not flow.assured


def _exists(interface: str) -> bool:
    try:
        socket.if_nametoindex(interface)
    except OSError:
        return False
    return True
