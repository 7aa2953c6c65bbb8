"""A team as Stripe's customer: made once, told its address and tax ids; its payment method, and two pages of Stripe's.

Each step looks first and may be taken twice.
"""

import hashlib
import json
from typing import Any, NamedTuple

from django.conf import settings

from billing.models import BillingAccount
from portal.accounts.models import Role, Team, User

from . import calls
from .seen import SeenMethod

#: What `details_change` may change.
DETAILS = frozenset({"email", "name", "address", "tax_ids", "po_number"})


class Urls(NamedTuple):
    """Where Stripe's page leads back to."""

    success: str
    cancel: str


def account_of(team: Team) -> BillingAccount:
    """Return the team's paying side; it is made when it is first asked for."""
    return BillingAccount.objects.get_or_create(team=team)[0]


def details_change(team: Team, **fields: Any) -> BillingAccount:
    """Change these of `DETAILS`, and tell Stripe where it knows the team.

    Raises Refused with Stripe's words, such as about a tax id, and CollectingError: nothing is changed then.
    """
    if unknown := fields.keys() - DETAILS:
        raise ValueError(f"{', '.join(sorted(unknown))} of a billing account can't be changed.")
    account = account_of(team)
    for name, value in fields.items():
        setattr(account, name, value)
    account.full_clean()
    if account.stripe_customer and _digest(account) != account.told_digest:
        # Until all is told: what Stripe took of it before it refused the rest is set back when it is next told.
        BillingAccount.objects.filter(pk=account.pk).update(told_digest="")
        _describe(account)
        account.told_digest = _digest(account)
    BillingAccount.objects.filter(pk=account.pk).update(**fields, told_digest=account.told_digest)
    return account


def known(account: BillingAccount) -> str:
    """Return Stripe's id of the customer, who knows all details; what is missing is done first."""
    if not account.stripe_customer:
        team = str(account.team_id)
        made = calls.customer_find(team) or calls.customer_create(team, f"{settings.INSTALLATION_ID}-customer-{team}")
        # Who was first stays: with one key Stripe made one customer.
        BillingAccount.objects.filter(pk=account.pk, stripe_customer="").update(stripe_customer=made)
        account.refresh_from_db()
    told_digest = _digest(account)
    if told_digest != account.told_digest:
        _describe(account)
        # Details that changed meanwhile have another digest, and are told next time.
        BillingAccount.objects.filter(pk=account.pk).update(told_digest=told_digest)
        account.told_digest = told_digest
    return account.stripe_customer


def setup_session(team: Team, urls: Urls | tuple[str, str]) -> str:
    """Return the address of Stripe's page that takes down a payment method; 3-D Secure happens there.

    Its webhook makes it the team's own; `method_refresh` does so, too, when the customer is back first.
    """
    account = account_of(team)
    success, cancel = urls
    customer = known(account)
    return calls.setup_page(customer, success_url=success, cancel_url=cancel, currency=account.currency)


def portal_session(team: Team, url: str) -> str:
    """Return the address of Stripe's customer portal, for cards and invoices; it leads back to `url`."""
    return calls.portal_page(known(account_of(team)), return_url=url)


def method_refresh(team: Team, *, session: str = "") -> BillingAccount:
    """See what Stripe has as the team's payment method and balance; the newest method is taken if none is preferred.

    `session`: the page of Stripe's that somebody says they come from; what it took down is preferred. Stripe refuses
    what belongs to another customer.
    """
    account = account_of(team)
    if account.stripe_customer:
        _mirror(account, calls.setup_method(session) if session else None)
    return account


def customer_changed(customer: str, *, session: str = "") -> BillingAccount | None:
    """See a customer anew, after a page of Stripe's (`session`) took down a method; None if it is none of ours.

    An old session that is told late doesn't displace a younger method.
    """
    account = BillingAccount.objects.filter(stripe_customer=customer).select_related("team").first()
    if account is not None:
        _mirror(account, calls.setup_method(session) if session else None)
    return account


def _mirror(account: BillingAccount, taken: SeenMethod | None) -> None:
    seen = calls.customer_see(account.stripe_customer)
    method = seen.method
    if method is None and taken is None:
        taken = next(iter(calls.methods_of(account.stripe_customer)), None)
    # Of two of the same second, the one that was taken down by the page that is told of.
    if taken and (method is None or (taken.id != method.id and taken.made_at >= method.made_at)):
        calls.method_prefer(account.stripe_customer, taken.id)
        method = taken
    BillingAccount.objects.filter(pk=account.pk).update(
        payment_method=method.id if method else "",
        payment_brand=method.brand if method else "",
        payment_last4=method.last4 if method else "",
        balance_cents=seen.balance_cents,
    )
    account.refresh_from_db()


def _describe(account: BillingAccount) -> None:
    name, email = _addressee(account)
    calls.customer_describe(account.stripe_customer, name=name, email=email, address=account.address)
    calls.customer_tax_ids(account.stripe_customer, [(tax["type"], tax["value"]) for tax in account.tax_ids])


def _digest(account: BillingAccount) -> str:
    told = [*_addressee(account), account.address, account.tax_ids]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _addressee(account: BillingAccount) -> tuple[str, str]:
    """Return name and e-mail address; the team's and its first owner's where none was given."""
    owners = User.objects.filter(memberships__team=account.team_id, memberships__role=Role.OWNER, is_active=True)
    email = account.email or owners.order_by("pk").values_list("email", flat=True).first() or ""
    return account.name or account.team.name, email
