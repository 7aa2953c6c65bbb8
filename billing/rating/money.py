"""Amounts are exact fractions of the currency's unit until a line is done; then they are rounded, once, to cents.

Halves are rounded to the even cent, so that many lines together aren't biased.
"""

from decimal import Decimal
from fractions import Fraction

from .errors import CurrencyUnknown

CENTS = 100
#: Decimals of what is kept beside the cents.
EXACT_DECIMALS = 12
#: Those that Stripe takes and whose unit has a hundred cents.
CURRENCIES = frozenset(
    {"AUD", "BGN", "BRL", "CAD", "CHF", "CZK", "DKK", "EUR", "GBP", "HKD", "INR", "MXN", "NOK", "NZD"}
    | {"PLN", "RON", "SEK", "SGD", "USD", "ZAR"}
)


def known_currency(currency: str) -> str:
    """Return `currency` if amounts in it can be rated. Raises CurrencyUnknown."""
    if currency not in CURRENCIES:
        raise CurrencyUnknown(f"{currency!r} is no known currency; there are {', '.join(sorted(CURRENCIES))}.")
    return currency


def to_cents(amount: Fraction) -> int:
    """Round an amount to cents, halves to the even one."""
    return round(amount * CENTS)


def to_decimal(amount: Fraction) -> Decimal:
    """Return an amount with twelve decimals: to be kept and shown, not to be rounded again."""
    return Decimal(round(amount * 10**EXACT_DECIMALS)).scaleb(-EXACT_DECIMALS)


def in_words(cents: int, currency: str) -> str:
    """Write an amount for people, such as "12.50 USD"."""
    return f"{Decimal(cents).scaleb(-2):.2f} {currency}"
