"""Stripe's webhooks: real ones, signed by the stand-in and sent over HTTP, in every order; and forged ones."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import stripe
from django.test import Client
from pytest_django import Settings

from billing.collecting import account_of, collect, inbox, setup_session
from billing.collecting.webhook import MAX_BYTES
from billing.models import BillingAccount, Invoice, InvoiceStatus, Movement, Refusal, Statement, WebhookEvent
from egress.control import clock
from tests.integration.control.processes import wait_for

from .rows import FAILS_LATER, GOOD, OTHER, make_payer, make_statement
from .stripe_side import KEY, SECRET, StripeSide, event_of, running_stripe

pytestmark = [pytest.mark.django_db, pytest.mark.costly, pytest.mark.timeout(300)]
URL = "/stripe/webhook/"
Delivery = tuple[bytes, str]


class Mailbox:
    """Takes what Stripe sends, and keeps it for the test to hand on."""

    def __init__(self) -> None:
        taken = self.taken = list[Delivery]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                taken.append((body, self.headers["Stripe-Signature"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    def until(self, kind: str, about: str) -> list[Delivery]:
        """Wait for an event of this type about this id; return all that came until then."""
        wanted = (f'"type":"{kind}"', f'"{about}"')
        wait_for(
            lambda: any(all(part in body.decode().replace(" ", "") for part in wanted) for body, _ in self.taken), kind
        )
        return list(self.taken)


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    yield mailbox
    mailbox.server.shutdown()
    mailbox.server.server_close()


@pytest.fixture(scope="module")
def _telling_process(tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox) -> Iterator[StripeSide]:
    webhook = f"http://127.0.0.1:{mailbox.server.server_port}/"
    with running_stripe(tmp_path_factory.mktemp("stripe") / "state", webhook=webhook) as running:
        yield running


@pytest.fixture
def telling(_telling_process: StripeSide, settings: Settings, mailbox: Mailbox) -> StripeSide:
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET = KEY, SECRET
    settings.STRIPE_API_URL = _telling_process.url
    mailbox.taken.clear()
    return _telling_process


def post(client: Client, body: bytes, signature: str | None = None) -> int:
    signed = signature or stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET)
    answer = client.post(URL, body, content_type="application/json", headers={"Stripe-Signature": signed})
    assert "sk_" not in answer.content.decode()
    return answer.status_code


def play(client: Client, deliveries: list[Delivery]) -> None:
    for body, signature in deliveries:
        assert post(client, body, signature) == 200
    # Twice, as every task.
    inbox.sweep()
    inbox.sweep()
    assert not WebhookEvent.objects.filter(done_at=None).exists()


@pytest.mark.parametrize("order", ["as they came", "backwards", "each three times"])
def test_events_in_any_order_end_in_what_stripe_has(
    telling: StripeSide, mailbox: Mailbox, client: Client, order: str
) -> None:
    team = make_payer(telling, card=GOOD)
    invoice = collect(make_statement(team, 1_000))
    telling.forward(hours=2)
    mailbox.until("invoice.paid", invoice.stripe_id)
    intent = telling.client.v1.invoice_payments.list({"invoice": invoice.stripe_id}).data[0].payment.payment_intent
    assert isinstance(intent, str)
    telling.client.v1.refunds.create({"payment_intent": intent, "amount": 400})
    deliveries = mailbox.until("refund.created", intent)
    assert len(deliveries) > 8
    ordered = {"as they came": deliveries, "backwards": deliveries[::-1], "each three times": deliveries * 3}[order]
    play(client, ordered)
    assert WebhookEvent.objects.count() == len(deliveries)
    invoice.refresh_from_db()
    assert (invoice.status, invoice.paid_cents) == (InvoiceStatus.PAID, 1_000)
    assert {(each.kind, each.cents) for each in Movement.objects.all()} == {("payment", 1_000), ("refund", 400)}
    assert account_of(team).first_paid_at


def test_a_card_taken_down_is_the_teams_once_its_event_came(
    telling: StripeSide, mailbox: Mailbox, client: Client
) -> None:
    team = make_payer(telling, card=GOOD)
    BillingAccount.objects.update(payment_method="", payment_last4="")
    customer = account_of(team).stripe_customer
    play(client, mailbox.until("checkout.session.completed", customer))
    assert account_of(team).payment_last4 == "4242"
    shown = telling.client.v1.customers.retrieve(customer)
    assert shown.invoice_settings
    assert shown.invoice_settings.default_payment_method == account_of(team).payment_method


def test_an_old_session_that_is_told_late_does_not_displace_a_younger_card(
    telling: StripeSide, mailbox: Mailbox, client: Client
) -> None:
    team = make_payer(telling, card=GOOD)
    customer = account_of(team).stripe_customer
    first = mailbox.until("checkout.session.completed", customer)
    mailbox.taken.clear()
    telling.forward(seconds=5)
    telling.take_down(setup_session(team, ("https://portal.example/ok", "https://portal.example/no")), OTHER)
    play(client, mailbox.until("checkout.session.completed", customer))
    assert account_of(team).payment_last4 == "4444"
    play(client, first)
    assert account_of(team).payment_last4 == "4444"


def test_a_new_card_pays_what_failed(telling: StripeSide, mailbox: Mailbox, client: Client) -> None:
    team = make_payer(telling, card=FAILS_LATER)
    invoice = collect(make_statement(team, 1_000))
    telling.forward(hours=2)
    play(client, mailbox.until("invoice.payment_failed", invoice.stripe_id))
    invoice.refresh_from_db()
    assert (invoice.status, invoice.failed_at is None) == (InvoiceStatus.OPEN, False)
    mailbox.taken.clear()
    telling.forward(seconds=5)
    telling.take_down(setup_session(team, ("https://portal.example/ok", "https://portal.example/no")), GOOD)
    play(client, mailbox.until("checkout.session.completed", account_of(team).stripe_customer))
    invoice.refresh_from_db()
    assert (invoice.status, invoice.failed_at) == (InvoiceStatus.PAID, None)


def made_up(number: str, kind: str = "invoice.paid", **thing: object) -> bytes:
    return event_of(kind, {"id": "in_unknown", "object": "invoice", **thing}, number=number)


@pytest.mark.parametrize(
    "forged",
    ["no header", "another secret", "another body", "old", "no signature", "nonsense", "from the future's end"],
)
def test_what_stripe_did_not_sign_just_now_is_refused(telling: StripeSide, client: Client, forged: str) -> None:
    body, now = made_up("forged"), int(time.time())
    sign = stripe.WebhookSignature.generate_signature_header
    headers = {
        "no header": "-",
        "another secret": sign(body.decode(), "whsec_other", now),
        "another body": sign(made_up("other").decode(), SECRET, now),
        "old": sign(body.decode(), SECRET, now - 301),
        "no signature": f"t={now}",
        "nonsense": "t=x,v1=y",
        "from the future's end": f"t={10**30},v1=00",
    }
    assert post(client, body, headers[forged]) == 400
    assert not WebhookEvent.objects.exists()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff\xfe", b"{}", b'{"object":"event"}', b'{"object":"v2.core.event","id":"evt_1"}']
)
def test_what_is_no_snapshot_event_is_refused_though_it_is_signed(
    telling: StripeSide, client: Client, body: bytes
) -> None:
    signed = stripe.WebhookSignature.generate_signature_header(body.decode("latin-1"), SECRET)
    assert post(client, body, signed) == 400
    assert not WebhookEvent.objects.exists()


def test_an_event_that_is_too_large_or_got_is_refused(telling: StripeSide, client: Client) -> None:
    assert post(client, made_up("large", filler="x" * MAX_BYTES)) == 413
    assert client.get(URL).status_code == 405
    assert not WebhookEvent.objects.exists()


def test_without_a_secret_nothing_is_believed_and_nothing_lost(client: Client, settings: Settings) -> None:
    settings.STRIPE_WEBHOOK_SECRET = ""
    # Not 200: Stripe sends it again.
    assert post(client, made_up("early")) == 409
    assert not WebhookEvent.objects.exists()


def test_what_comes_twice_is_kept_once_and_first_words_count(telling: StripeSide, client: Client) -> None:
    assert post(client, made_up("twice")) == 200
    assert post(client, made_up("twice", kind="invoice.voided")) == 200
    assert WebhookEvent.objects.get().type == "invoice.paid"


def test_unknown_types_and_others_invoices_are_kept_and_ignored(telling: StripeSide, client: Client) -> None:
    assert post(client, made_up("1", kind="radar.early_fraud_warning.created")) == 200
    assert post(client, made_up("2")) == 200
    inbox.sweep()
    assert [(each.outcome, each.due_at) for each in WebhookEvent.objects.order_by("pk")] == [
        ("ignored", None),
        ("not ours", None),
    ]


def test_an_event_is_answered_at_once_and_dealt_with_when_stripe_is_back(telling: StripeSide, client: Client) -> None:
    invoice = collect(make_statement(make_payer(telling, card=GOOD), 1_000))
    telling.forward(hours=2)
    telling.away()
    try:
        assert (
            post(client, event_of("invoice.paid", {"id": invoice.stripe_id, "object": "invoice"}, number="away")) == 200
        )
        for _ in range(3):
            inbox.sweep()
    finally:
        telling.away(is_away=False)
    event = WebhookEvent.objects.get()
    assert (event.done_at, event.attempts) == (None, 1)
    WebhookEvent.objects.update(due_at=clock.unmoved())
    inbox.handle_now(event.pk)
    inbox.handle_now(event.pk)
    assert Invoice.objects.get().status == InvoiceStatus.PAID


def test_the_payloads_own_state_is_not_believed(telling: StripeSide, client: Client) -> None:
    """Signed by Stripe, and old news all the same."""
    invoice = collect(make_statement(make_payer(), 1_000))
    thing = {"id": invoice.stripe_id, "object": "invoice", "status": "paid", "amount_paid": 1_000}
    assert post(client, event_of("invoice.paid", thing, number="lie")) == 200
    inbox.sweep()
    assert Invoice.objects.get().status == InvoiceStatus.OPEN


def test_what_fails_each_time_ends_on_the_list(telling: StripeSide, client: Client) -> None:
    assert post(client, made_up("poison")) == 200
    WebhookEvent.objects.update(attempts=inbox.MAX_ATTEMPTS)
    inbox.sweep()
    assert (Refusal.objects.get().code, WebhookEvent.objects.get().due_at) == ("tried_too_often", None)


def test_what_was_dealt_with_is_kept_for_its_days(telling: StripeSide, client: Client, settings: Settings) -> None:
    for number in ("old", "young", "undone"):
        assert post(client, made_up(number)) == 200
    old = clock.unmoved() - timedelta(days=settings.STRIPE_EVENTS_KEPT_DAYS + 1)
    WebhookEvent.objects.exclude(stripe_id="evt_young").update(received_at=old)
    WebhookEvent.objects.exclude(stripe_id="evt_undone").update(done_at=old)
    inbox.forget()
    inbox.forget()
    assert set(WebhookEvent.objects.values_list("stripe_id", flat=True)) == {"evt_young", "evt_undone"}


def test_the_view_needs_no_session_and_no_csrf_token(telling: StripeSide) -> None:
    assert post(Client(enforce_csrf_checks=True), made_up("csrf")) == 200
    assert json.dumps(WebhookEvent.objects.get().payload["id"]) == '"evt_csrf"'
    assert Statement.objects.count() == 0
