"""Close a team's account: its egress ends, its last month is invoiced like any other, and then its card is forgotten."""

from billing.models import BillingAccount
from egress.control import clock
from egress.control.models import App
from egress.control.services import egress_disable
from portal.accounts.models import Team, User

from .customers import account_of


def close_account(team: Team, *, actor: User) -> BillingAccount:
    """Disable the egress of all apps of `team`, and note that it is leaving: what it used until now is its last bill.

    May be called twice. Raises NotAllowed for who may not disable.
    """
    account = account_of(team)
    for app in App.objects.filter(team=team):
        egress_disable(app=app, actor=actor)
    BillingAccount.objects.filter(pk=account.pk, closed_at=None).update(closed_at=clock.now())
    account.refresh_from_db()
    return account
