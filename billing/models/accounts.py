"""Who pays: what a team is at Stripe, and what it may cost."""

from django.db import models

from egress.control import clock
from portal.accounts.models import Team


class BillingAccount(models.Model):
    """A team's paying side; there is one for each team that was ever billed, made when it is first needed."""

    team = models.OneToOneField(Team, models.PROTECT, related_name="billing_account")
    currency = models.CharField(max_length=3, default="USD")
    #: "" until Stripe knows the team.
    stripe_customer = models.CharField(max_length=64, blank=True, editable=False)
    #: Stripe's id of the default payment method, and what of it may be shown; "" without one.
    payment_method = models.CharField(max_length=64, blank=True, editable=False)
    payment_brand = models.CharField(max_length=32, blank=True, editable=False)
    payment_last4 = models.CharField(max_length=4, blank=True, editable=False)
    #: When a first invoice was paid: quotas rise.
    first_paid_at = models.DateTimeField(null=True, editable=False)
    #: What invoices are addressed to.
    email = models.EmailField(blank=True)
    name = models.CharField(max_length=200, blank=True)
    #: Stripe's names: line1, line2, city, state, postal_code and country (two letters).
    address = models.JSONField(default=dict, blank=True)
    #: [{"type": "eu_vat", "value": "DE123456789"}], by Stripe's types.
    tax_ids = models.JSONField(default=list, blank=True)
    po_number = models.CharField(max_length=100, blank=True)
    #: What Stripe was told of all that, as a digest; "" when it must be told (again).
    told_digest = models.CharField(max_length=64, blank=True, editable=False)
    #: Stripe's balance of the customer, in cents: below zero is money in hand, which lowers the next invoice.
    balance_cents = models.BigIntegerField(default=0, editable=False)
    #: Apps that may be enabled at once; None: as the installation's policy says.
    quota = models.PositiveIntegerField(null=True, blank=True)
    #: What a month may cost before nothing more is enabled, in cents; None: no limit. And what mails of 50, 80 and
    #: 100 % are counted from.
    spend_limit_cents = models.PositiveBigIntegerField(null=True, blank=True)
    budget_cents = models.PositiveBigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    closed_at = models.DateTimeField(null=True, editable=False)
    #: When all that a closed account owed was settled, and its payment method forgotten.
    settled_at = models.DateTimeField(null=True, editable=False)

    def __str__(self) -> str:
        return str(self.team)
