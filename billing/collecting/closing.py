"""Close a team's account: its egress ends, its last month is invoiced like any other, then its card is forgotten."""

import logging
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef

from billing.models import BillingAccount, Invoice, Statement
from billing.models.collecting import ENDED
from egress.control import clock, installation
from egress.control.models import App, Assignment, AssignmentStatus
from egress.control.services import egress_disable
from portal.accounts.models import Team, User

from . import calls
from .customers import account_of, method_refresh
from .door import is_set_up
from .errors import Gone, Refused, StripeUnavailable
from .refusals import refuse

log = logging.getLogger(__name__)

#: After the end of the month in which an account was closed its statement is there, if there is to be one: a month
#: is closed a day after its end.
SETTLED: Final = timedelta(days=3)
BATCH: Final = 50


def close_account(team: Team, *, actor: User) -> BillingAccount:
    """Disable the egress of all apps of `team`, and note that it leaves; its final invoice is that of this month.

    May be called twice. Raises NotAllowed for who may not disable.
    """
    account = account_of(team)
    for app in App.objects.filter(team=team):
        egress_disable(app=app, actor=actor)
    BillingAccount.objects.filter(pk=account.pk, closed_at=None).update(closed_at=clock.now())
    account.refresh_from_db()
    return account


def sweep() -> None:
    """Forget the cards of accounts that are closed and owe nothing."""
    if not is_set_up() or installation.why_still():
        return
    pending = Invoice.objects.filter(account=OuterRef("pk")).exclude(status__in=ENDED)
    unbilled = Statement.objects.filter(team=OuterRef("team"), invoice=None)
    in_use = Assignment.objects.filter(app__team=OuterRef("team")).exclude(status=AssignmentStatus.RELEASED)
    closed = BillingAccount.objects.filter(closed_at__isnull=False, settled_at=None)
    done_with = closed.filter(~Exists(pending), ~Exists(unbilled), ~Exists(in_use)).select_related("team")
    for account in done_with.order_by("closed_at", "pk")[:BATCH]:
        if account.closed_at and clock.now() > _settled_at(account.closed_at):
            try:
                _settle(account)
            except StripeUnavailable as error:
                log.warning("closing waits: %s", error)
                return
            except Refused as error:
                # Others' closing mustn't wait for this one.
                _leave_to_operators(account, error)


def _settle(account: BillingAccount) -> None:
    # Its newest one would be taken for the default else.
    for method in calls.methods_of(account.stripe_customer) if account.stripe_customer else []:
        with suppress(Gone):
            calls.method_forget(method.id)
    seen = method_refresh(account.team)
    if seen.balance_cents < 0:
        left = f"{account} is closed, and has {-seen.balance_cents} cents in hand at Stripe: pay them back."
        refuse(step="account.close", code="money_left", message=left, account=account)
    BillingAccount.objects.filter(pk=account.pk).update(settled_at=clock.now())


def _leave_to_operators(account: BillingAccount, error: Refused) -> None:
    message = (
        f"{account} is closed, but Stripe refuses to forget its cards: {error} See to its cards and balance there."
    )
    with transaction.atomic():
        refuse(step="account.close", code=(error.reason or error.code)[:64], message=message, account=account)
        BillingAccount.objects.filter(pk=account.pk).update(settled_at=clock.now())


def _settled_at(closed_at: datetime) -> datetime:
    next_month = (closed_at.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(
        day=1
    )
    return next_month + SETTLED
