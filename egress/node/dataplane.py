"""The node's data plane: brings the kernel to what the agent wishes, and says what it found.

Decisions are pure and live in `egress.netkit`; this is the order in which they are taken and applied.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from egress.netkit import forward, memory
from egress.netkit.apply_nft import Written, observe_table, take_prints
from egress.netkit.apply_routing import RoutingKernel, loosen_reverse_path_filter, reverse_path_filter
from egress.netkit.conntrack import Conntrack
from egress.netkit.desired import Observed, Pod, Wish
from egress.netkit.errors import DataplaneError
from egress.netkit.local import (
    Local,
    Memory,
    awaited,
    draining,
    forget_gateways,
    forget_retired,
    idle_gateways,
    localize,
    remember,
)
from egress.netkit.marks import MarkLayout
from egress.netkit.nft import Nft, NftError
from egress.netkit.notices import Notices, Ours
from egress.netkit.plan import RoutingChange, SeenTable, plan_routing, plan_table
from egress.netkit.routing import Routing, adopted_marks, collisions, routing_for
from egress.netkit.ruleset import (
    TABLE,
    Table,
    bridge_sets,
    bridge_table,
    cluster_sets,
    inet_chains,
    inet_sets,
    inet_table,
    returned_chain,
)

from .connections import BRIEF_SECONDS, Connections
from .leaving import Leaving, held_before

__all__ = ["Dataplane", "DataplaneError"]

_FAMILIES = ("inet", "bridge")
_MAX_REPAIRS_TOLD = 20
#: Between two counts while connections are waited for: so long at least, and so many times what a count takes. Whoever
#: wants something of the kernel waits for a count under way.
DRAIN_SECONDS = 1.0
_COUNTS_APART = 20
#: Between two looks whether removed pods' interfaces still stand.
LEAVING_SECONDS = 5.0
#: What is overdue comes after so long, so that nobody is called in a loop.
_SOON_SECONDS = 0.1
_STRICT_WARNING = (
    "rp_filter is strict on the interface of the default route: the second barrier stays off, since it would break "
    "inbound connections; set it to 2 or 0"
)


@dataclass(frozen=True, slots=True)
class _Applied:
    """What the kernel was brought to: the base of the fast path, and of telling drift from change."""

    wish: Wish
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
        self._connections = Connections(clock)
        self._routing = RoutingKernel()
        self._notices = Notices()
        self._memory = Memory()
        self._written = Written()
        self._saved_memory: Memory | None = None
        self._saved_chains: dict[str, tuple[str, tuple[str, ...], str]] = {}
        self._applied: _Applied | None = None
        self._leaving = Leaving()
        #: The pods of the last decision, applied or not, and whether any was leaving then.
        self._pods: Mapping[str, Pod] = {}
        self._any_leaving = False
        self._guarded = True
        self._count_pause = DRAIN_SECONDS
        self._warnings: tuple[str, ...] = ()

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
        self._connections.adopt(MarkLayout(wish.settings.mark_mask), (*kept.marks.values(), *kept.retired))
        self.reconcile(wish)

    @property
    def files(self) -> tuple[int, ...]:
        """Files that turn readable when anything in the kernel changes: then `altered` should be asked."""
        return self._notices.files

    def altered(self) -> bool:
        """Tell whether others may have altered what is ours since the last full look; cheap."""
        altered = self._hear()
        if not altered:
            self._take_prints()
        return altered

    def reconcile(self, wish: Wish) -> Observed:
        """Bring the kernel to `wish` whatever state it is in, changing only what differs; tell what had been altered.

        Raises DataplaneError; calling again is safe.
        """
        self._hear()  # What was altered until now, this look sees.
        seen_routing = self._routing.observe()
        seen = {family: observe_table(self._nft, family, self._written) for family in _FAMILIES}
        if self._applied is None:
            self._leaving.adopt(held_before(seen["inet"], seen["bridge"]))
        repaired = self._drift(seen, seen_routing) + self._repair_surroundings(wish)
        if self._table_was_damaged(seen["inet"]):
            self._connections.strayed(wish.pods)
        self._connections.count(MarkLayout(wish.settings.mark_mask))
        local = self._decide(wish, forget_gateways(self._memory, wish, self._connections.flows))
        node = self._routing
        tables = {
            "inet": inet_table(wish, local, node.default_interfaces),
            "bridge": bridge_table(wish, local, node.bridge_addresses),
        }
        wanted = _Applied(wish, local, tables, routing_for(wish, local, guarded=self._guarded))
        try:
            self._apply(wanted, seen, seen_routing)
        except NftError:
            # What stands there isn't what it looks like, such as a set of another type: put the tables anew.
            self._apply(wanted, dict.fromkeys(_FAMILIES), seen_routing)
        return self._finish(wish, repaired)

    def change(self, wish: Wish) -> Observed:
        """Bring a changed `wish` about without a look at the kernel: a matter of milliseconds.

        For a pivot that is one transaction which changes a rule. Only those connections are counted that matter now.
        Raises DataplaneError; calling again is safe.
        """
        idle = bool(idle_gateways(self._memory, wish))
        # A gateway may be forgotten only right after a count; where one drains, a pivot needn't wait for it.
        if not self._change(wish, self._counted(wish) if idle else self._memory):
            return self.reconcile(wish)
        return self._finish(wish, count=bool(draining(wish, self._memory)) and not idle)

    def returned(self) -> dict[str, int]:
        """Return how many packets each suspect gateway (by id) has returned since it became so."""
        base = self._applied
        names = {number: gateway for gateway, number in self._memory.marks.items()}
        counts = (
            {number: self._nft.packets(TABLE, returned_chain(number)) for number in base.local.watched} if base else {}
        )
        return {names[number]: count for number, count in counts.items() if count is not None and number in names}

    def pod_added(self, wish: Wish, pod: Pod) -> None:
        """Make the node right for `pod` before its first packet, whether or not its namespace has a route."""
        self._change_pods(replace(wish, pods={**wish.pods, pod.address: pod}), newborn=pod.address)
        self._connections.born(pod, steered=pod.namespace in wish.routes)

    def pod_removed(self, wish: Wish, address: str) -> None:
        """Make the node forget the pod at `address`; as long as its interface stands, nothing gets out from there.

        That holds for pods on the shared path too, or what they still begin would be met by the address's heir.
        """
        pod = self._pods.get(address)
        if pod:
            self._leaving.begin(pod)
        self._change_pods(replace(wish, pods={key: pod for key, pod in wish.pods.items() if key != address}))
        self._connections.died(address, shut_in=pod is not None)

    def unsure(self) -> None:
        """Learn anew which addresses were used: pods may have lived and died there untold."""
        self._connections.relearn()

    def close(self) -> None:
        """Give sockets back and leave the kernel as it is."""
        for door in (self._notices, self._nft, self._connections, self._routing):
            door.close()

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
        if not self._change(wish, self._memory, newborn):
            self.reconcile(wish)

    def _change(self, wish: Wish, known: Memory, newborn: str = "") -> bool:
        """Bring `wish` about against what was applied last; False when only a full look can tell where that stands."""
        local = self._decide(wish, known, newborn)
        base = self._applied
        if base is None:
            return False
        wanted = _Applied(wish, local, _tables(wish, local, base), routing_for(wish, local, guarded=self._guarded))
        try:
            self._apply(wanted, {family: _as_seen(table) for family, table in base.tables.items()}, base.routing)
        except NftError:
            # Someone altered the table since the last look.
            return False
        return True

    def _finish(self, wish: Wish, repaired: tuple[str, ...] = (), *, count: bool = False) -> Observed:
        """Do what can wait until the kernel steers new packets rightly, and tell what was found."""
        more_to_reset = self._connections.reset(wish, self._memory)
        if count or self._memory.retired:
            # What has retired is forgotten right after a count, too: only then is it known that nothing bears it.
            self._memory = forget_retired(self._memory, self._counts(wish))
        self._take_prints()
        self._connections.know(wish)
        self._connections.settle(wish, self._memory, self._routing.own_addresses)
        flows, marks = self._connections.flows, self._memory.marks
        return Observed(
            flows={gateway: flows[number] for gateway, number in marks.items() if number in flows},
            repaired=repaired[:_MAX_REPAIRS_TOLD],
            warnings=self._warnings,
            again_seconds=_SOON_SECONDS if more_to_reset else self._again(wish),
        )

    def _again(self, wish: Wish) -> float | None:
        """Return in how many seconds something falls due."""
        now = self._clock()
        waits = [max(at - now, _SOON_SECONDS) for at in (*self._connections.due(), *self._memory.earlier.values())]
        waits += [at - now for at in self._answered_at(wish).values() if at > now]
        waits += [self._count_pause] if self._memory.retired or draining(wish, self._memory) else []
        waits += [LEAVING_SECONDS] if self._any_leaving else []
        return min(waits, default=None)

    def _hear(self) -> bool:
        """Take in what the kernel tells of changes; return whether others may have made one to what is ours."""
        base = self._applied
        interfaces = {base.wish.private_interface, *self._routing.default_interfaces} if base else frozenset[str]()
        ours = Ours(self._nft.own_generations, self._routing.port, interfaces, self._routing.bridges)
        altered = self._notices.read(ours)
        self._nft.own_generations.clear()
        return altered

    def _take_prints(self) -> None:
        """See what the kernel made of what was just written, before others can have altered it."""
        if self._written.awaits_print():
            take_prints(self._nft, self._written)
        if self._written.chains != self._saved_chains:
            memory.save_written(self._written_path, self._written)
            self._saved_chains = dict(self._written.chains)

    def _counted(self, wish: Wish) -> Memory:
        """Count connections, and return the memory without the gateways that none bears and no pod uses."""
        return forget_gateways(self._memory, wish, self._counts(wish))

    def _counts(self, wish: Wish) -> Mapping[int, int]:
        began = time.monotonic()
        self._connections.count_of(MarkLayout(wish.settings.mark_mask), awaited(wish, self._memory))
        self._count_pause = max(DRAIN_SECONDS, _COUNTS_APART * (time.monotonic() - began))
        return self._connections.flows

    def _decide(self, wish: Wish, known: Memory, newborn: str = "") -> Local:
        known, toggles = remember(wish, known, self._clock(), newborn)
        # Taken down at once: what follows may fail, and the next try finds nothing toggled any more.
        self._connections.toggled(toggles)
        local, self._memory = localize(wish, known, self._connections.flows)
        self._connections.highest = max(
            [self._connections.highest, *self._memory.marks.values(), *self._memory.retired]
        )
        # Before the kernel bears a mark, the file must know whose it is.
        if self._memory != self._saved_memory:
            memory.save_memory(self._memory_path, self._memory)
            self._saved_memory = self._memory
        leaving = self._leaving.still(wish.pods)
        self._leaving.watch(pod for pod, _, active in local.pods if active)
        self._pods, self._any_leaving = wish.pods, bool(leaving)
        return replace(local, leaving=leaving, asked=self._just_enabled(wish) & local.earlier)

    def _just_enabled(self, wish: Wish) -> frozenset[str]:
        """Return the addresses of pods that were enabled so lately that what they asked before may be unanswered."""
        now = self._clock()
        return frozenset(address for address, at in self._answered_at(wish).items() if at > now)

    def _answered_at(self, wish: Wish) -> dict[str, float]:
        """Return until when, by address of a pod that ran before its app was enabled, answers are waited for."""
        brief = BRIEF_SECONDS - wish.settings.flow_deadline_seconds
        return {address: until + brief for address, until in self._memory.earlier.items()}

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

    def _table_was_damaged(self, seen: SeenTable | None) -> bool:
        """Tell whether packets may have gone without rules: before the start only a table that is gone tells of it."""
        if self._applied is None:
            return seen is None
        return bool(plan_table(self._applied.tables["inet"], seen).altered)

    def _repair_surroundings(self, wish: Wish) -> tuple[str, ...]:
        first = self._applied is None
        repaired = []
        if loosen_reverse_path_filter(wish.private_interface):
            repaired.append(f"rp_filter of {wish.private_interface} wasn't 2")
        if self._routing.ensure_sink():
            repaired.append("the sink interface was missing or down")
        self._routing.steady_stations()
        repaired += forward.accept_forwarding(wish.private_interface, wish.settings.mark_mask)
        others = self._routing.default_interfaces - {wish.private_interface}
        self._guarded = all(reverse_path_filter(interface) != 1 for interface in others)
        self._warnings = (() if self._guarded else (_STRICT_WARNING,)) + forward.foreign_drops(self._nft)
        return () if first else tuple(repaired)


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


def _tables(wish: Wish, local: Local, base: _Applied) -> dict[str, Table]:
    """Return the tables for `wish`; what is as in `base`, and large, isn't made anew."""
    inet, bridge = base.tables["inet"], base.tables["bridge"]
    chains, sets = inet.chains, inet.sets
    known = base.wish
    if wish.settings != known.settings or (local.pairs, local.gateways) != (base.local.pairs, base.local.gateways):
        chains = inet_chains(wish, local)
    bridged = bridge.sets
    if wish.settings != known.settings or wish.routes is not known.routes:
        sets = {**sets, **cluster_sets(wish)}
        bridged = {**bridged, "not_internet": sets["not_internet"]}
    return {
        "inet": replace(inet, chains=chains, sets={**sets, **inet_sets(local)}),
        "bridge": replace(bridge, sets={**bridged, **bridge_sets(local)}),
    }


def _as_seen(table: Table) -> SeenTable:
    return SeenTable(
        {name: (chain.hook, chain.rules) for name, chain in table.chains.items()},
        {name: each.elements for name, each in table.sets.items()},
    )
