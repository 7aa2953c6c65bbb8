"""A cardholder disputes a payment: mirrored, shown to the customer and the operator, in any order of events or none."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from billing import metrics, tasks
from billing.collecting import collect, inbox, mirror, refusals
from billing.models import Invoice, InvoiceStatus, Movement, Refusal, WebhookEvent
from egress.control import clock
from portal.accounts.models import User
from tests.standin import Receiver, eventually, receiver

from .rows import GOOD, make_payer, make_statement
from .stripe_side import KEY, SECRET, StripeSide, running_stripe

pytestmark = [pytest.mark.django_db, pytest.mark.costly, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with receiver() as running:
        running.secret = SECRET
        yield running


@pytest.fixture(scope="module")
def _process(tmp_path_factory: pytest.TempPathFactory, hook: Receiver) -> Iterator[StripeSide]:
    with running_stripe(tmp_path_factory.mktemp("stripe") / "state", webhook=hook.url) as running:
        yield running


@pytest.fixture
def telling(_process: StripeSide, hook: Receiver, settings: Settings) -> StripeSide:
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRET, settings.STRIPE_API_URL = KEY, SECRET, _process.url
    return _process


def paid(side: StripeSide) -> Invoice:
    invoice = collect(make_statement(make_payer(side, card=GOOD), 1_000))
    side.forward(hours=2)
    mirror.refresh(invoice)
    assert invoice.status == InvoiceStatus.PAID
    return invoice


def dispute(side: StripeSide, invoice: Invoice) -> str:
    """Let the cardholder dispute it: the bank takes the money back at once. Return the dispute's id."""
    return str(side.control("POST", "disputes", invoice=invoice.stripe_id)["id"])


def decide(side: StripeSide, dispute_id: str, how: str) -> None:
    side.control("POST", "disputes/decide", dispute=dispute_id, status=how)


def told(hook: Receiver, dispute_id: str, *kinds: str) -> list[tuple[bytes, str]]:
    """Wait for these events of a dispute; return them as they came."""

    def of(kind: str) -> list[tuple[bytes, str]]:
        bodies = zip(list(hook.events), list(hook.bodies), strict=False)
        return [body for event, body in bodies if event.type == kind and event.data.object["id"] == dispute_id]

    return [eventually(lambda kind=kind: of(f"charge.dispute.{kind}"))[0] for kind in kinds]


def play(client: Client, deliveries: list[tuple[bytes, str]]) -> None:
    for body, signature in deliveries:
        headers = {"Stripe-Signature": signature}
        assert client.post("/stripe/webhook/", body, "application/json", headers=headers).status_code == 200
    # Twice, as every task.
    inbox.sweep()
    inbox.sweep()
    assert not WebhookEvent.objects.filter(done_at=None).exists()


def pages(invoice: Invoice) -> tuple[str, str]:
    """Return a teammate's list of statements, and the page of this one."""
    client = Client()
    client.force_login(invoice.account.team.memberships.get().user)
    slug = invoice.account.team.slug
    listed = client.get(reverse("web:billing-statements", args=[slug]))
    shown = client.get(reverse("web:billing-statement", args=[slug, invoice.statement_id]))
    return listed.content.decode(), shown.content.decode()


def of_concern(name: str) -> float:
    return metrics.page()[metrics.CONCERNS][name,]


def operators_see(model: str, attention: str) -> str:
    client = Client()
    client.force_login(
        User.objects.filter(is_superuser=True).first() or User.objects.create_superuser("op@example.com")
    )
    answer = client.get(reverse(f"admin:billing_{model}_changelist"), {"attention": attention})
    return answer.content.decode()


def check_open(invoice: Invoice, dispute_id: str) -> None:
    row = Movement.objects.get(stripe_id=dispute_id)
    assert (row.kind, row.cents, row.status, row.invoice) == ("dispute", 1_000, "needs_response", invoice)
    assert of_concern("disputed") == 1
    assert dispute_id in operators_see("movement", "disputed")
    listed, shown = pages(invoice)
    assert "Disputed" in listed
    assert "the bank decides" in shown


def check_won(invoice: Invoice, dispute_id: str) -> None:
    assert Movement.objects.get(stripe_id=dispute_id).status == "won"
    assert (of_concern("disputed"), of_concern("undecided"), Refusal.objects.count()) == (0, 0, 0)
    assert dispute_id not in operators_see("movement", "disputed")
    listed, shown = pages(invoice)
    assert "Disputed" not in listed
    assert "the payment stands" in shown


def check_lost(invoice: Invoice, dispute_id: str) -> None:
    assert Movement.objects.get(stripe_id=dispute_id).status == "lost"
    refusal = Refusal.objects.get()
    assert (refusal.code, refusal.account, refusal.decided_at) == ("dispute_lost", invoice.account, None)
    assert "$10.00 went back" in refusal.message
    assert (of_concern("disputed"), of_concern("undecided")) == (0, 1)
    assert "dispute_lost" in operators_see("refusal", "undecided")
    listed, shown = pages(invoice)
    assert "Paid back by the bank" in listed
    assert "the bank paid it back" in shown


CHECKS = {"won": check_won, "lost": check_lost}
LAST = {"won": ("closed", "funds_reinstated"), "lost": ("closed",)}


@pytest.mark.parametrize("how", ["won", "lost"])
def test_a_dispute_is_seen_by_all_from_its_first_event_to_its_last(
    telling: StripeSide, hook: Receiver, client: Client, how: str
) -> None:
    invoice = paid(telling)
    dispute_id = dispute(telling, invoice)
    play(client, told(hook, dispute_id, "created", "funds_withdrawn"))
    check_open(invoice, dispute_id)
    decide(telling, dispute_id, how)
    play(client, told(hook, dispute_id, *LAST[how]))
    CHECKS[how](invoice, dispute_id)


@pytest.mark.parametrize("order", ["backwards", "each three times", "the last one only"])
@pytest.mark.parametrize("how", ["won", "lost"])
def test_events_in_any_order_end_in_what_the_bank_decided(
    telling: StripeSide, hook: Receiver, client: Client, how: str, order: str
) -> None:
    invoice = paid(telling)
    dispute_id = dispute(telling, invoice)
    decide(telling, dispute_id, how)
    deliveries = told(hook, dispute_id, "created", "funds_withdrawn", *LAST[how])
    played = {
        "backwards": deliveries[::-1],
        "each three times": deliveries * 3,
        "the last one only": deliveries[-1:],
    }
    play(client, played[order])
    CHECKS[how](invoice, dispute_id)


@pytest.mark.parametrize("how", ["won", "lost"])
def test_without_any_webhook_it_is_found_by_looking(stripe_side: StripeSide, how: str) -> None:
    invoice, other = paid(stripe_side), paid(stripe_side)
    dispute_id = dispute(stripe_side, invoice)
    tasks.look_for_disputes()
    check_open(invoice, dispute_id)
    decide(stripe_side, dispute_id, how)
    for _ in range(2):
        tasks.look_for_disputes()
    CHECKS[how](invoice, dispute_id)
    looks = dict(Invoice.objects.values_list("pk", "looks"))
    # What stands as it is known isn't asked about again.
    assert looks[invoice.pk] - looks[other.pk] == 2


def test_what_was_decided_about_a_lost_dispute_stays_decided(stripe_side: StripeSide) -> None:
    invoice = paid(stripe_side)
    decide(stripe_side, dispute(stripe_side, invoice), "lost")
    tasks.look_for_disputes()
    actor = User.objects.create_superuser("decides@example.com")
    refusals.give_up(refusal=Refusal.objects.get(), actor=actor, reason="a stolen card")
    mirror.refresh(invoice)
    assert Refusal.objects.get().decided_at
    # What the bank took back isn't what is given up: that invoice is paid, as Stripe has it.
    invoice.refresh_from_db()
    assert invoice.status == InvoiceStatus.PAID


def test_others_payments_and_an_absent_stripe_change_nothing(stripe_side: StripeSide) -> None:
    invoice = paid(stripe_side)
    dispute_id = dispute(stripe_side, invoice)
    # As one of another product on the same account: its payment is none of ours.
    Movement.objects.update(payment_intent="pi_other")
    tasks.look_for_disputes()
    stripe_side.away()
    tasks.look_for_disputes()
    stripe_side.away(is_away=False)
    assert not Movement.objects.filter(kind="dispute").exists()
    Invoice.objects.update(due_at=clock.unmoved())
    tasks.collect()
    assert Movement.objects.get(kind="dispute").stripe_id == dispute_id
