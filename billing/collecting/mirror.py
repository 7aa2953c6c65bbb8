"""Write down what Stripe shows of an invoice: its state, payments, refunds, credit notes and disputes.

Level-triggered: whatever woke it, the present state is asked for and kept, so events may come in any order, or never.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F

from billing import words
from billing.models import BillingAccount, Invoice, InvoiceStatus, Movement, MovementKind, Refusal
from billing.models.collecting import ENDED
from egress.control import clock

from . import calls
from .refusals import refuse
from .seen import SeenInvoice, SeenMovement

#: Between two looks at an invoice that nothing was told of: in case that webhooks are lost.
OPEN_PAUSE: Final = timedelta(hours=6)
ENDED_PAUSE: Final = timedelta(days=7)
#: Money can be claimed back for about so long.
LOOKED_AFTER: Final = timedelta(days=120)
#: Stripe's word for a dispute that the cardholder won.
LOST: Final = "lost"
#: How often to look again when another looked meanwhile.
ATTEMPTS: Final = 5


def refresh(invoice: Invoice) -> Invoice:
    """See `invoice` at Stripe and keep that. Raises CollectingError, Gone among them.

    Of two who look at once, one that looked earlier never writes over what the other saw later.
    """
    for _ in range(ATTEMPTS):
        invoice.refresh_from_db(fields=["looks", "failed_at", "status", "stripe_id"])
        seen, moved = calls.invoice_see(invoice.stripe_id), calls.movements_of(invoice.stripe_id)
        if _keep(invoice, seen, moved):
            break
    invoice.refresh_from_db()
    return invoice


def refresh_by_id(stripe_id: str) -> bool:
    """See the invoice with this id of Stripe's; False if it is none of ours."""
    invoice = Invoice.objects.filter(stripe_id=stripe_id).exclude(status=InvoiceStatus.CREDITED).first()
    if invoice is None or not stripe_id:
        return False
    refresh(invoice)
    return True


def next_look(invoice: Invoice) -> datetime | None:
    """Return when to look at `invoice` again without being told; None once nothing can happen to it any more."""
    now = clock.unmoved()
    if invoice.status not in ENDED:
        return now + OPEN_PAUSE
    since = invoice.finalized_at or invoice.created_at
    return now + ENDED_PAUSE if now - since < LOOKED_AFTER else None


def _keep(invoice: Invoice, seen: SeenInvoice, moved: list[SeenMovement]) -> bool:
    failed = seen.status == "open" and seen.tries > 0
    with transaction.atomic():
        mine = Invoice.objects.filter(pk=invoice.pk, looks=invoice.looks)
        if not mine.update(
            looks=F("looks") + 1,
            status=seen.status,
            tax_cents=seen.tax_cents,
            due_cents=seen.due_cents,
            paid_cents=seen.paid_cents,
            credited_cents=seen.credited_cents,
            number=seen.number,
            hosted_url=seen.hosted_url,
            pdf_url=seen.pdf_url,
            tries=seen.tries,
            next_try_at=seen.next_try_at,
            finalized_at=seen.finalized_at,
            paid_at=seen.paid_at,
            failed_at=(invoice.failed_at or clock.now()) if failed else None,
        ):
            return False
        for movement in moved:
            _keep_movement(invoice, movement)
            if movement.kind == MovementKind.DISPUTE and movement.status == LOST:
                _say_lost(invoice, movement)
        if seen.status == "paid" and seen.paid_cents > 0:
            # Not for what credits paid: a card was never charged for that.
            BillingAccount.objects.filter(pk=invoice.account_id, first_paid_at=None).update(first_paid_at=clock.now())
    return True


def _keep_movement(invoice: Invoice, seen: SeenMovement) -> None:
    Movement.objects.update_or_create(
        stripe_id=seen.id,
        defaults={
            "kind": seen.kind,
            "account_id": invoice.account_id,
            "invoice": invoice,
            "payment_intent": seen.payment_intent,
            "currency": seen.currency,
            "cents": seen.cents,
            "status": seen.status[:40],
            "reason": seen.reason[:200],
            "number": seen.number,
            "pdf_url": seen.pdf_url,
            "happened_at": seen.happened_at,
            "seen_at": clock.unmoved(),
        },
    )


def _say_lost(invoice: Invoice, seen: SeenMovement) -> None:
    """Put it on the operators' list, in the transaction that notes it: the invoice stays paid at Stripe, unlike us."""
    step = f"dispute {seen.id}"[:40]
    # Once: whatever was decided about it, there is nothing new to decide.
    if Refusal.objects.filter(account=invoice.account_id, step=step).exists():
        return
    amount = words.money(seen.cents, seen.currency)
    message = (
        f"{invoice.account}: the dispute about {invoice} is lost, and {amount} went back to the cardholder"
        f" ({seen.reason or 'no reason'}). Nobody collects it again by itself: decide whether the team may go on, ask"
        " for the money another way or not at all, and note that here by giving it up."
    )
    refuse(step=step, code="dispute_lost", message=message, account=invoice.account)
