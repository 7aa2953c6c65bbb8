"""The list of what doesn't go on by itself, and what an operator may decide about it."""

import logging
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.db.models import F

from billing.models import BillingAccount, Invoice, InvoiceStatus, Refusal, WebhookEvent
from egress.control import clock
from portal.accounts.models import User

from . import calls
from .errors import Gone, NotDecidable

log = logging.getLogger(__name__)

UNPAID = (InvoiceStatus.WAITING, InvoiceStatus.DRAFT, InvoiceStatus.OPEN)
GIVEN_UP = "given up"


def refuse(
    *,
    step: str,
    code: str,
    message: str,
    request_id: str = "",
    invoice: Invoice | None = None,
    event: WebhookEvent | None = None,
    account: BillingAccount | None = None,
) -> Refusal:
    """Put it on the list, in the transaction that stops it; what is on it already stays as it is."""
    undecided: dict[str, Any] = {"invoice": invoice, "event": event, "decided_at": None}
    if not invoice and not event:
        undecided |= {"account": account, "step": step}
    words = {"step": step, "code": code, "message": message, "request_id": request_id}
    owner = invoice.account if invoice else account
    refusal, new = Refusal.objects.get_or_create(**undecided, defaults={**words, "account": owner})
    if new:
        log.error("billing needs a person: %s: %s: %s", step, code, message)
    return refusal


def retry(*, refusal: Refusal, actor: User, reason: str = "") -> None:
    """Try it again, from the beginning and under new idempotency keys: what is there at Stripe is found first.

    Raises NotDecidable.
    """
    with transaction.atomic():
        _decide(refusal, Refusal.Decision.RETRY, actor, reason)
        now = clock.unmoved()
        if refusal.invoice_id:
            invoices = Invoice.objects.filter(pk=refusal.invoice_id)
            invoices.update(due_at=now, attempts=0, error_code="", error_message="", generation=F("generation") + 1)
            # A draft may have been deleted at Stripe: it is looked up by its month.
            invoices.filter(status__in=(InvoiceStatus.WAITING, InvoiceStatus.DRAFT)).update(stripe_id="")
        if refusal.event_id:
            WebhookEvent.objects.filter(pk=refusal.event_id).update(due_at=now, attempts=0, done_at=None)


def give_up(*, refusal: Refusal, actor: User, reason: str) -> None:
    """Leave it, for a reason; an open invoice is marked uncollectible at Stripe first, so that it stops trying.

    Raises NotDecidable, also without a reason, and CollectingError: nothing is decided then.
    """
    if not reason.strip():
        raise NotDecidable("Say why it is given up: finance will ask.")
    if refusal.decided_at:
        raise NotDecidable
    invoice = refusal.invoice
    # Of a draft that was deleted there is nothing to stop.
    with suppress(Gone):
        if invoice and invoice.stripe_id and calls.invoice_see(invoice.stripe_id).status == InvoiceStatus.OPEN:
            calls.invoice_give_up(invoice.stripe_id)
    with transaction.atomic():
        _decide(refusal, Refusal.Decision.GIVE_UP, actor, reason)
        unpaid = Invoice.objects.filter(refusals=refusal, status__in=UNPAID)
        unpaid.update(due_at=None, failed_at=None, status=InvoiceStatus.UNCOLLECTIBLE)
        WebhookEvent.objects.filter(refusals=refusal).update(due_at=None, outcome=GIVEN_UP, done_at=clock.unmoved())


def _decide(refusal: Refusal, decision: Refusal.Decision, actor: User, reason: str) -> None:
    open_one = Refusal.objects.filter(pk=refusal.pk, decided_at=None)
    if not open_one.update(decided_at=clock.now(), decision=decision, decided_by=actor, reason=reason[:200]):
        raise NotDecidable
