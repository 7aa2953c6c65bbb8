"""What gateways sent, as far as they told: columns of `models.Gateway`, and a row for each hour of one."""

from django.db import models


class Counted(models.Model):
    """How much of a gateway's counter, which begins at 0 with each boot, is in its `HourOfTraffic` rows."""

    counted_boot_id = models.CharField(max_length=64, blank=True, editable=False)
    #: The highest reading of that boot.
    counted_bytes = models.PositiveBigIntegerField(default=0, editable=False)
    #: The boot before: a report of it that comes late tells nothing new.
    counted_boot_id_before = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        abstract = True


class HourOfTraffic(models.Model):
    """Bytes that a gateway sent to the internet, by the hour in which it told of them."""

    gateway = models.ForeignKey("control.Gateway", models.PROTECT, related_name="hours_of_traffic")
    hour = models.DateTimeField(db_index=True)
    sent_bytes = models.PositiveBigIntegerField()

    class Meta:
        ordering = ("hour", "gateway")
        constraints = (models.UniqueConstraint(fields=("gateway", "hour"), name="one_row_an_hour"),)

    def __str__(self) -> str:
        return f"{self.gateway} at {self.hour:%Y-%m-%dT%H}Z: {self.sent_bytes} bytes"
