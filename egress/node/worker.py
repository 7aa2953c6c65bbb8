"""Blocking calls beside the event loop, one after another in one thread."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """A thread that runs calls in the order of their submission.

    It is a daemon: a call that hangs in the kernel or on the network never keeps the agent from going.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        """Queue `call` now and return the future of its result; to be called on the event loop.

        Cancelling the future drops a call that hasn't begun; one that has begun runs to its end.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((call, future))
        return future

    def _run(self) -> None:
        while True:
            call, future = self._calls.get()
            if future.cancelled():
                continue
            try:
                result, error = call(), None
            except BaseException as caught:  # noqa: BLE001 - it belongs to whoever awaits the future
                result, error = None, caught
            self._hand_over(future, result, error)

    @staticmethod
    def _hand_over(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        def settle() -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        # RuntimeError: the loop is closed, nobody waits any more.
        with suppress(RuntimeError):
            future.get_loop().call_soon_threadsafe(settle)
