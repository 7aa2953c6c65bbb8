"""The forms of billing's pages."""

from decimal import Decimal
from typing import Any

from django import forms

from billing.models import BillingAccount

#: Nobody means more; and a cent is the least.
LEAST, MOST = Decimal("0.01"), Decimal(10_000_000)
CENTS = 100


class LimitsForm(forms.Form):
    """A team's budget and spend limit, in units of its currency; empty is none."""

    budget = forms.DecimalField(required=False, min_value=LEAST, max_value=MOST, decimal_places=2)
    spend_limit = forms.DecimalField(required=False, min_value=LEAST, max_value=MOST, decimal_places=2)

    @classmethod
    def of(cls, account: BillingAccount, data: Any = None) -> "LimitsForm":
        """Return the form with what is set."""
        initial = {
            "budget": _units(account.budget_cents),
            "spend_limit": _units(account.spend_limit_cents),
        }
        return cls(data, initial=initial)

    def cents(self) -> dict[str, int | None]:
        """Return both in cents, as the account has them."""
        return {f"{name}_cents": _cents(self.cleaned_data[name]) for name in ("budget", "spend_limit")}


def _units(cents: int | None) -> str:
    return "" if cents is None else f"{Decimal(cents) / CENTS:.2f}"


def _cents(amount: Decimal | None) -> int | None:
    return None if amount is None else int(amount * CENTS)
