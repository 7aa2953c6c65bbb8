"""How invoices add up, in whole cents; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

#: What Stripe charges at least; less is carried over to the customer's next invoice.
MINIMUM_CHARGE_CENTS = 50
#: Percent of tax by country of the customer, a simple stand-in for Stripe Tax. Elsewhere nothing is collected.
TAX_PERCENT: Mapping[str, Decimal] = {
    "AT": Decimal(20),
    "CH": Decimal("8.1"),
    "DE": Decimal(19),
    "FR": Decimal(20),
    "GB": Decimal(20),
    "NL": Decimal(21),
}


@dataclass(frozen=True, slots=True)
class Totals:
    """What an invoice comes to, in cents. `taxes`: of each line, in order."""

    subtotal: int
    taxes: tuple[int, ...]
    tax: int
    total: int


def totals(amounts: Sequence[int], percent: Decimal) -> Totals:
    """Add lines up; tax comes on top, rounded half-even at each line."""
    taxes = tuple(int((amount * percent / 100).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)) for amount in amounts)
    subtotal, tax = sum(amounts), sum(taxes)
    return Totals(subtotal, taxes, tax, subtotal + tax)


def due(total: int, balance: int) -> tuple[int, int]:
    """Return what is to be paid, and the customer's balance after it, from an invoice's total and the balance before.

    A balance below zero is the customer's credit. What is too small to be charged stays on the balance.
    """
    owed = total + balance
    return (owed, 0) if owed >= MINIMUM_CHARGE_CENTS else (0, owed)


def percent_of(country: str | None, exempt: str) -> Decimal:
    """Return the percentage of tax that a customer in `country` pays; `exempt` is the customer's `tax_exempt`."""
    return TAX_PERCENT.get(country or "", Decimal(0)) if exempt == "none" else Decimal(0)


def without_tax(amount: int, subtotal: int, total: int) -> int:
    """Return the part of `amount` that isn't tax, in the proportion of an invoice's subtotal and total; half-even."""
    if total == 0:
        return amount
    return int((Decimal(amount) * subtotal / total).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
