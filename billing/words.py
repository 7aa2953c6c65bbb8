"""How amounts and lengths of time are written, on pages and in messages."""

from decimal import Decimal

from billing.models.collecting import STANDS

#: What stands before an amount; other currencies by their code.
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}
MINUS = "\N{MINUS SIGN}"
HOUR, MINUTE = 3600, 60


def money(cents: int, currency: str) -> str:
    """Write an amount of hundredths, as in $1,234.50 or CHF 12.00."""
    amount = f"{Decimal(abs(cents)) / 100:,.2f}"
    return f"{MINUS if cents < 0 else ''}{sign(currency)}{amount}"


def dispute(status: str) -> str:
    """Say how a dispute stands, in the customer's words; "" once the payment stands after all."""
    if status in STANDS:
        return ""
    return "Paid back by the bank" if status == "lost" else "Disputed"


def movement(kind: str, status: str) -> str:
    """Say what became of a payment, refund, credit note or dispute."""
    if kind != "dispute":
        return status.replace("_", " ")
    return {"": "the payment stands", "Disputed": "the bank decides"}.get(dispute(status), "the bank paid it back")


def sign(currency: str) -> str:
    """Return what stands before an amount."""
    return SIGNS.get(currency) or f"{currency} "


def hours(seconds: int) -> str:
    """Write a length of time to the second, as in 671 h 59 min 3 s; 0 h is none."""
    whole, rest = divmod(abs(seconds), HOUR)
    minutes, left = divmod(rest, MINUTE)
    words = [f"{whole:,} h" if whole else "", f"{minutes} min" if minutes else "", f"{left} s" if left else ""]
    return (MINUS if seconds < 0 else "") + (" ".join(word for word in words if word) or "0 h")
