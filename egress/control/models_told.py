"""Rows about how apps fare: what nodes told of it with their own times, and what customers are told."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from portal.accounts.models import Team, User

from . import clock


class OnOutage(models.TextChoices):
    """Where an app's new connections go while neither of its gateways can be used: the owner's choice."""

    REJECT = "reject", "Block them"
    SHARED = "shared", "Use shared addresses"


class Pivot(models.Model):
    """Where a pair's new connections went on one node from `at` on: billing's evidence, kept for `KEPT_DAYS`."""

    node = models.ForeignKey("control.Node", models.CASCADE, related_name="pivots")
    #: The node's own count. Together with `at` it says what was told before: a node that lost its disk begins anew.
    number = models.PositiveBigIntegerField()
    #: By the node's clock, which no lab moves.
    at = models.DateTimeField()
    #: The same by the control plane's, as that was when it was told: a lab that lets months pass moves no old outage.
    moved_at = models.DateTimeField()
    assignment = models.ForeignKey("control.Assignment", models.CASCADE, related_name="pivots")
    #: None where none could be used: the app was out on this node.
    gateway = models.ForeignKey("control.Gateway", models.CASCADE, null=True, related_name="+")
    reason = models.CharField(max_length=200, blank=True)
    told_at = models.DateTimeField(default=clock.unmoved, db_index=True)

    class Meta:
        ordering = ("at", "number")
        constraints = (models.UniqueConstraint(fields=("node", "number", "at"), name="pivot_told_once"),)
        indexes: ClassVar = [
            models.Index(fields=("assignment", "moved_at")),
            # Few of all: who was out is asked for every hour.
            models.Index(fields=("assignment", "moved_at"), condition=Q(gateway__isnull=True), name="pivot_to_none"),
        ]

    def __str__(self) -> str:
        return f"{self.node} #{self.number}: {self.gateway or 'none'}"


class Carry(models.Model):
    """A time in which a node reported containers of an app with dedicated egress; open while `until` is None.

    By the arrival of reports, as the control plane counts time.
    """

    node = models.ForeignKey("control.Node", models.CASCADE, related_name="carries")
    assignment = models.ForeignKey("control.Assignment", models.CASCADE, related_name="carries")
    since = models.DateTimeField(default=clock.now)
    until = models.DateTimeField(null=True)

    class Meta:
        ordering = ("since",)
        constraints = (
            models.UniqueConstraint(
                fields=("node", "assignment"), condition=Q(until__isnull=True), name="one_open_carry_per_node"
            ),
        )

    def __str__(self) -> str:
        return f"{self.assignment} on {self.node}"


class Standing(models.Model):
    """How an assignment stood when it was last looked at, and what of that its team was told."""

    assignment = models.OneToOneField("control.Assignment", models.CASCADE, related_name="standing")
    #: A value of `condition.State`.
    state = models.CharField(max_length=12)
    since = models.DateTimeField(default=clock.now)
    #: The state that was told of last, by a notification.
    told = models.CharField(max_length=12)
    told_at = models.DateTimeField(default=clock.now)
    #: Its addresses by slot, "" for one that is lost.
    addresses = models.JSONField(default=list)
    looked_at = models.DateTimeField(default=clock.now)

    def __str__(self) -> str:
        return f"{self.assignment}: {self.state}"


class Notification(models.Model):
    """One thing that a team is told about an app: in the portal, and by mail. It carries its own words."""

    class Kind(models.TextChoices):
        """What it tells."""

        OUTAGE = "outage", "Both gateways down"
        OUTAGE_OVER = "outage_over", "Outage over"
        DEGRADED = "degraded", "One gateway down"
        WHOLE = "whole", "Both gateways work again"
        ADDRESS_LOST = "address_lost", "Address lost"
        ADDRESS_REPLACED = "address_replaced", "Address replaced"

    team = models.ForeignKey(Team, models.CASCADE, related_name="notifications")
    app = models.ForeignKey("control.App", models.CASCADE, related_name="notifications")
    assignment = models.ForeignKey("control.Assignment", models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    #: What it is about, so that nothing is told twice.
    key = models.CharField(max_length=120)
    subject = models.CharField(max_length=200)
    text = models.TextField()
    created_at = models.DateTimeField(default=clock.now)
    seen_at = models.DateTimeField(null=True)
    seen_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (models.UniqueConstraint(fields=("assignment", "key"), name="told_once"),)
        indexes: ClassVar = [models.Index(fields=("team", "created_at"))]

    def __str__(self) -> str:
        return self.subject


class MailRow(models.Model):
    """One thing on its way to one person; sent at least once, by whichever worker claims it (`told.mail`).

    `notification` is what is told: a foreign key of the table's own, with `mails` as its way back.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    #: When to try (again); None once it was sent or given up.
    due_at = models.DateTimeField(null=True, default=clock.unmoved, db_index=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=200, blank=True)

    class Meta:
        abstract = True
        ordering = ("due_at", "id")


class Mail(MailRow):
    """One notification on its way to one person."""

    notification = models.ForeignKey(Notification, models.CASCADE, related_name="mails")

    class Meta(MailRow.Meta):
        constraints = (models.UniqueConstraint(fields=("notification", "user"), name="one_mail_per_person"),)

    def __str__(self) -> str:
        return f"{self.notification} to {self.user}"
