"""The policies of `EGRESS_ADMISSION`: each lets an app be enabled, or raises why not.

All are asked in the transaction that enables, so that what one locks stays so until the app is enabled.
"""

from django.conf import settings

from billing.models import BillingAccount, Dunning, MovementKind
from billing.models.collecting import STANDS
from billing.statements.month import forecast
from billing.words import money
from egress.control import clock
from egress.control.models import App, Assignment, AssignmentStatus, Wish
from egress.control.selectors import Actor
from portal.accounts.models import Team

from .errors import InvoicesUnpaid, PaymentMethodNeeded, QuotaReached, SpendLimitReached
from .figures import rest_of_month_cents

#: Not billed yet, and so in no forecast, though wanted.
_TO_COME = (AssignmentStatus.PROVISIONING, AssignmentStatus.ERROR)


def payment_method(*, app: App, actor: Actor) -> None:  # noqa: ARG001  # every policy is called so
    """Refuse a team without a payment method, where Stripe collects and the installation wants one."""
    if not (settings.STRIPE_SECRET_KEY and settings.BILLING_PAYMENT_METHOD_NEEDED):
        return
    if not BillingAccount.objects.filter(team=app.team_id).exclude(payment_method="").exists():
        raise PaymentMethodNeeded


def debt(*, app: App, actor: Actor) -> None:  # noqa: ARG001  # every policy is called so
    """Refuse a team whose egress was disabled for its debts: dunning would only take it away again."""
    if Dunning.objects.filter(account__team=app.team_id, ended_at=None, disabled_at__isnull=False).exists():
        raise InvoicesUnpaid


def quota(*, app: App, actor: Actor) -> None:  # noqa: ARG001  # every policy is called so
    """Refuse a team that has as many apps as it may. Of many that are enabled at once, each is counted."""
    allowed, unpaid = _quota_of(BillingAccount.objects.filter(team=app.team_id).first())
    if allowed is None:
        return
    _lock(app)
    # Until its addresses are released, a disabled one still has its servers.
    there = Assignment.objects.filter(app__team=app.team_id).exclude(status=AssignmentStatus.RELEASED)
    count = there.count()
    if count < allowed:
        return
    leaving = there.filter(wish=Wish.DISABLED).count()
    raise QuotaReached(" ".join(_quota_words(allowed, count, leaving, unpaid=unpaid)))


def spend_limit(*, app: App, actor: Actor) -> None:  # noqa: ARG001  # every policy is called so
    """Refuse what would take the month beyond the team's limit, if all that runs goes on. Nothing that runs is cut."""
    account = BillingAccount.objects.filter(team=app.team_id).select_related("team").first()
    if account is None or account.spend_limit_cents is None:
        return
    _lock(app)
    now = clock.now()
    others = Assignment.objects.filter(app__team=app.team_id, wish=Wish.ENABLED, status__in=_TO_COME)
    coming = [each.cluster for each in others.select_related("cluster")]
    expected = forecast(account.team, now)
    expected += sum(rest_of_month_cents(cluster, account.currency, now) for cluster in coming)
    more = rest_of_month_cents(app.cluster, account.currency, now)
    if expected + more <= account.spend_limit_cents:
        return
    limit, currency = account.spend_limit_cents, account.currency
    raise SpendLimitReached(
        f"The spend limit of {account.team} is {money(limit, currency)} a month. What is enabled now is expected to"
        f" come to {money(expected, currency)} by the end of {now:%B}, and {app} would add up to"
        f" {money(more, currency)}."
        " An owner can raise the limit under Billing, or disable dedicated egress of another app."
        " What runs already is never cut."
    )


def _quota_of(account: BillingAccount | None) -> tuple[int | None, bool]:
    """Return how many apps may be enabled, None for no limit, and whether a first payment would raise it."""
    if account and account.quota is not None:
        return account.quota, False
    if settings.STRIPE_SECRET_KEY and (account is None or account.first_paid_at is None):
        return settings.BILLING_QUOTA_BEFORE_PAYMENT, True
    if account and settings.STRIPE_SECRET_KEY and _paid_by_a_stolen_card(account):
        return settings.BILLING_QUOTA_BEFORE_PAYMENT, False
    return settings.BILLING_QUOTA or None, False


def _paid_by_a_stolen_card(account: BillingAccount) -> bool:
    """Say whether a cardholder says so and the bank doesn't deny it: such a payment raises no quota."""
    disputes = account.movements.filter(kind=MovementKind.DISPUTE, reason="fraudulent")
    return disputes.exclude(status__in=STANDS).exists()


def _quota_words(allowed: int, count: int, leaving: int, *, unpaid: bool) -> list[str]:
    words = [f"This team has dedicated egress for {count} app{'' if count == 1 else 's'}, and may have {allowed}."]
    if leaving:
        words.append(f"{leaving} of them {'is' if leaving == 1 else 'are'} being disabled: wait until it is released.")
    if unpaid:
        words.append("The number rises with the team's first payment.")
    words.append("Disable it for another app, or ask the platform's operators for more.")
    return words


def _lock(app: App) -> None:
    """Let others who enable for this team wait until this one is done."""
    Team.objects.select_for_update(no_key=True).get(pk=app.team_id)
