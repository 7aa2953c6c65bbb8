"""What is done to gateways on purpose: to one of them, or to all of a cluster, one pair member after the other."""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from portal.accounts.models import User

from . import clock

MAX_BATCH = 50


class Maintenance(models.TextChoices):
    """What a gateway is drained for; all between the first and the last keep its server, and bring it back."""

    #: It stays out of use until somebody takes it back.
    HOLD = "hold", "Kept out of use"
    REBOOT = "reboot", "Reboot"
    POWER_CYCLE = "power_cycle", "Power cycle"
    REBUILD = "rebuild", "Rebuild from a fresh image"
    #: Not this one: it gives way to a new server, with another address.
    REPLACE = "replace", "Replace by a new server"


class Maintained(models.Model):
    """What a gateway's row knows of its maintenance."""

    #: What it drains for, or is in maintenance for; "" while it is in use.
    maintenance = models.CharField(max_length=12, choices=Maintenance.choices, blank=True, editable=False)
    #: How often it came back from one.
    maintained = models.PositiveIntegerField(default=0, editable=False)
    #: The provider's id of the action under way; "" while none is known to be.
    action_id = models.CharField(max_length=64, blank=True, editable=False)
    #: The boot that the last maintenance ended: a report of that one doesn't make it ready.
    left_boot_id = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        abstract = True


class RolloutKind(models.TextChoices):
    """What a rollout does to each gateway."""

    REBOOT = Maintenance.REBOOT.value, "Reboot: a fresh start of what is installed"
    REBUILD = Maintenance.REBUILD.value, "Rebuild: OS updates by a fresh image, and this release's agent"


class RolloutStatus(models.TextChoices):
    """How far a rollout got."""

    #: The provider is being asked for the image.
    CHECKING = "checking"
    RUNNING = "running"
    #: By an operator.
    PAUSED = "paused"
    #: By itself: too many gateways didn't come back.
    STOPPED = "stopped"
    DONE = "done"
    ABORTED = "aborted"
    #: The image can't be used.
    REFUSED = "refused"


#: One of these holds its cluster.
UNDER_WAY = (RolloutStatus.CHECKING, RolloutStatus.RUNNING, RolloutStatus.PAUSED, RolloutStatus.STOPPED)


class Rollout(models.Model):
    """One kind of maintenance for all gateways that a cluster had when it began."""

    cluster = models.ForeignKey("control.Cluster", models.PROTECT, related_name="rollouts")
    kind = models.CharField(max_length=12, choices=RolloutKind.choices, default=RolloutKind.REBUILD)
    image = models.CharField(
        max_length=100,
        blank=True,
        help_text="For a rebuild: the image that the cluster's gateways have from now on. Empty: the one they have.",
    )
    batch = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_BATCH)],
        help_text="So many pairs at once; of a pair, one gateway after the other.",
    )
    max_failures = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_BATCH)],
        help_text="It stops by itself once so many gateways didn't come back.",
    )
    status = models.CharField(
        max_length=10, choices=RolloutStatus.choices, default=RolloutStatus.CHECKING, editable=False
    )
    #: Why it stopped, or was refused; or what the provider said when it couldn't be asked.
    reason = models.TextField(blank=True, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("cluster",), condition=Q(status__in=UNDER_WAY), name="one_rollout_under_way_per_cluster"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.cluster} ({self.status})"


class ItemState(models.TextChoices):
    """How far a rollout got with one gateway."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    #: It was deleted, with its app's egress, before its turn or during it.
    SKIPPED = "skipped"


class RolloutItem(models.Model):
    """One gateway of a rollout."""

    rollout = models.ForeignKey(Rollout, models.CASCADE, related_name="items", editable=False)
    gateway = models.ForeignKey("control.Gateway", models.PROTECT, related_name="rollout_items", editable=False)
    state = models.CharField(max_length=10, choices=ItemState.choices, default=ItemState.WAITING, editable=False)
    #: Why it failed, was skipped or had to be tried again.
    note = models.TextField(blank=True, editable=False)
    #: The gateway's count of maintenances when its turn began: a higher one is this rollout's doing.
    maintained_before = models.PositiveIntegerField(default=0, editable=False)
    begun_at = models.DateTimeField(null=True, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("rollout", "pk")
        constraints = (models.UniqueConstraint(fields=("rollout", "gateway"), name="gateway_once_in_rollout"),)
        indexes: ClassVar = [models.Index(fields=("rollout", "state"))]

    def __str__(self) -> str:
        return f"{self.gateway}: {self.state}"
