"""Stripe's webhooks: verify, keep under the event's id, answer; a task deals with it, a sweep with what was lost."""

import logging
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

from celery import current_app
from django.conf import settings
from django.db import transaction
from django.db.models import F

from billing.models import WebhookEvent
from egress.control import clock, installation

from . import calls, customers, mirror, paying
from .door import is_set_up, verified
from .errors import Gone, Refused, SignatureRefused, StripeUnavailable
from .events import AboutCustomer, AboutInvoice, AboutPayment, concern_of
from .pauses import MAX_ATTEMPTS, pause_after
from .refusals import refuse

log = logging.getLogger(__name__)

TASK: Final = "billing.tasks.handle_event"
HINT_EXPIRES_SECONDS: Final = 60
#: How long a worker has an event; longer than a task may run.
CLAIM: Final = timedelta(minutes=2)
BATCH: Final = 500
RUN_SECONDS: Final = 15.0
#: Deleted in one run; the next goes on.
FORGET_BATCH: Final = 10_000
IGNORED, SEEN, NOT_OURS, VANISHED = "ignored", "seen", "not ours", "gone at Stripe"


def receive(payload: bytes, signature: str) -> WebhookEvent:
    """Keep an event that Stripe sent; one that came before is kept as it was.

    Raises SignatureRefused, NotSetUp.
    """
    event = verified(payload, signature)
    with transaction.atomic():
        row, new = WebhookEvent.objects.get_or_create(stripe_id=_text(event, "id", 255), defaults=_columns(event))
        if new:
            transaction.on_commit(lambda: _hint(row.pk), robust=True)
    return row


def sweep() -> None:
    """Deal with what is due, in the order in which it came. Nothing while the installation stands still."""
    if not is_set_up() or installation.why_still():
        return
    ends_at = monotonic() + RUN_SECONDS
    due = WebhookEvent.objects.filter(due_at__lte=clock.unmoved()).order_by("due_at", "pk")
    for event_id in list(due.values_list("pk", flat=True)[:BATCH]):
        if monotonic() > ends_at:
            return
        try:
            handle(event_id)
        except StripeUnavailable as error:
            log.warning("webhooks wait: %s", error)
            return


def handle_now(event_id: int) -> None:
    """Deal with an event that has just come; what can't be done now is left to the sweep."""
    if not is_set_up() or installation.why_still():
        return
    try:
        handle(event_id)
    except StripeUnavailable as error:
        log.warning("event %s waits: %s", event_id, error)


def handle(event_id: int) -> None:
    """Deal with one event that is due; does nothing while another worker has it. Raises StripeUnavailable."""
    event = WebhookEvent.objects.filter(pk=event_id).first()
    if event is None or not _claim(event):
        return
    mine = WebhookEvent.objects.filter(pk=event.pk, due_at=event.due_at)
    try:
        outcome = _deal_with(event)
    except Gone:
        outcome = VANISHED
    except Refused as error:
        _stop(event, error.reason or error.code, str(error), error.request_id)
        return
    except StripeUnavailable as error:
        pause = pause_after(event.attempts, asked_seconds=error.after_seconds)
        mine.update(due_at=clock.unmoved() + pause, outcome=str(error)[:200])
        raise
    mine.update(due_at=None, outcome=outcome, done_at=clock.unmoved())


def forget() -> None:
    """Delete what was dealt with and is older than anybody needs: an older event isn't accepted again anyway."""
    old = clock.unmoved() - timedelta(days=settings.STRIPE_EVENTS_KEPT_DAYS)
    rows = WebhookEvent.objects.filter(done_at__isnull=False, received_at__lt=old).order_by("pk")
    WebhookEvent.objects.filter(pk__in=list(rows.values_list("pk", flat=True)[:FORGET_BATCH])).delete()


def _deal_with(event: WebhookEvent) -> str:
    """Look at what it is about; returns what came of it."""
    match concern_of(event.type, event.payload.get("data", {}).get("object", {})):
        case AboutInvoice(invoice):
            return SEEN if mirror.refresh_by_id(invoice) else NOT_OURS
        case AboutPayment(intent):
            return SEEN if mirror.refresh_by_id(calls.invoice_of_payment(intent)) else NOT_OURS
        case AboutCustomer(customer, session):
            account = customers.customer_changed(customer, session=session)
            if account is None:
                return NOT_OURS
            paying.pay_failed(account)
            return SEEN
    return IGNORED


def _claim(event: WebhookEvent) -> bool:
    now = clock.unmoved()
    if event.due_at is None or event.due_at > now:
        return False
    mine = WebhookEvent.objects.filter(pk=event.pk, due_at=event.due_at)
    if not mine.update(due_at=now + CLAIM, attempts=F("attempts") + 1):
        return False
    event.due_at, event.attempts = now + CLAIM, event.attempts + 1
    if event.attempts > MAX_ATTEMPTS:
        _stop(event, "tried_too_often", f"{MAX_ATTEMPTS} tries failed; at last: {event.outcome}")
        return False
    return True


def _stop(event: WebhookEvent, code: str, message: str, request_id: str = "") -> None:
    with transaction.atomic():
        refuse(step=f"event.{event.type}"[:40], code=code[:64], message=message, request_id=request_id, event=event)
        WebhookEvent.objects.filter(pk=event.pk).update(due_at=None, outcome=code[:200])


def _columns(event: dict[str, Any]) -> dict[str, Any]:
    data = event.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    created = event.get("created")
    if not isinstance(thing, dict) or not isinstance(created, int):
        raise SignatureRefused("This event has no object or no time: set the endpoint up for snapshot payloads.")
    return {
        "type": _text(event, "type", 100),
        "object_id": str(thing.get("id") or "")[:255],
        "payload": event,
        "sent_at": datetime.fromtimestamp(created, UTC),
    }


def _text(event: dict[str, Any], name: str, longest: int) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise SignatureRefused(f"This event has no {name}.")
    return value


def _hint(event_id: int) -> None:
    current_app.send_task(TASK, [event_id], expires=HINT_EXPIRES_SECONDS)
