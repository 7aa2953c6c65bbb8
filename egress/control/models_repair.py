"""What repair keeps: which gateway takes another's place, and where it has stopped."""

from django.db import models
from django.db.models import Q

#: Gateways that have their slot: not those made to take one over, nor those that left it.
IN_PLACE = Q(replaces__isnull=True) & ~Q(provisioning_status__in=("deleting", "deleted"))
#: Of each slot, and of those made to take it over.
ONE_AT_A_TIME = (
    models.UniqueConstraint(fields=("assignment", "slot"), condition=IN_PLACE, name="one_gateway_per_slot"),
    models.UniqueConstraint(
        fields=("replaces",), condition=~Q(provisioning_status="deleted"), name="one_successor_at_a_time"
    ),
)


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
