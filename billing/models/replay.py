"""Made-up history: what a lab's ledger was filled with, and how far that got."""

from django.db import models

from egress.control.models import Cluster
from portal.accounts.models import User


class Replay(models.Model):
    """One history that is played: the same seed, months and apps give the same one. There is one row, of the number 1.

    What it plays lies in a cluster of its own, and has no servers.
    """

    seed = models.BigIntegerField()
    first_month = models.DateField()
    months = models.PositiveIntegerField()
    apps = models.PositiveIntegerField()
    cluster = models.OneToOneField(Cluster, models.PROTECT, related_name="replay")
    #: Who enables and disables in it: an owner of its teams.
    actor = models.ForeignKey(User, models.PROTECT, related_name="+")
    #: What happens up to here is written. Moved on in the transaction that writes it.
    played_until = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.months} months from {self.first_month:%Y-%m} on, {self.apps} apps, seed {self.seed}"
