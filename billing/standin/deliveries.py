"""Webhooks: events that are signed and posted to endpoints, again and again until these answer 2xx.

What waits is in the store, so that it survives a restart. Times here are the machine's: a receiver compares a
signature's time with its own clock, whatever the stand-in's clock says.
"""

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import json
import logging
import random
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from .store import Store

Order = Literal["made", "reversed", "shuffled"]

TIMEOUT_SECONDS = 10
FIRST_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 60
MAX_ATTEMPTS = 16
MAX_COPIES = 5
MAX_DELAY_SECONDS = 3_600
BATCH = 100
IDLE_SECONDS = 0.2
_KEY = "webhooks"
_DICE = random.Random()  # noqa: S311 - an order to surprise receivers, no secret
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How webhooks behave on demand.

    `held`: nothing goes out until this ends. `lost`: what is told now never goes out. `copies` of each go out,
    `delay_seconds` after the event, what is due at once in `order`.
    """

    held: bool = False
    lost: bool = False
    copies: int = 1
    delay_seconds: float = 0
    order: Order = "made"

    def __post_init__(self) -> None:
        if not 1 <= self.copies <= MAX_COPIES:
            raise ValueError(f"copies must be from 1 to {MAX_COPIES}, not {self.copies}")
        if not 0 <= self.delay_seconds <= MAX_DELAY_SECONDS:
            raise ValueError(f"delay_seconds must be from 0 to {MAX_DELAY_SECONDS}, not {self.delay_seconds}")
        if self.order not in ("made", "reversed", "shuffled"):
            raise ValueError(f"order must be made, reversed or shuffled, not {self.order}")


def signature(payload: bytes, secret: str, at: int) -> str:
    """Return the `Stripe-Signature` header of a body sent at `at` (epoch seconds)."""
    signed = hmac.new(secret.encode(), b"%d." % at + payload, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def retry_after(attempts: int) -> float | None:
    """Return after how many seconds to try again when `attempts` have failed; None: give up."""
    if attempts >= MAX_ATTEMPTS:
        return None
    return float(min(FIRST_RETRY_SECONDS * 2 ** (attempts - 1), MAX_RETRY_SECONDS))


class Deliveries:
    """What is to be delivered, and the loop that does it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._habits = Habits(**json.loads(store.setting(_KEY, "{}")))
        self._woken = asyncio.Event()

    @property
    def habits(self) -> Habits:
        """How webhooks behave now."""
        return self._habits

    def behave(self, **changes: Any) -> Habits:
        """Change how webhooks behave. Raises ValueError or TypeError for what can't be."""
        habits = replace(self._habits, **changes)
        self._store.set_setting(_KEY, json.dumps(asdict(habits)))
        self._habits = habits
        self.wake()
        return habits

    def add(self, event: str, endpoint: str) -> None:
        """Have an event delivered to an endpoint; part of the caller's transaction."""
        if self._habits.lost:
            return
        due = time.time() + self._habits.delay_seconds
        for _ in range(self._habits.copies):
            self._store.sql.execute(
                "INSERT INTO deliveries (event, endpoint, attempts, due_at, status) VALUES (?, ?, 0, ?, 'pending')",
                (event, endpoint, due),
            )

    def again(self, event: str) -> int:
        """Have an event delivered once more to the endpoints that got it; return to how many."""
        found = self._store.sql.execute("SELECT DISTINCT endpoint FROM deliveries WHERE event = ?", (event,)).fetchall()
        endpoints = [endpoint for (endpoint,) in found] or [
            row["id"] for row in self._store.rows("webhook_endpoint") if row["status"] == "enabled"
        ]
        for endpoint in endpoints:
            self.add(event, endpoint)
        self.wake()
        return len(endpoints)

    def pending(self, event: str) -> int:
        """Return to how many endpoints an event is still to be delivered."""
        found = self._store.sql.execute(
            "SELECT COUNT(DISTINCT endpoint) FROM deliveries WHERE event = ? AND status = 'pending'", (event,)
        )
        return int(found.fetchone()[0])

    def show(self) -> list[dict[str, Any]]:
        """Return the latest 1,000 deliveries, the newest first."""
        found = self._store.sql.execute(
            "SELECT event, endpoint, attempts, due_at, status FROM deliveries ORDER BY number DESC LIMIT 1000"
        )
        names = ("event", "endpoint", "attempts", "due_at", "status")
        return [dict(zip(names, row, strict=True)) for row in found]

    def wake(self) -> None:
        """Look at once for what is due."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver what is due until cancelled."""
        while True:
            for number, event, endpoint, attempts in self._due():
                await self._deliver(number, event, endpoint, attempts + 1)
                if self._habits.held:
                    break
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), IDLE_SECONDS)

    def _due(self) -> list[tuple[int, str, str, int]]:
        if self._habits.held:
            return []
        rows: list[tuple[int, str, str, int]] = self._store.sql.execute(
            "SELECT number, event, endpoint, attempts FROM deliveries WHERE due_at <= ? ORDER BY number LIMIT ?",
            (time.time(), BATCH),
        ).fetchall()
        if self._habits.order == "reversed":
            rows.reverse()
        elif self._habits.order == "shuffled":
            _DICE.shuffle(rows)
        return rows

    async def _deliver(self, number: int, event: str, endpoint: str, attempts: int) -> None:
        row, target = self._store.find(event), self._store.find(endpoint)
        if row is None or target is None or target["status"] != "enabled":
            self._note(number, attempts, None, "dropped")
            return
        secret = self._store.setting(f"secret {endpoint}", "")
        try:
            status = await asyncio.to_thread(_post, target["url"], json.dumps(row).encode(), secret)
        except (OSError, http.client.HTTPException) as error:
            logger.info("webhook %s to %s: %s", row["type"], target["url"], error)
            status = 0
        if 200 <= status < 300:  # noqa: PLR2004 - success, as HTTP has it
            self._note(number, attempts, None, "delivered")
            return
        wait = retry_after(attempts)
        self._note(number, attempts, None if wait is None else time.time() + wait, "pending" if wait else "failed")

    def _note(self, number: int, attempts: int, due_at: float | None, status: str) -> None:
        self._store.sql.execute(
            "UPDATE deliveries SET attempts = ?, due_at = ?, status = ? WHERE number = ?",
            (attempts, due_at, status, number),
        )


def _post(url: str, payload: bytes, secret: str) -> int:
    """Post a signed event; return the status. Raises OSError or HTTPException; redirects aren't followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT_SECONDS)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (stand-in)",
        "Stripe-Signature": signature(payload, secret, int(time.time())),
    }
    try:
        connection.request("POST", parts.path or "/", payload, headers)
        return connection.getresponse().status
    finally:
        connection.close()
