"""Wake long polls: one watcher per process reads all clusters' revisions while somebody waits, with one cheap query.

Level-triggered, so no wake-up can be lost; on SQLite and PostgreSQL alike; however many processes there are. A
poll itself holds no database connection while it waits.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self
from weakref import WeakKeyDictionary

from django.db import Error as DatabaseError
from django.db import connections

from egress.control.models import Cluster

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.05
#: After a failed query.
PAUSE_SECONDS = 1.0


class Position(NamedTuple):
    """Where a cluster's histories stand."""

    epoch: str
    revision: int
    clients_revision: int


#: Given a cluster's position (None when it is gone), say whether there is something to tell.
Changed = Callable[[Position | None], bool]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    cluster_id: int
    changed: Changed
    woken: asyncio.Event


class Watcher:
    """The watcher of one event loop."""

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Self]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._waiters: set[_Waiter] = set()
        #: Everybody's latest poll.
        self._latest: dict[Hashable, _Waiter] = {}
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def here(cls) -> Self:
        """Return the running loop's watcher."""
        return cls._of_loop.setdefault(asyncio.get_running_loop(), cls())

    async def wait(self, cluster_id: int, changed: Changed, timeout_seconds: float, *, who: Hashable) -> None:
        """Return once `changed` says so of the cluster's position, or after `timeout_seconds`.

        Only the latest wait of each `who` lasts: however many polls one credential opens, one is held.
        """
        waiter = _Waiter(cluster_id, changed, asyncio.Event())
        if before := self._latest.get(who):
            before.woken.set()
        self._latest[who] = waiter
        self._waiters.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter.woken.wait()
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)
            if self._latest.get(who) is waiter:
                del self._latest[who]

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        # A thread of its own keeps one connection for as long as somebody waits.
        with ThreadPoolExecutor(1, "watch") as thread:
            try:
                while self._waiters:
                    pause = INTERVAL_SECONDS
                    try:
                        self._tell(await loop.run_in_executor(thread, _positions))
                    except DatabaseError as error:
                        log.warning("long polls can't see changes: %s", error)
                        pause = PAUSE_SECONDS
                    await asyncio.sleep(pause)
            finally:
                thread.submit(connections.close_all)

    def _tell(self, positions: dict[int, Position]) -> None:
        for waiter in self._waiters:
            if waiter.changed(positions.get(waiter.cluster_id)):
                waiter.woken.set()


def _positions() -> dict[int, Position]:
    try:
        rows = Cluster.objects.order_by().values_list("pk", "epoch", "revision", "clients_revision")
        return {pk: Position(str(epoch), revision, clients) for pk, epoch, revision, clients in rows}
    except DatabaseError:
        # The next look begins with a new connection.
        connections.close_all()
        raise
