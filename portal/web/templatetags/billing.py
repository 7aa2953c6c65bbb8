"""How amounts, lengths and times of billing are written on pages."""

from datetime import date, datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing import words

register = template.Library()


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
