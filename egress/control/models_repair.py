"""What repair keeps: which gateway takes another's place, and where it has stopped."""

from django.db import models


class Successor(models.Model):
    """A gateway may be made to take the place of another; until it does, it is none of its pair."""

    #: The gateway in its slot that it is made to replace; None from the moment that it has.
    replaces = models.ForeignKey("self", models.PROTECT, null=True, related_name="successors", editable=False)

    class Meta:
        abstract = True


class ClusterRepair(models.Model):
    """Where repair stands still in a cluster, and why: so many gateways look bad that it must be our view."""

    cluster = models.OneToOneField("control.Cluster", models.CASCADE, related_name="repair")
    stopped_at = models.DateTimeField(null=True, editable=False)
    reason = models.TextField(blank=True, editable=False)
    #: An operator's word: until then it goes on however many are bad.
    allowed_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("cluster",)
        verbose_name_plural = "repair by cluster"

    def __str__(self) -> str:
        return f"{self.cluster}: {'stopped' if self.stopped_at else 'goes on'}"
