"""The stand-in for Stripe as a process of its own, a client for it, and a receiver of its webhooks."""

import http.client
import http.server
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import stripe

LIMIT_SECONDS = 60
ROOT = Path(__file__).parent.parent
# Else stripe-python writes into the home folder.
stripe.enable_telemetry = False

WORKS = "4242424242424242"
WANTS_OWNER_ONCE = "4000002500003155"
WANTS_OWNER_ALWAYS = "4000002760003184"
DECLINED = "4000000000000002"
EXPIRED = "4000000000000069"
DECLINED_LATER = "4000000000000341"


class StandIn:
    """One stand-in; `stop` and `start` again keep its state and address."""

    def __init__(self, folder: Path, *, webhook: str = "") -> None:
        self.folder = folder
        self.key = f"sk_test_{secrets.token_hex(12)}"
        self.webhook_secret = f"whsec_{secrets.token_hex(12)}"
        self._webhook = webhook
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._http = stripe.RequestsClient(timeout=LIMIT_SECONDS)
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "billing.standin", "--state", str(self.folder), "--port", str(self._port)]
        command += ["--webhook", self._webhook] if self._webhook else []
        environment = {**os.environ, "STANDIN_API_KEY": self.key, "STANDIN_WEBHOOK_SECRET": self.webhook_secret}
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the stand-in did not start: its words are above"
        self._port = urlsplit(self.address).port or 0

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._ended()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._ended()
        self._http.close()

    def _ended(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.wait(LIMIT_SECONDS)
        self._process.stdout.close()

    def client(self, key: str = "", *, timeout: float = 0, retries: int = 0) -> stripe.StripeClient:
        """Return a client; it tries once, unless `retries` says otherwise."""
        return stripe.StripeClient(
            key or self.key,
            base_addresses={"api": self.address},
            max_network_retries=retries,
            http_client=stripe.RequestsClient(timeout=timeout) if timeout else self._http,
        )

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a bare request; redirects aren't followed."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LIMIT_SECONDS)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.key}", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def control(self, method: str, path: str, **wanted: Any) -> dict[str, Any]:
        """Return the answer of the control API. Raises ValueError with its words when it refuses."""
        status, _, body = self.request(method, f"/_standin/{path}", json.dumps(wanted).encode() if wanted else b"")
        answer: dict[str, Any] = json.loads(body)
        if status != http.client.OK:
            raise ValueError(answer["error"]["message"])
        return answer

    def fault(self, kind: str, operation: str = "*", **more: Any) -> None:
        self.control("POST", "faults", kind=kind, operation=operation, **more)

    def forward(self, seconds: int) -> int:
        """Move its clock; what is due by then is done. Return its time."""
        return int(self.control("POST", "clock", forward_seconds=seconds)["now"])

    def submit(self, page: str, **fields: str) -> tuple[int, dict[str, str], str]:
        """Send a hosted page's form as a browser does; return status, headers and page."""
        status, headers, body = self.request(
            "POST", urlsplit(page).path, urlencode(fields).encode(), {"Authorization": ""}
        )
        return status, headers, body.decode()

    def look(self, page: str) -> tuple[int, str]:
        """Return status and text of a hosted page."""
        status, _, body = self.request("GET", urlsplit(page).path, headers={"Authorization": ""})
        return status, body.decode()


@contextmanager
def stand_in(folder: Path, *, webhook: str = "") -> Iterator[StandIn]:
    running = StandIn(folder, webhook=webhook)
    try:
        yield running
    finally:
        running.stop()


def customer_with_card(client: stripe.StripeClient, card: str = "pm_card_visa") -> Any:
    """Return a customer whose default is the test card that `card` names."""
    customer = client.v1.customers.create({"email": "team@example.com", "name": "Team"})
    method = client.v1.payment_methods.attach(card, {"customer": customer.id})
    return client.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})


def draft(client: stripe.StripeClient, customer: str, *amounts: int, **params: Any) -> Any:
    """Return a draft invoice with an item for each amount."""
    invoice = client.v1.invoices.create({"customer": customer, "auto_advance": False, **params})  # type: ignore[typeddict-item]
    for amount in amounts:
        client.v1.invoice_items.create(
            {"customer": customer, "invoice": invoice.id, "amount": amount, "currency": "usd"}
        )
    return invoice


class Receiver(http.server.ThreadingHTTPServer):
    """Takes webhooks: `events` are those it said 200 to, with `Stripe-Signature` checked by stripe-python."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.secret = ""
        #: What it answers to the next events, before 200 to all others.
        self.answers: list[int] = []
        self.events: list[stripe.Event] = []
        self.bodies: list[tuple[bytes, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def of(self, kind: str) -> list[stripe.Event]:
        return [event for event in list(self.events) if event.type == kind]


class _Hook(http.server.BaseHTTPRequestHandler):
    timeout = LIMIT_SECONDS

    def do_POST(self) -> None:
        receiver = self.server
        assert isinstance(receiver, Receiver)
        body, signature = self.rfile.read(int(self.headers["Content-Length"])), self.headers["Stripe-Signature"]
        status = receiver.answers.pop(0) if receiver.answers else 200
        if status == 200:
            receiver.bodies.append((body, signature))
            receiver.events.append(stripe.Webhook.construct_event(body, signature, receiver.secret))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(LIMIT_SECONDS)


def eventually(look: Callable[[], Any]) -> Any:
    """Return the first true answer of `look`."""
    end = time.monotonic() + LIMIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found
