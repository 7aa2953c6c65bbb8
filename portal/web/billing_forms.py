"""The forms of billing's pages."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms

from billing.countries import COUNTRIES
from billing.models import BillingAccount
from billing.tax_ids import TAX_ID_KINDS

#: Nobody means more; and a cent is the least.
LEAST, MOST = Decimal("0.01"), Decimal(10_000_000)
CENTS = 100
#: Stripe's names of an address's parts.
_ADDRESS = ("line1", "line2", "postal_code", "city", "state", "country")


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


class DetailsForm(forms.Form):
    """Whom invoices are addressed to. An address is whole or empty, and so is a tax id."""

    name = forms.CharField(required=False, max_length=200)
    email = forms.EmailField(required=False, max_length=254)
    line1 = forms.CharField(required=False, max_length=200)
    line2 = forms.CharField(required=False, max_length=200)
    postal_code = forms.CharField(required=False, max_length=20)
    city = forms.CharField(required=False, max_length=100)
    state = forms.CharField(required=False, max_length=100)
    country = forms.ChoiceField(required=False, choices=[("", ""), *COUNTRIES.items()])
    tax_kind = forms.ChoiceField(required=False, choices=[("", ""), *TAX_ID_KINDS.items()])
    tax_value = forms.CharField(required=False, max_length=40)
    po_number = forms.CharField(required=False, max_length=100)
    #: Those that operators added: the form shows the first only, and leaves them as they are.
    more_tax_ids: Sequence[dict[str, str]] = ()

    @classmethod
    def of(cls, account: BillingAccount, data: Any = None) -> "DetailsForm":
        """Return the form with what is known."""
        first = account.tax_ids[0] if account.tax_ids else {"type": "", "value": ""}
        plain = {name: getattr(account, name) for name in ("name", "email", "po_number")}
        form = cls(data, initial={**account.address, **plain, "tax_kind": first["type"], "tax_value": first["value"]})
        form.more_tax_ids = account.tax_ids[1:]
        return form

    def clean(self) -> dict[str, Any]:
        """Refuse halves."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        address = {name: cleaned.get(name, "") for name in _ADDRESS}
        if any(address.values()):
            for name, what in {"line1": "the street", "city": "the city", "country": "the country"}.items():
                if not address[name] and name not in self.errors:
                    self.add_error(name, f"An address needs {what}, too. Fill it in, or empty the whole address.")
        if bool(cleaned.get("tax_kind")) != bool(cleaned.get("tax_value")) and "tax_value" not in self.errors:
            self.add_error("tax_value", "A tax id has a kind and a number. Give both, or neither.")
        return cleaned

    def fields_of_account(self) -> dict[str, Any]:
        """Return what was given as the account has it."""
        given = self.cleaned_data
        kind, value = given["tax_kind"], given["tax_value"]
        return {
            **{name: given[name] for name in ("name", "email", "po_number")},
            "address": {name: given[name] for name in _ADDRESS if given[name]},
            "tax_ids": [*([{"type": kind, "value": value}] if kind else []), *self.more_tax_ids],
        }
