"""The one Stripe account that the stand-in plays: its objects, their changes, and the events that tell of these."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .clock import Clock
from .deliveries import Deliveries
from .store import Json, Store, new_id

API_VERSION = "2026-10-28.endive"
Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that something came of; both None when nobody asked for it."""

    request_id: str | None = None
    idempotency_key: str | None = None


class Account:
    """What handlers work on. Everything happens in one thread, inside the transaction of a request."""

    def __init__(self, store: Store, clock: Clock, deliveries: Deliveries) -> None:
        self.store = store
        self.clock = clock
        self.deliveries = deliveries
        #: Where this stand-in is reached; hosted pages are below it. Known once it listens.
        self.base_url = ""
        self.origin = Origin()
        #: Says by which code a customer's next charge is declined on demand; "" if it isn't.
        self.declines: Callable[[str], str] = lambda _: ""
        #: Returns an object as it is shown to clients.
        self.shown: Callable[[Json], Json] = lambda row: row

    def now(self) -> int:
        """Return the stand-in's time in epoch seconds."""
        return self.clock.now()

    def add(self, row: Json, event: str = "") -> Json:
        """Add an object, and tell of it when `event` names the type."""
        self.store.insert(row)
        if event:
            self.tell(event, row)
        return row

    def change(self, before: Json, changes: Params, *events: str) -> Json:
        """Write `changes` into an object and tell of them; return it as it is now."""
        after = self.store.save({**before, **changes})
        previous = {key: before.get(key) for key in changes if before.get(key) != after[key]}
        for event in events:
            self.tell(event, after, previous=previous if event.endswith(".updated") else None)
        return after

    def tell(self, kind: str, row: Json, *, previous: Json | None = None) -> None:
        """Make an event, and have it delivered to the endpoints that want it."""
        data: Json = {"object": self.shown(row)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Json = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.origin.request_id, "idempotency_key": self.origin.idempotency_key},
            "type": kind,
        }
        endpoints = [
            str(endpoint["id"])
            for endpoint in self.store.rows("webhook_endpoint")
            if endpoint["status"] == "enabled" and {"*", kind} & set(endpoint["enabled_events"])
        ]
        self.store.insert({**event, "pending_webhooks": len(endpoints)})  # as it is delivered; `shown` counts anew
        for endpoint in endpoints:
            self.deliveries.add(str(event["id"]), endpoint)
