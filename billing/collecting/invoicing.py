"""Bring statements to Stripe: one invoice each, with an item for each line, equal to the cent, and never two.

Level-triggered, like reconcile: see what Stripe has, let `plan` decide, take one step, look again. So a worker may die
at any line; what Stripe did is found by the invoice's month and the items' lines, and idempotency keys cover what was
sent and isn't seen yet. An invoice is claimed by a compare-and-swap of its due time. What two workers do all the same,
Stripe does once.
"""

import hashlib
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from time import monotonic
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connections, transaction
from django.db.models import F

from billing.models import Invoice, InvoiceStatus, Statement
from egress.control import clock, installation

from . import calls, customers, mirror
from .door import is_set_up
from .errors import Gone, Refused, StripeUnavailable
from .pauses import MAX_ATTEMPTS, pause_after
from .plan import Add, Create, Describe, Finalize, Follow, Stop, Wanted, items_of, next_step
from .refusals import refuse
from .seen import SeenInvoice

log = logging.getLogger(__name__)

#: How long a worker has an invoice; longer than a task may run.
CLAIM: Final = timedelta(minutes=2)
BATCH: Final = 200
#: A run begins with no invoice after so long, and leaves one after so long or so many steps; the next goes on.
RUN_SECONDS, INVOICE_SECONDS = 15.0, 8.0
MAX_STEPS: Final = 12


class ClaimLost(Exception):
    """Another worker has this invoice now."""


def collect(statement: Statement) -> Invoice:
    """Bring the statement as near to being paid as it goes now; may be called at any time, twice, or at once.

    Raises StripeUnavailable: the sweep goes on later.
    """
    invoice = open_invoice(statement)
    bring(invoice.pk)
    invoice.refresh_from_db()
    return invoice


def sweep() -> None:
    """Go on with all that is due, oldest first: every minute. Nothing while the installation stands still."""
    if not is_set_up() or installation.why_still():
        return
    for statement in Statement.objects.filter(invoice=None).order_by("made_at")[:BATCH]:
        open_invoice(statement)
    due = Invoice.objects.filter(due_at__lte=clock.unmoved()).order_by("due_at").values_list("pk", flat=True)
    _share(deque(due[:BATCH]), monotonic() + RUN_SECONDS)


def _share(due: deque[UUID], ends_at: float) -> None:
    """Bring these, several at once: nearly all of the time is Stripe's, and one that hangs holds up no other."""
    at_once = min(settings.STRIPE_AT_ONCE, len(due))
    stop = Event()
    if at_once <= 1:
        _bring_all(due, ends_at, stop)
        return
    with ThreadPoolExecutor(at_once, thread_name_prefix="collect") as pool:
        shares = [pool.submit(_in_thread, due, ends_at, stop) for _ in range(at_once)]
    for share in shares:
        share.result()


def _in_thread(due: deque[UUID], ends_at: float, stop: Event) -> None:
    try:
        _bring_all(due, ends_at, stop)
    finally:
        connections.close_all()


def _bring_all(due: deque[UUID], ends_at: float, stop: Event) -> None:
    while not stop.is_set() and monotonic() <= ends_at:
        try:
            invoice_id = due.popleft()
        except IndexError:
            return
        try:
            bring(invoice_id)
        except StripeUnavailable as error:
            # The others would fare the same, and each would wait for its timeout.
            log.warning("collecting waits: %s", error)
            stop.set()


def open_invoice(statement: Statement) -> Invoice:
    """Return the statement's row of collecting; one of zero is done with that."""
    nothing = statement.total_cents == 0
    return Invoice.objects.get_or_create(
        statement=statement,
        defaults={
            "account": customers.account_of(statement.team),
            "currency": statement.currency,
            "total_cents": statement.total_cents,
            "with_tax": settings.STRIPE_TAX,
            "status": InvoiceStatus.NOTHING if nothing else InvoiceStatus.WAITING,
            "due_at": None if nothing else clock.unmoved(),
        },
    )[0]


def bring(invoice_id: UUID) -> None:
    """Go on with one invoice that is due; does nothing while another worker has it. Raises StripeUnavailable."""
    invoice = Invoice.objects.select_related("statement", "account__team").get(pk=invoice_id)
    work = _claim(invoice)
    if work is None:
        return
    try:
        _bring(work)
    except ClaimLost:
        log.warning("invoice %s: another worker goes on", invoice.pk)


def _bring(work: "_Work") -> None:
    try:
        due_at = work.go()
    except ClaimLost:
        raise
    except Refused as error:
        work.stop(error.reason or error.code, str(error), error.request_id)
    except StripeUnavailable as error:
        work.postpone(error.code, str(error), after_seconds=error.after_seconds, new_keys=error.replayed)
        raise
    except Exception as error:
        # A bug, a time limit, a lost database: it mustn't be tried every minute for ever.
        work.postpone("internal_error", f"{type(error).__name__}: {error}")
        raise
    else:
        work.note(due_at=due_at, attempts=0, error_code="", error_message="")


def _claim(invoice: Invoice) -> "_Work | None":
    """Take `invoice` before another worker does; who dies with it, dies a limited number of times."""
    now = clock.unmoved()
    if invoice.due_at is None or invoice.due_at > now:
        return None
    until = now + CLAIM
    mine = Invoice.objects.filter(pk=invoice.pk, due_at=invoice.due_at)
    if not mine.update(due_at=until, attempts=F("attempts") + 1):
        return None
    invoice.due_at, invoice.attempts = until, invoice.attempts + 1
    work = _Work(invoice, until)
    if invoice.attempts > MAX_ATTEMPTS:
        work.stop("tried_too_often", f"{MAX_ATTEMPTS} tries in a row failed; at last: {invoice.error_message}")
        return None
    return work


@dataclass
class _Work:
    """One worker's hold on one invoice."""

    invoice: Invoice
    claim: datetime
    step: str = "customer"

    def go(self) -> datetime | None:
        """Take steps until there is nothing to do but wait; returns when to look again."""
        customer = customers.known(self.invoice.account)
        if self.invoice.total_cents < 0:
            self._credit(customer)
            return None
        ends_at = monotonic() + INVOICE_SECONDS
        for _ in range(MAX_STEPS):
            seen = self._see(customer)
            items = calls.items_of(seen.id) if seen and seen.status == "draft" else []
            step = next_step(wanted := self._wanted(), seen, items)
            self.step = type(step).__name__.lower()
            match step:
                case Stop():
                    raise Refused(step.message, reason=step.code)
                case Create():
                    self._create(customer)
                case Add() if seen:
                    self._add(customer, seen, step, ends_at)
                case Describe() if seen:
                    self._describe(seen, wanted)
                case Finalize() if seen:
                    calls.invoice_finalize(seen.id, self._key("finalize"))
                case Follow():
                    return mirror.next_look(mirror.refresh(self.invoice))
            if monotonic() > ends_at:
                break
        return clock.unmoved()

    def note(self, **values: Any) -> None:
        """Write these of the invoice, if it is still ours. Raises ClaimLost."""
        if not Invoice.objects.filter(pk=self.invoice.pk, due_at=self.claim).update(**values):
            raise ClaimLost
        for name, value in values.items():
            setattr(self.invoice, name, value)
        if "due_at" not in values:
            self.invoice.due_at = self.claim

    def stop(self, code: str, message: str, request_id: str = "") -> None:
        """Put it on the operators' list; it isn't due any more."""
        with transaction.atomic():
            refuse(step=f"invoice.{self.step}", code=code, message=message, request_id=request_id, invoice=self.invoice)
            self.note(due_at=None, error_code=code[:64], error_message=message)

    def postpone(self, code: str, message: str, *, after_seconds: float = 0, new_keys: bool = False) -> None:
        """Try again later."""
        generation = self.invoice.generation + new_keys
        due_at = clock.unmoved() + pause_after(self.invoice.attempts, asked_seconds=after_seconds)
        self.note(due_at=due_at, error_code=code, error_message=message, generation=generation)

    def _see(self, customer: str) -> SeenInvoice | None:
        """Return what Stripe has of this invoice, and note its id as soon as it is known."""
        if self.invoice.stripe_id:
            try:
                return calls.invoice_see(self.invoice.stripe_id)
            except Gone as error:
                raise Refused(
                    f"{error} Its draft was deleted there; a retry makes it anew.", reason="draft_deleted"
                ) from error
        seen = calls.invoice_find(customer, month=self._month(), currency=self.invoice.currency)
        if seen and seen.statement == str(self.invoice.statement_id):
            self.note(stripe_id=seen.id, status=seen.status)
        return seen

    def _create(self, customer: str) -> None:
        about = {
            "statement": str(self.invoice.statement_id),
            "month": self._month(),
            "team": str(self.invoice.account.team_id),
        }
        key = self._key("create")
        made = calls.invoice_create(customer, currency=self.invoice.currency, about=about, key=key)
        self.note(stripe_id=made.id, status=made.status)

    def _add(self, customer: str, seen: SeenInvoice, step: Add, ends_at: float) -> None:
        taxed, currency = self.invoice.with_tax, self.invoice.currency
        for item in step.items:
            calls.item_create(customer, seen.id, item, currency=currency, taxed=taxed, key=self._key("item", item.key))
            if monotonic() > ends_at:
                return

    def _describe(self, seen: SeenInvoice, wanted: Wanted) -> None:
        calls.invoice_describe(
            seen.id,
            description=self._words(),
            po_number=self.invoice.account.po_number,
            taxed=self.invoice.with_tax,
            described=wanted.described,
        )

    def _credit(self, customer: str) -> None:
        """Put a negative total on the customer's balance, from which Stripe lowers the next invoices."""
        self.step = "credit"
        statement = str(self.invoice.statement_id)
        entry = calls.credit_find(customer, statement) or calls.credit_create(
            customer,
            cents=-self.invoice.total_cents,
            currency=self.invoice.currency,
            statement=statement,
            description=self._words(),
            key=self._key("credit"),
        )
        self.note(stripe_id=entry, status=InvoiceStatus.CREDITED)

    def _wanted(self) -> Wanted:
        invoice = self.invoice
        lines = list(invoice.statement.lines.order_by("position"))
        words = f"{self._words()}\n{invoice.account.po_number}\n{invoice.with_tax}"
        return Wanted(
            statement=str(invoice.statement_id),
            currency=invoice.currency,
            total_cents=invoice.total_cents,
            items=items_of(invoice.statement_id, lines, taxed=invoice.with_tax),
            described=hashlib.sha256(words.encode()).hexdigest()[:32],
        )

    def _words(self) -> str:
        return f"Dedicated egress, {self.invoice.statement.month:%B %Y}"

    def _month(self) -> str:
        return f"{self.invoice.statement.month:%Y-%m}"

    def _key(self, *what: str) -> str:
        """Return an idempotency key: the same for each try, until an answer was given for good."""
        return "-".join((settings.INSTALLATION_ID, str(self.invoice.statement_id), *what, str(self.invoice.generation)))
