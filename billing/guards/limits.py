"""What a team sets itself."""

from django.db import transaction

from billing.models import BillingAccount
from portal.accounts.models import Team


def limits_change(*, team: Team, budget_cents: int | None, spend_limit_cents: int | None) -> BillingAccount:
    """Set a team's budget and spend limit; None is none. The account is made where there is none yet."""
    with transaction.atomic():
        account, _ = BillingAccount.objects.get_or_create(team=team)
        account.budget_cents, account.spend_limit_cents = budget_cents, spend_limit_cents
        account.save(update_fields=["budget_cents", "spend_limit_cents"])
    return account
