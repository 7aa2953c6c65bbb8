"""End the connections of gateways that died: idle ones too, which send nothing that a rule could answer.

What is to be done stands in the kernel: entries that bear a retired number. So an agent that was killed, or starts
anew, goes on where it was.
"""

import logging
import os
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from egress.netkit.conntrack import Conntrack, Flow
from egress.netkit.desired import Pod, Wish
from egress.netkit.local import Memory
from egress.netkit.marks import MarkLayout
from egress.netkit.sockets import Connection, Sockets

from .netns import entered

log = logging.getLogger(__name__)
#: Connections ended in one call: starting pods wait meanwhile. Some 20 us each.
MAX_RESET = 2_000
#: What no socket was found for (it is in a namespace inside the pod's, say) is answered with a reset whenever it sends,
#: and forgotten after this long.
LEFT_SECONDS = 60.0


class Resets:
    """Sees to what bears retired numbers, in the caller's network namespace; `clock` gives Unix time."""

    def __init__(self, conntrack: Conntrack, clock: Callable[[], float]) -> None:
        self._conntrack = conntrack
        self._clock = clock
        #: When each number was first seen to be retired.
        self._since: dict[int, float] = {}
        #: Entries that no socket was found for.
        self._left: set[bytes] = set()

    def go_on(self, wish: Wish, memory: Memory) -> bool:
        """End some of the connections that bear a retired number; True when there are more that can be ended now."""
        now = self._clock()
        self._since = {number: self._since.get(number, now) for number in memory.retired}
        if not self._since:
            self._left.clear()
            return False
        layout, ended = MarkLayout(wish.settings.mark_mask), 0
        for number in sorted(self._since, key=self._since.__getitem__, reverse=True):
            mark = layout.value(number)
            overdue = not 0 <= now - self._since[number] < LEFT_SECONDS
            flows = [] if overdue else list(self._conntrack.going_on(mark, layout.mask))
            doomed = [flow for flow in flows if flow.key not in self._left]
            self._end(doomed[: MAX_RESET - ended], wish)
            ended += len(doomed)
            if ended > MAX_RESET:
                return True
            if not any(flow.key in self._left for flow in flows):
                # What is there has ended: nobody waits for it, and it needn't be counted any more.
                self._conntrack.delete_marked(mark, layout.mask)
        return False

    def _end(self, flows: Iterable[Flow], wish: Wish) -> None:
        """End these; whoever sends on one that isn't TCP begins anew, and goes where new ones go."""
        talks: dict[str, list[Flow]] = defaultdict(list)
        for flow in flows:
            if flow.protocol == socket.IPPROTO_TCP and flow.source in wish.pods:
                talks[flow.source].append(flow)
            else:
                self._conntrack.delete(flow)
        for address, those in talks.items():
            with _sockets_of(wish.pods[address]) as sockets:
                for flow in those:
                    if sockets and _destroy(sockets, flow):
                        self._conntrack.delete(flow)
                    else:
                        self._left.add(flow.key)


@contextmanager
def _sockets_of(pod: Pod) -> Iterator[Sockets | None]:
    """Give the pod's sockets, None where its namespace can't be entered; the calling thread stays where it is."""
    try:
        sockets = _opened(pod) if pod.netns else None
    except OSError as error:
        log.warning("the idle connections of %s can't be reset: %s: %s", pod.address, pod.netns, error)
        sockets = None
    try:
        yield sockets
    finally:
        if sockets:
            sockets.close()


def _opened(pod: Pod) -> Sockets:
    inside = os.open(pod.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with entered(inside):
            return Sockets()
    finally:
        os.close(inside)


def _destroy(sockets: Sockets, flow: Flow) -> bool:
    # A kernel without SOCK_DESTROY leaves it to the rule that answers whatever is sent.
    with suppress(OSError):
        return sockets.destroy(Connection(flow.source, flow.ports[0], flow.target, flow.ports[1]))
    return False
