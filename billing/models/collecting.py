"""What Stripe is asked to collect, what it said of it, what it refused, and who is reminded to pay."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from egress.control import clock
from portal.accounts.models import User

from .accounts import BillingAccount
from .statements import Statement


class InvoiceStatus(models.TextChoices):
    """Where an invoice stands; the middle five are Stripe's own words."""

    #: Not known at Stripe yet.
    WAITING = "waiting", "Being made"
    DRAFT = "draft", "Being made at Stripe"
    OPEN = "open", "To be paid"
    PAID = "paid", "Paid"
    UNCOLLECTIBLE = "uncollectible", "Given up"
    VOID = "void", "Void"
    #: The statement's total is zero: there is no invoice.
    NOTHING = "nothing", "Nothing to pay"
    #: The statement's total is negative: it is on the customer's balance at Stripe, and lowers what comes next.
    CREDITED = "credited", "Credited"


#: Stripe takes no more money for one of these.
ENDED = (
    InvoiceStatus.PAID,
    InvoiceStatus.UNCOLLECTIBLE,
    InvoiceStatus.VOID,
    InvoiceStatus.NOTHING,
    InvoiceStatus.CREDITED,
)


class Invoice(models.Model):
    """One statement on its way to being paid. What Stripe shows of it is mirrored here, as it was last seen."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    statement = models.OneToOneField(Statement, models.PROTECT, related_name="invoice")
    account = models.ForeignKey(BillingAccount, models.PROTECT, related_name="invoices")
    status = models.CharField(max_length=14, choices=InvoiceStatus.choices, default=InvoiceStatus.WAITING)
    currency = models.CharField(max_length=3)
    #: The statement's total: what the invoice at Stripe comes to before tax.
    total_cents = models.BigIntegerField()
    tax_cents = models.BigIntegerField(default=0)
    #: What is to pay after tax and the customer's balance, what was paid of it, and what credit notes took off.
    due_cents = models.BigIntegerField(default=0)
    paid_cents = models.BigIntegerField(default=0)
    credited_cents = models.BigIntegerField(default=0)
    #: Whether Stripe Tax is asked: fixed when the row is made, for what was sent once is sent again the same.
    with_tax = models.BooleanField(default=False)
    #: Stripe's id of the invoice, or of the entry in the customer's balance; "" until it is known.
    stripe_id = models.CharField(max_length=64, blank=True)
    #: Stripe's number, which the customer sees, and where it is shown and paid.
    number = models.CharField(max_length=64, blank=True)
    hosted_url = models.CharField(max_length=2_000, blank=True)
    pdf_url = models.CharField(max_length=2_000, blank=True)
    #: How often Stripe tried to take the money, and when it will again.
    tries = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True)
    finalized_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)
    #: Since when it is known that a payment failed; None while none did, or it was paid after all.
    failed_at = models.DateTimeField(null=True)
    #: When to go on; None when there is nothing left to do, or a person must act (`Refusal`).
    due_at = models.DateTimeField(null=True, default=clock.unmoved, db_index=True)
    #: Tries at Stripe that failed in a row, and what came of the last.
    attempts = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    #: Part of idempotency keys: a new one once an error was given for good under the old keys.
    generation = models.PositiveIntegerField(default=0)
    #: How often it was mirrored: of two who look at once, who looked first doesn't write last.
    looks = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ("-statement__month", "-created_at")
        constraints = (
            models.UniqueConstraint(fields=("stripe_id",), condition=~Q(stripe_id=""), name="stripe_invoice_once"),
        )

    def __str__(self) -> str:
        return f"{self.number or 'Invoice'} of {self.statement}"

    @property
    def open_cents(self) -> int:
        """Return what is still to be paid; 0 once Stripe takes no more for it."""
        return 0 if self.status in ENDED else self.due_cents - self.paid_cents

    @property
    def is_final(self) -> bool:
        """Say whether it is the last one of an account that was closed."""
        closed_at = self.account.closed_at
        return closed_at is not None and self.statement.month >= closed_at.date().replace(day=1)


class MovementKind(models.TextChoices):
    """What moved, or is disputed."""

    PAYMENT = "payment", "Payment"
    REFUND = "refund", "Refund"
    CREDIT_NOTE = "credit_note", "Credit note"
    DISPUTE = "dispute", "Dispute"


#: Stripe's words for disputes after which the payment stands.
STANDS = ("won", "warning_closed", "prevented")


class Movement(models.Model):
    """A payment, refund, credit note or dispute at Stripe, as it was last seen there."""

    stripe_id = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=12, choices=MovementKind.choices)
    account = models.ForeignKey(BillingAccount, models.PROTECT, related_name="movements")
    #: None where it belongs to no invoice of ours.
    invoice = models.ForeignKey(Invoice, models.PROTECT, null=True, related_name="movements")
    #: What refunds and disputes name, too: by it they find their payment.
    payment_intent = models.CharField(max_length=64, blank=True, db_index=True)
    currency = models.CharField(max_length=3)
    #: As Stripe has it: never negative.
    cents = models.PositiveBigIntegerField()
    #: Stripe's word.
    status = models.CharField(max_length=40)
    reason = models.CharField(max_length=200, blank=True)
    number = models.CharField(max_length=64, blank=True)
    pdf_url = models.CharField(max_length=2_000, blank=True)
    happened_at = models.DateTimeField()
    seen_at = models.DateTimeField(default=clock.unmoved)

    class Meta:
        ordering = ("-happened_at", "-id")

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.stripe_id} ({self.status})"


class WebhookEvent(models.Model):
    """One event that Stripe sent, kept under its id: what came twice is one row, and is dealt with once."""

    stripe_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=100)
    #: Of the object that it is about; its present state is asked for, the event's own word isn't taken for it.
    object_id = models.CharField(max_length=255, blank=True)
    payload = models.JSONField()
    #: By Stripe's clock.
    sent_at = models.DateTimeField()
    received_at = models.DateTimeField(default=clock.unmoved, db_index=True)
    #: When to deal with it (again); None once that is done, or given up.
    due_at = models.DateTimeField(null=True, default=clock.unmoved, db_index=True)
    attempts = models.PositiveIntegerField(default=0)
    #: "ignored" for types that mean nothing here.
    outcome = models.CharField(max_length=200, blank=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-received_at", "-id")

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_id}"


class Refusal(models.Model):
    """What doesn't go on without a person: Stripe refused it for good, or something doesn't add up."""

    class Decision(models.TextChoices):
        """What an operator decided."""

        RETRY = "retry", "Tried again"
        GIVE_UP = "give_up", "Given up"

    account = models.ForeignKey(BillingAccount, models.PROTECT, null=True, related_name="refusals")
    invoice = models.ForeignKey(Invoice, models.PROTECT, null=True, related_name="refusals")
    event = models.ForeignKey(WebhookEvent, models.SET_NULL, null=True, related_name="refusals")
    #: Which step it was, the error's code, its words, and Stripe's number of the request.
    step = models.CharField(max_length=40)
    code = models.CharField(max_length=64)
    message = models.TextField()
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=clock.now)
    #: None while nobody decided.
    decided_at = models.DateTimeField(null=True)
    decision = models.CharField(max_length=8, choices=Decision.choices, blank=True)
    decided_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("invoice",), condition=Q(decided_at__isnull=True), name="one_open_refusal_per_invoice"
            ),
            models.UniqueConstraint(
                fields=("event",), condition=Q(decided_at__isnull=True), name="one_open_refusal_per_event"
            ),
        )

    def __str__(self) -> str:
        return f"{self.step}: {self.code}"


class Dunning(models.Model):
    """One time in which an account owed what could not be taken, from the first failure to the payment."""

    account = models.ForeignKey(BillingAccount, models.PROTECT, related_name="dunnings")
    began_at = models.DateTimeField(default=clock.now)
    #: The date of disabling that the warning told; None before one was written.
    told_date = models.DateTimeField(null=True)
    #: When it was seen that its mail was sent: the days of warning count from then.
    warned_at = models.DateTimeField(null=True)
    #: When egress was disabled, and until when the addresses are held.
    disabled_at = models.DateTimeField(null=True)
    held_until = models.DateTimeField(null=True)
    #: Those that weren't looked at for longest come first, so that each has its turn.
    looked_at = models.DateTimeField(default=clock.unmoved)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-began_at",)
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=("account",), condition=Q(ended_at__isnull=True), name="one_dunning_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.account} since {self.began_at:%Y-%m-%d}"
