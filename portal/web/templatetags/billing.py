"""How amounts, lengths and times of billing are written on pages."""

from datetime import date, datetime
from decimal import Decimal

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing import words
from billing.models import Invoice, InvoiceStatus, Movement

register = template.Library()

_PRICE_DIGITS = 4
_TONES = {
    InvoiceStatus.OPEN: "warn",
    InvoiceStatus.PAID: "ok",
    InvoiceStatus.NOTHING: "ok",
    InvoiceStatus.CREDITED: "ok",
    InvoiceStatus.UNCOLLECTIBLE: "bad",
    InvoiceStatus.VOID: "off",
}


@register.filter
def money(cents: int, currency: str) -> str:
    """Write an amount of cents."""
    return words.money(cents, currency)


@register.filter
def hours(seconds: int) -> str:
    """Write a length of time to the second."""
    return words.hours(seconds)


@register.filter
def month(day: date) -> str:
    """Write a month, as in November 2026."""
    return f"{day:%B %Y}"


@register.filter
def utc(at: datetime) -> SafeString:
    """Write a time to the second in UTC, by which is billed."""
    return format_html('<time datetime="{}">{}</time>', f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S}")


@register.filter
def percent(part: int, whole: int) -> int:
    """Return how much of `whole` a part is, in percent: 0 to 100."""
    return min(max(round(part * 100 / whole), 0), 100) if whole > 0 else 0


@register.filter
def day(at: date | datetime) -> str:
    """Write a day, as in 5 November 2026."""
    return f"{at.day} {at:%B %Y}"


@register.filter
def price(per_hour: str, currency: str) -> str:
    """Write a price per hour, whose digits go beyond cents: four of them at least."""
    amount = Decimal(per_hour).normalize()
    digits = max(_PRICE_DIGITS, -int(amount.as_tuple().exponent))
    return f"{words.sign(currency)}{amount:.{digits}f}"


@register.filter
def invoice_tone(invoice: Invoice) -> str:
    """Return which colour and shape stand beside an invoice's state."""
    if invoice.status == InvoiceStatus.OPEN and invoice.failed_at:
        return "bad"
    return _TONES.get(InvoiceStatus(invoice.status), "busy")


@register.filter
def dispute_words(movement: Movement) -> str:
    """Say how a dispute stands; "" once it is over and the payment stands."""
    return words.dispute(movement.status)


@register.filter
def movement_words(movement: Movement) -> str:
    """Say what became of a payment, refund, credit note or dispute."""
    return words.movement(movement.kind, movement.status)


@register.filter
def positive(cents: int) -> int:
    """Return an amount without its sign."""
    return abs(cents)
