"""How far metering got: one row that everybody moves on who writes in the ledger; and what to look at again."""

from django.db import models

from egress.control import clock
from egress.control.models import Assignment


class Meter(models.Model):
    """Where metering stands. There is one row, of the number 1.

    `version` counts what was written: who writes takes the version that it read one further, in the transaction of its
    rows, so that of two workers one finds that its reading is out of date, and writes nothing.
    """

    version = models.PositiveBigIntegerField(default=0)
    #: All hours before this one are closed.
    closed_until = models.DateTimeField()
    #: Events, and nodes' pivots, up to these numbers were looked at for what they say of closed hours; up to the marks
    #: they are as soon as nothing can be written below a mark any more.
    events_seen = models.PositiveBigIntegerField(default=0)
    events_mark = models.PositiveBigIntegerField(default=0)
    pivots_seen = models.PositiveBigIntegerField(default=0)
    pivots_mark = models.PositiveBigIntegerField(default=0)
    #: When the marks were set, by the clock that no lab moves.
    marked_at = models.DateTimeField(default=clock.unmoved)

    def __str__(self) -> str:
        return f"closed until {self.closed_until:%Y-%m-%dT%H}Z"


class Recheck(models.Model):
    """An assignment whose closed hours, from `since` on, may be told otherwise now."""

    assignment = models.OneToOneField(Assignment, models.CASCADE, related_name="recheck")
    since = models.DateTimeField()
    due_at = models.DateTimeField(default=clock.unmoved, db_index=True)
    #: For the rows that come of it.
    reason = models.CharField(max_length=200)

    class Meta:
        ordering = ("due_at", "id")

    def __str__(self) -> str:
        return f"{self.assignment_id} since {self.since:%Y-%m-%dT%H}Z: {self.reason}"
