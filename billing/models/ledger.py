"""The ledger: what was used, hour by hour. Rows are added, never changed: what comes late is a row of its own."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from egress.control import clock
from egress.control.models import SLOTS, Assignment

from .append_only import AppendOnly

HOUR_SECONDS = 3600


class UsageRecord(AppendOnly):
    """Seconds of one gateway slot in one hour: sequence 0 is the hour's first row, all others are signed corrections.

    A slot's seconds in an hour are the sum over its rows, 0 to 3,600; so are those of outage, which aren't billed. An
    hour without any has no row.
    """

    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="usage")
    #: 0 or 1: there is never a third, also while a gateway is being replaced.
    slot = models.PositiveSmallIntegerField()
    #: When the hour begins, in UTC.
    hour = models.DateTimeField()
    sequence = models.PositiveIntegerField(default=0)
    #: Billable ones; those of outage aren't among them.
    seconds = models.IntegerField()
    #: Those in which the pair would have been billed, had not both gateways been down: they lower the month's cap.
    outage_seconds = models.IntegerField(default=0)
    #: Why it was added after the hour's close; "" at the close.
    reason = models.CharField(max_length=200, blank=True)
    recorded_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ("hour", "assignment", "slot", "sequence")
        constraints = (
            models.UniqueConstraint(fields=("hour", "assignment", "slot", "sequence"), name="usage_once"),
            models.CheckConstraint(condition=Q(slot__in=SLOTS), name="usage_two_slots"),
            models.CheckConstraint(
                condition=Q(seconds__gte=-HOUR_SECONDS, seconds__lte=HOUR_SECONDS)
                & Q(outage_seconds__gte=-HOUR_SECONDS, outage_seconds__lte=HOUR_SECONDS),
                name="usage_within_the_hour",
            ),
            models.CheckConstraint(
                condition=~Q(sequence=0)
                | Q(seconds__gte=0, outage_seconds__gte=0) & Q(seconds__lte=HOUR_SECONDS - F("outage_seconds")),
                name="usage_close_is_positive",
            ),
        )
        # Covers what rating adds up: a month of 10,000 apps has 14 million rows, which needn't be looked at one by one.
        indexes: ClassVar = [
            models.Index(fields=("assignment", "slot", "hour", "seconds", "outage_seconds"), name="usage_by_slot"),
        ]

    def __str__(self) -> str:
        return f"{self.assignment_id} slot {self.slot} at {self.hour:%Y-%m-%dT%H}Z: {self.seconds} s"


class TrafficRecord(AppendOnly):
    """Bytes that one gateway slot sent to the internet in one hour; rows add up as those of usage do."""

    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="traffic")
    slot = models.PositiveSmallIntegerField()
    #: When the hour begins, in UTC.
    hour = models.DateTimeField()
    sequence = models.PositiveIntegerField(default=0)
    #: As the gateway's public interface counts them: with headers, and with the agent's own few.
    sent_bytes = models.BigIntegerField()
    reason = models.CharField(max_length=200, blank=True)
    recorded_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ("hour", "assignment", "slot", "sequence")
        constraints = (
            models.UniqueConstraint(fields=("hour", "assignment", "slot", "sequence"), name="traffic_once"),
            models.CheckConstraint(condition=Q(slot__in=SLOTS), name="traffic_two_slots"),
            models.CheckConstraint(condition=~Q(sequence=0) | Q(sent_bytes__gte=0), name="traffic_close_is_positive"),
        )
        # As that of usage: a month's bytes are added up from the index alone.
        indexes: ClassVar = [models.Index(fields=("assignment", "slot", "hour", "sent_bytes"), name="traffic_by_slot")]

    def __str__(self) -> str:
        return f"{self.assignment_id} slot {self.slot} at {self.hour:%Y-%m-%dT%H}Z: {self.sent_bytes} bytes"
