"""When a team's budget was looked at last."""

from django.db import models

from egress.control import clock

from .accounts import BillingAccount


class BudgetLook(models.Model):
    """One account's latest look: those that weren't for longest come first, so that each has its turn."""

    account = models.OneToOneField(BillingAccount, models.CASCADE, related_name="budget_look")
    looked_at = models.DateTimeField(default=clock.unmoved)

    def __str__(self) -> str:
        return f"{self.account}: {self.looked_at:%Y-%m-%d %H:%M:%S}"
