"""What an operator should look at first about money: conditions that lists filter by and metrics count."""

from django.db.models import Q

from billing.models import InvoiceStatus
from egress.control.attention import Concern

#: Where Stripe, or the bank behind it, waits for us.
_DISPUTED = ("needs_response", "warning_needs_response", "appeal_needs_response")


def refusal_concerns() -> tuple[Concern, ...]:
    """Return what waits for a decision."""
    return (Concern(key="undecided", label="Refused, decide", where=Q(decided_at=None)),)


def invoice_concerns() -> tuple[Concern, ...]:
    """Return what may be wrong with an invoice."""
    unpaid = Q(status=InvoiceStatus.OPEN, failed_at__isnull=False)
    return (
        Concern(key="failing", label="Failing, tries again", where=Q(attempts__gt=0, due_at__isnull=False)),
        Concern(key="unpaid", label="Payment failed", where=unpaid),
    )


def movement_concerns() -> tuple[Concern, ...]:
    """Return what may be wrong with payments."""
    return (Concern(key="disputed", label="Dispute, answer at Stripe", where=Q(status__in=_DISPUTED, kind="dispute")),)


def event_concerns() -> tuple[Concern, ...]:
    """Return what may be wrong with webhooks."""
    return (Concern(key="waiting", label="Failing, tries again", where=Q(attempts__gt=0, due_at__isnull=False)),)
