"""The seam between billing's pages and its rooms: what pages ask of collecting, and nothing else."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from billing.models import BillingAccount, Dunning, Invoice, InvoiceStatus, Notice
from portal.accounts.models import Team

#: On top of the pages.
NOTICES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaid:
    """An invoice whose payment failed."""

    invoice: Invoice


def collects() -> bool:
    """Say whether this installation takes money at all."""
    return bool(settings.STRIPE_SECRET_KEY)


def account_of(team: Team) -> BillingAccount:
    """Return the team's paying side; one that isn't stored where it has none yet."""
    return BillingAccount.objects.filter(team=team).first() or BillingAccount(team=team)


def failed_invoices(team: Team) -> list[Invoice]:
    """Return the invoices that are due and whose payment failed, oldest first."""
    rows = Invoice.objects.filter(account__team=team, status=InvoiceStatus.OPEN, failed_at__isnull=False)
    return list(rows.select_related("statement").order_by("statement__month")[:NOTICES_SHOWN])


def dunning_of(team: Team) -> Dunning | None:
    """Return the reminding that is under way."""
    return Dunning.objects.filter(account__team=team, ended_at=None).first()
