"""The stand-in as a process of its own, and what tests do to it behind our back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import stripe

from billing.collecting import door, inbox, invoicing, reminding

# Else stripe-python writes into the home folder.
stripe.enable_telemetry = False
ROOT = Path(__file__).resolve().parents[4]
KEY = "sk_test_made_up"
SECRET = "whsec_made_up"
LIMIT_SECONDS = 30


@dataclass(frozen=True)
class StripeSide:
    """Stripe, as its operators see it."""

    url: str

    @property
    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient(KEY, base_addresses={"api": self.url}, max_network_retries=0)

    def control(self, method: str, path: str, **wanted: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = requests.request(
            method, f"{self.url}/_standin/{path}", json=wanted, headers=headers, timeout=LIMIT_SECONDS
        )
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()
        return told

    def fault(self, kind: str, operation: str = "*", **more: Any) -> None:
        self.control("POST", "faults", kind=kind, operation=operation, **more)

    def away(self, *, is_away: bool = True) -> None:
        self.control("POST", "faults", away=is_away)

    def forward(self, **timed: int) -> None:
        """Let so much time pass at Stripe: it finalizes, takes money, tries again."""
        self.control("POST", "clock", forward_seconds=sum(_SECONDS[unit] * count for unit, count in timed.items()))

    def take_down(self, session_url: str, number: str) -> None:
        """Choose a card on the page of a Checkout session, as a customer does, and confirm it where the bank asks."""
        for choice in ({"card": number}, {"confirm": "yes"}):
            answer = requests.post(session_url, data=choice, timeout=LIMIT_SECONDS, allow_redirects=False)
            if answer.is_redirect:
                return
        raise AssertionError(answer.text)

    def invoices(self, customer: str) -> list[stripe.Invoice]:
        return list(self.client.v1.invoices.list({"customer": customer, "limit": 100}).auto_paging_iter())

    def items(self, invoice: str) -> dict[str, int]:
        """Return an invoice's items as {our line's id: cents}; fails where a line has two."""
        lines = list(self.client.v1.invoices.line_items.list(invoice, {"limit": 100}).auto_paging_iter())
        found = {line.metadata["line"]: line.amount for line in lines}
        assert len(found) == len(lines)
        return found


def never_hurry() -> None:
    """Give runs and requests of this process all the time that a busy machine takes."""
    door.CONNECT_SECONDS = door.READ_SECONDS = 60.0  # type: ignore[misc]
    for module in (invoicing, inbox, reminding):
        module.RUN_SECONDS = 600.0  # type: ignore[misc]
    invoicing.INVOICE_SECONDS = 600.0


_SECONDS = {"seconds": 1, "hours": 3_600, "days": 86_400}


@contextmanager
def running_stripe(folder: Path, *, webhook: str = "") -> Iterator[StripeSide]:
    """Run the stand-in until the end of the block."""
    command = [sys.executable, "-m", "billing.standin", "--state", str(folder)]
    if webhook:
        command += ["--webhook", webhook]
    environment = {**os.environ, "STANDIN_API_KEY": KEY, "STANDIN_WEBHOOK_SECRET": SECRET}
    with (folder.parent / "standin.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout
        yield StripeSide(process.stdout.readline().decode().strip())
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)
        if process.stdout:
            process.stdout.close()


def event_of(kind: str, thing: dict[str, Any], *, number: str) -> bytes:
    """Return an event's body as Stripe sends it."""
    event = {
        "id": f"evt_{number}",
        "object": "event",
        "type": kind,
        "created": 1_790_000_000,
        "data": {"object": thing},
        "livemode": False,
        "pending_webhooks": 1,
        "api_version": "2026-10-28.dahlia",
        "request": None,
    }
    return json.dumps(event).encode()
