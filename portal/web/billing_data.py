"""What billing's pages ask of collecting, at one place."""

import logging
from typing import Any

from django.conf import settings

from billing.collecting import customers
from billing.collecting.door import is_set_up
from billing.collecting.errors import CollectingError, Refused
from billing.models import BillingAccount, Dunning, Invoice, InvoiceStatus
from portal.accounts.models import Team

log = logging.getLogger(__name__)

#: On top of the pages.
FAILED_SHOWN = 5
#: How the ids of Stripe's pages for cards begin.
SESSION_PREFIX = "cs_"


def collects() -> bool:
    """Say whether this installation takes money at all."""
    return is_set_up()


def account_of(team: Team) -> BillingAccount:
    """Return the team's paying side; one that isn't stored where it has none yet: to look is to change nothing."""
    account: BillingAccount | None = getattr(team, "billing_account", None)
    return account or BillingAccount(team=team, currency=settings.BILLING_CURRENCY)


def failed_invoices(team: Team) -> list[Invoice]:
    """Return the invoices that are due and whose payment failed, oldest first."""
    rows = Invoice.objects.filter(account__team=team, status=InvoiceStatus.OPEN, failed_at__isnull=False)
    return list(rows.select_related("statement").order_by("statement__month")[:FAILED_SHOWN])


def dunning_of(team: Team) -> Dunning | None:
    """Return the reminding that is under way."""
    return Dunning.objects.filter(account__team=team, ended_at=None).first()


def change_details(team: Team, **fields: Any) -> str:
    """Change whom invoices are addressed to; returns why Stripe refuses it, "" where it doesn't.

    Raises CollectingError where Stripe can't be asked: nothing is changed then.
    """
    try:
        customers.details_change(team, **fields)
    except Refused as refusal:
        return f"{refusal} Nothing was changed: correct it and save again."
    return ""


def stripe_page(team: Team, which: str, back: str) -> str:
    """Return the address of Stripe's page that takes down a payment method, or of its customer portal ("portal").

    Both lead back to `back`. Raises CollectingError.
    """
    returned = f"{back}?back=stripe"
    if which == "portal":
        return customers.portal_session(team, returned)
    # Stripe puts the page's id in that place.
    return customers.setup_session(team, (f"{returned}&session={{CHECKOUT_SESSION_ID}}", back))


def refresh_method(team: Team, session: str = "") -> None:
    """See which payment method Stripe has now: its webhook may come later than the customer, back from `session`."""
    try:
        customers.method_refresh(team, session=session if session.startswith(SESSION_PREFIX) else "")
    except CollectingError as error:
        # The webhook tells it anyway.
        log.warning("the payment method of %s isn't known yet: %s", team, error)
