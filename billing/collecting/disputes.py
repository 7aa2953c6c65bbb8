"""Look at Stripe for disputes that no webhook told of."""

import logging
from datetime import timedelta
from typing import Final

from billing.models import Invoice, Movement, MovementKind
from egress.control import clock, installation

from . import calls, mirror
from .door import is_set_up
from .errors import Refused, StripeUnavailable

log = logging.getLogger(__name__)

#: One is decided within some three months of being opened.
LOOKED_FOR: Final = timedelta(days=150)
BATCH: Final = 100


def look() -> None:
    """See anew the invoices whose disputes stand otherwise at Stripe than here: every hour, one list for all of them.

    Money is lost when a dispute isn't answered within days, and an invoice that is paid is looked at once a week. Those
    of payments that aren't ours, or aren't known yet, are passed over. Nothing while the installation stands still.
    """
    if not is_set_up() or installation.why_still():
        return
    try:
        seen = {each.id: each for each in calls.disputes_since(clock.unmoved() - LOOKED_FOR)}
        rows = Movement.objects.filter(kind=MovementKind.DISPUTE, stripe_id__in=seen)
        known = dict(rows.values_list("stripe_id", "status"))
        changed = {each.payment_intent for each in seen.values() if known.get(each.id) != each.status}
        for invoice in Invoice.objects.filter(movements__payment_intent__in=changed - {""}).distinct()[:BATCH]:
            _refresh(invoice)
    except StripeUnavailable as error:
        log.warning("disputes wait to be looked for: %s", error)


def _refresh(invoice: Invoice) -> None:
    try:
        mirror.refresh(invoice)
    except Refused as error:
        # The invoice's own look says it where an operator sees it; other disputes don't wait for it.
        log.warning("the disputes of %s can't be seen: %s", invoice, error)
