"""Try again to take what could not be taken, once there is another payment method."""

import logging

from billing.models import BillingAccount, Invoice, InvoiceStatus

from . import calls, mirror
from .errors import Refused

log = logging.getLogger(__name__)

#: Of one account, at once.
BATCH = 20


def pay_failed(account: BillingAccount) -> None:
    """Ask Stripe to take the account's failed invoices by its present method: once for each method.

    A decline is no error: Stripe goes on trying by its own schedule, and so does dunning.
    """
    if not account.payment_method:
        return
    failed = Invoice.objects.filter(account=account, status=InvoiceStatus.OPEN, failed_at__isnull=False)
    for invoice in failed.order_by("finalized_at")[:BATCH]:
        try:
            calls.invoice_pay(invoice.stripe_id, f"{invoice.pk}-pay-{account.payment_method}")
        except Refused as error:
            log.info("invoice %s is still unpaid: %s", invoice.pk, error.reason)
        mirror.refresh(invoice)
