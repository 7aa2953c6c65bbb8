"""Threads that do the agents' work in the database: few, and with connections that last while there is work.

A connection for each call costs more than most calls do. What hundreds of agents ask at the same moment is done in one
go, for the time that each alone would take is the database's and Django's, hardly ever its own.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, ParamSpec, Self, TypeVar
from weakref import WeakKeyDictionary

from django.db import Error as DatabaseError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from egress.control.errors import EgressError

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")

THREADS = 4
#: Without work for this long, the connections are closed.
REST_SECONDS = 60.0
#: What is done in one go: one transaction, so that others wait no longer for its locks than for a few rows'.
MOST_TOGETHER = 250


class Hands:
    """The threads of one event loop."""

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Self]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._at_work = 0
        self._worked_at = 0.0
        self._waiting: dict[Callable[..., Any], list[tuple[Any, asyncio.Future[Any]]]] = {}
        self._serving: dict[Callable[..., Any], asyncio.Task[None]] = {}

    @classmethod
    def here(cls) -> Self:
        """Return the running loop's threads."""
        return cls._of_loop.setdefault(asyncio.get_running_loop(), cls())

    async def alone(self, service: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `service` in a thread."""
        loop = asyncio.get_running_loop()
        threads = self._threads or self._begin()
        self._at_work += 1
        try:
            return await loop.run_in_executor(threads, partial(_called, service, *args, **kwargs))
        finally:
            self._at_work -= 1
            self._worked_at = loop.time()

    async def together(self, service: Callable[[Sequence[A]], Sequence[R | EgressError]], asked: A) -> R:
        """Let `service` answer `asked` with all that others ask of it meanwhile; raises what it has for an answer.

        It takes a list and returns as many answers. Should it raise, it does so to all.
        """
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(service, []).append((asked, answer))
        if service not in self._serving:
            self._serving[service] = asyncio.create_task(self._serve(service))
        return await answer

    async def _serve(self, service: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        waiting = self._waiting[service]
        try:
            while waiting:
                batch = waiting[:MOST_TOGETHER]
                del waiting[:MOST_TOGETHER]
                try:
                    answers = await self.alone(service, [asked for asked, _ in batch])
                except Exception as error:  # noqa: BLE001  # each who asked raises it
                    answers = [error] * len(batch)
                for (_, future), answer in zip(batch, answers, strict=True):
                    _settle(future, answer)
        finally:
            del self._serving[service]

    def _begin(self) -> ThreadPoolExecutor:
        opened: list[BaseDatabaseWrapper] = []
        threads = ThreadPoolExecutor(THREADS, "hands", initializer=lambda: opened.extend(connections.all()))
        self._threads = threads
        self._keeper = asyncio.create_task(self._keep(threads, opened))
        return threads

    async def _keep(self, threads: ThreadPoolExecutor, opened: list[BaseDatabaseWrapper]) -> None:
        """Let the threads and their connections go after a rest, or with the loop."""
        loop = asyncio.get_running_loop()
        self._worked_at = loop.time()
        try:
            while self._at_work or loop.time() - self._worked_at < REST_SECONDS:  # noqa: ASYNC110  # one look a minute
                await asyncio.sleep(REST_SECONDS)
        finally:
            self._threads = self._keeper = None
            # Django closes no connection in a loop's own thread.
            with ThreadPoolExecutor(1) as last:
                last.submit(_end, threads, opened)


def _end(threads: ThreadPoolExecutor, opened: list[BaseDatabaseWrapper]) -> None:
    threads.shutdown()
    for connection in opened:
        connection.inc_thread_sharing()
        connection.close()


def _called(service: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    try:
        return service(*args, **kwargs)
    except DatabaseError:
        # The next call begins with a new connection.
        connections.close_all()
        raise


def _settle(future: asyncio.Future[Any], answer: object) -> None:
    """Give `future` its answer, unless who asked has hung up."""
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
