"""How amounts are written."""

from decimal import Decimal

#: What stands before an amount; other currencies by their code.
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}


def money(cents: int, currency: str) -> str:
    """Write an amount of hundredths, as in $1,234.50, −$3.00 or CHF 12.00."""
    amount = f"{Decimal(abs(cents)) / 100:,.2f}"
    sign = SIGNS.get(currency)
    return f"{'−' if cents < 0 else ''}{sign or f'{currency} '}{amount}"
