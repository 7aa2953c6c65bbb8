"""What happens by itself when its time has come: drafts are finalized, charges retried, sessions expire."""

import asyncio
import contextlib

from .account import Account
from .errors import ApiError
from .things import settling

EVERY_SECONDS = 0.2
MAX_ROUNDS = 1_000


class Ticks:
    """Looks for what is due, now and then and whenever asked."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self.tick()
            await asyncio.sleep(EVERY_SECONDS)

    def tick(self) -> None:
        """Do what is due, and what becomes due by that; each thing in a transaction of its own."""
        store = self._account.store
        for _ in range(MAX_ROUNDS):
            due = store.due(self._account.now())
            if not due:
                return
            for object_id in due:
                # A declined charge is a result like others: it stays on record.
                with store.transaction(), contextlib.suppress(ApiError):
                    store.schedule(object_id, None)
                    with store.attempt():
                        settling.advance(self._account, object_id)
            self._account.deliveries.wake()
