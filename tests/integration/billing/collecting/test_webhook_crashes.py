"""A worker that deals with a webhook is killed at each commit and each call to Stripe; so is the web that receives it.

Nothing is lost: what was answered is dealt with. Nothing is doubled: one payment, one method, one row of each.
"""

from collections.abc import Callable
from typing import Any

import pytest
import stripe

from billing.collecting import account_of, collect, inbox, mirror, setup_session
from billing.models import BillingAccount, Invoice, InvoiceStatus, Movement, Refusal, WebhookEvent
from egress.control import clock, installation
from tests.integration.billing.dying import Ended, in_process

from .killed import do, watch_all
from .rows import FAILS_LATER, GOOD, make_payer, make_statement
from .stripe_side import SECRET, StripeSide, event_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.costly, pytest.mark.timeout(600)]
MOST = 30
#: All that lasts while a new card's event is dealt with, after which what failed is paid.
NEW_CARD = [
    "inbox._claim:write",
    "calls.method_prefer:post",
    "customers._mirror:write",
    "calls.invoice_pay:post",
    "mirror._keep:commit",
    "inbox.handle:write",
]
#: And while a lost dispute's is.
DISPUTE = ["inbox._claim:write", "mirror._keep:commit", "inbox.handle:write"]


def kept(body: bytes) -> WebhookEvent:
    return inbox.receive(body, stripe.WebhookSignature.generate_signature_header(body.decode(), SECRET))


def of_a_new_card(side: StripeSide) -> tuple[Invoice, WebhookEvent]:
    """Return an invoice that failed, and the event of a card that was taken down since."""
    team = make_payer(side, card=FAILS_LATER)
    invoice = collect(make_statement(team, 1_000))
    side.forward(hours=2)
    mirror.refresh(invoice)
    assert invoice.failed_at
    page = setup_session(team, ("https://portal.example/ok", "https://portal.example/no"))
    side.forward(seconds=5)
    side.take_down(page, GOOD)
    session = {
        "id": page.rpartition("/")[2],
        "object": "checkout.session",
        "mode": "setup",
        "customer": account_of(team).stripe_customer,
    }
    return invoice, kept(event_of("checkout.session.completed", session, number=str(invoice.pk)))


def check_card(side: StripeSide, invoice: Invoice) -> None:
    invoice.refresh_from_db()
    assert (invoice.status, invoice.failed_at, invoice.paid_cents) == (InvoiceStatus.PAID, None, 1_000)
    account = BillingAccount.objects.get(pk=invoice.account_id)
    assert account.payment_last4 == "4242"
    seen = side.client.v1.customers.retrieve(account.stripe_customer)
    assert seen.invoice_settings
    assert seen.invoice_settings.default_payment_method == account.payment_method
    charges = side.client.v1.charges.list({"customer": account.stripe_customer}).data
    assert [each.amount for each in charges if each.status == "succeeded"] == [1_000]
    assert [each.cents for each in Movement.objects.filter(invoice=invoice, status="paid")] == [1_000]


def of_a_lost_dispute(side: StripeSide) -> tuple[Invoice, WebhookEvent]:
    invoice = collect(make_statement(make_payer(side, card=GOOD), 1_000))
    side.forward(hours=2)
    mirror.refresh(invoice)
    dispute = side.control("POST", "disputes", invoice=invoice.stripe_id)
    side.control("POST", "disputes/decide", dispute=dispute["id"], status="lost")
    return invoice, kept(event_of("charge.dispute.closed", dispute, number=dispute["id"]))


def check_dispute(side: StripeSide, invoice: Invoice) -> None:
    assert [each.status for each in Movement.objects.filter(invoice=invoice, kind="dispute")] == ["lost"]
    assert [each.code for each in Refusal.objects.filter(account=invoice.account)] == ["dispute_lost"]


Made = Callable[[StripeSide], tuple[Invoice, WebhookEvent]]
Check = Callable[[StripeSide, Invoice], None]
ERRANDS: dict[str, tuple[Made, Check, list[str]]] = {
    "a new card": (of_a_new_card, check_card, NEW_CARD),
    "a lost dispute": (of_a_lost_dispute, check_dispute, DISPUTE),
}


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.full)])
@pytest.mark.parametrize("errand", ERRANDS)
def test_killed_at_each_point_an_event_is_dealt_with_once(stripe_side: StripeSide, errand: str, when: str) -> None:
    # Makes its row in a new database.
    installation.why_still()
    make, check, points = ERRANDS[errand]
    for number in range(1, MOST):
        invoice, event = make(stripe_side)
        done = do("handle_event", event.pk, die_at=number, when=when)
        assert done.error == ""
        if not done.killed:
            assert done.passed == points
            check(stripe_side, invoice)
            return
        # Its claim runs out; the sweep goes on, and a message that comes twice finds nothing to do.
        WebhookEvent.objects.filter(due_at__isnull=False).update(due_at=clock.unmoved())
        assert do("handle_events").error == ""
        assert do("handle_event", event.pk).error == ""
        event.refresh_from_db()
        assert (event.due_at, event.outcome, event.done_at is None) == (None, "seen", False)
        check(stripe_side, invoice)
    pytest.fail(f"more than {MOST} points")


def received(body: bytes, **wanted: Any) -> Ended:
    return in_process(lambda: kept(body), watch=watch_all, **wanted)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_is_received_an_event_comes_again_and_is_one(stripe_side: StripeSide, when: str) -> None:
    body = event_of("invoice.paid", {"id": "in_unknown", "object": "invoice"}, number=f"killed-{when}")
    for number in range(1, MOST):
        WebhookEvent.objects.all().delete()
        ended = received(body, die_at=number, when=when)
        if not ended.killed:
            assert (ended.error, number) == ("", 2)
            return
        # No answer: Stripe sends it again.
        for _ in range(2):
            assert received(body).error == ""
        assert WebhookEvent.objects.get().due_at
    pytest.fail(f"more than {MOST} points")
