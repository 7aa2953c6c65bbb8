"""What becomes of pods' connections: which are counted, which may not go on after a change, and when.

What is remembered here isn't kept on disk: what a crash leaves undone ends at its deadline.
"""

import socket
from collections.abc import Callable, Collection, Mapping

from egress.netkit.conntrack import Conntrack, Flow
from egress.netkit.desired import Pod, Wish
from egress.netkit.local import Memory, Toggles, has_own_path, is_internet, removed_gateways
from egress.netkit.marks import MarkLayout

from .resets import Resets

#: Numbers counted one by one: each takes a walk through conntrack, and a count of all takes one a bit.
_MAX_COUNTED = 4
#: Addresses seen to in one call. Each takes a walk through conntrack, and starting pods wait meanwhile.
_MAX_SETTLED = 5
#: What was just asked when an app is toggled has this long to be answered on the path that it took.
BRIEF_SECONDS = 5.0


class Connections:
    """The connections of this node's pods, in the caller's network namespace; `clock` gives Unix time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._conntrack = Conntrack()
        self._resets = Resets(self._conntrack, clock)
        #: Open connections by the number of their gateway, at the last count; a number that is borne can have none.
        self.flows: Mapping[int, int] = {}
        #: The highest number ever given: no connection bears more.
        self.highest = 0
        #: Addresses that conntrack may know as a source: only these need a walk through it when they are reused.
        self._used: set[str] = set()
        #: Container ids by address, at the last look.
        self._tenants: dict[str, str] = {}
        self._unsettled: dict[str, float] = {}
        self._expired: set[str] = set()
        self._astray: set[str] = set()

    def close(self) -> None:
        """Give the socket back."""
        self._conntrack.close()

    def adopt(self, layout: MarkLayout, numbers: Collection[int]) -> None:
        """Learn what there is; `numbers` are those that gateways have."""
        borne = self._conntrack.open_by_mark(layout.mask, layout.mask)
        self.highest = max([*numbers, *map(layout.number, borne)], default=0)
        self.relearn()

    def relearn(self) -> None:
        """Learn which addresses conntrack knows, those of pods that nobody told of among them."""
        self._used |= self._conntrack.sources()

    def count(self, layout: MarkLayout) -> None:
        """Count the open ones on each gateway; takes some walks through conntrack."""
        counts = self._conntrack.open_by_mark(layout.mask, layout.value(self.highest))
        self.flows = {layout.number(mark): count for mark, count in counts.items()}

    def count_of(self, layout: MarkLayout, numbers: Collection[int]) -> None:
        """Count anew those that bear these numbers: what all the others carry doesn't matter, and can be very much."""
        if len(numbers) > _MAX_COUNTED:
            self.count(layout)
            return
        counts = {number: self._conntrack.open_with(layout.value(number), layout.mask) for number in numbers}
        self.flows = {number: count for number, count in {**self.flows, **counts}.items() if count is not None}

    def toggled(self, toggles: Toggles) -> None:
        """Take down what `settle` must see to, now or later."""
        until = self._clock() + BRIEF_SECONDS
        self._unsettled |= dict.fromkeys(toggles.enabled | toggles.disabled, until)
        self._expired |= toggles.expired

    def reset(self, wish: Wish, memory: Memory) -> bool:
        """End some of those of gateways that died; True when there are more that can be ended now."""
        return self._resets.go_on(wish, memory)

    def strayed(self, addresses: Collection[str]) -> None:
        """Take down that rules were missing for the pods at `addresses`: what they began then `settle` must end."""
        self._astray |= set(addresses)

    def settle(self, wish: Wish, memory: Memory, own: Collection[str]) -> None:
        """End those that may not go on after a change, those of some pods at a time.

        Pods' local ones, and those with the node's `own` addresses, stay.
        """
        layout = MarkLayout(wish.settings.mark_mask)

        def on_pair(flow: Flow) -> bool:
            return bool(flow.mark & layout.mask)

        def on_shared_path(flow: Flow) -> bool:
            return not on_pair(flow) and flow.peer not in own and is_internet(wish, flow.peer)

        now = self._clock()
        for address in [address for address, at in self._unsettled.items() if at <= now][:_MAX_SETTLED]:
            left = on_shared_path if has_own_path(wish, address) else on_pair
            self._conntrack.delete_some_from(address, lambda flow, left=left: _brief(flow) and left(flow))  # type: ignore[misc]
            del self._unsettled[address]
        for address in sorted(self._expired)[:_MAX_SETTLED]:
            self._conntrack.delete_some_from(address, on_shared_path)
            self._expired.discard(address)
        for address in sorted(self._astray)[:_MAX_SETTLED]:
            may_stay = address in memory.earlier
            if has_own_path(wish, address):
                self._conntrack.delete_some_from(
                    address,
                    lambda flow, may_stay=may_stay: on_shared_path(flow) and not (may_stay and flow.replied),  # type: ignore[misc]
                )
            self._astray.discard(address)
        for gateway in removed_gateways(memory, wish):
            self._conntrack.delete_marked(layout.value(memory.marks[gateway]), layout.mask)

    def know(self, wish: Wish) -> None:
        """Note who lives at which address, however that was learnt, and end what who went untold has left there.

        What the heir itself has begun by then goes on; what bears a gateway's mark isn't its own where its app has no
        route.
        """
        tenants = {address: pod.container_id for address, pod in wish.pods.items()}
        mask = wish.settings.mark_mask
        for address in [address for address in self._tenants if address not in tenants][:_MAX_SETTLED]:
            self._conntrack.delete_from(address)
            del self._tenants[address]
        for address in [address for address, who in tenants.items() if self._tenants.get(address) != who]:
            if address in self._used and wish.pods[address].namespace not in wish.routes:
                self._conntrack.delete_some_from(address, lambda flow: bool(flow.mark & mask))
            self._tenants[address] = tenants[address]
        self._used.update(tenants)

    def born(self, pod: Pod, *, steered: bool) -> None:
        """Delete what whoever had the address of `pod` before left: its heir must not meet it.

        And, where its app has a route, what waits there to be answered: that would be answered on the shared path, and
        anybody may have sent it before there was anything to guard.
        """
        if pod.address in self._used:
            self._conntrack.delete_from(pod.address)
        if steered:
            self._conntrack.delete_to(pod.address)
        self._used.add(pod.address)
        self._tenants[pod.address] = pod.container_id

    def died(self, address: str, *, shut_in: bool) -> None:
        """Delete those of the pod that was removed from `address`.

        One that is shut in can begin no more: thus the walk is the remover's, and the heir needs none.
        """
        self._conntrack.delete_from(address)
        self._tenants.pop(address, None)
        if shut_in:
            self._used.discard(address)

    def due(self) -> list[float]:
        """Return when something is to be done, as Unix times."""
        now = self._clock()
        return [*self._unsettled.values(), *([now] if self._expired or self._astray else [])]


def _brief(flow: Flow) -> bool:
    """Tell whether `flow` is no conversation: unanswered, or, where it isn't TCP, a question and its answer.

    Such an entry keeps its path as long as it is fed, or its port used again.
    """
    return not flow.replied or (flow.protocol != socket.IPPROTO_TCP and not flow.assured)
