"""Finished months: what each team owes, line by line. Immutable once made."""

import uuid

from django.db import models

from egress.control import clock
from egress.control.models import App, Assignment
from portal.accounts.models import Team


class Statement(models.Model):
    """One team's month in one currency; its total is the sum of its lines."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey(Team, models.PROTECT, related_name="statements")
    #: The month's first day.
    month = models.DateField()
    currency = models.CharField(max_length=3)
    total_cents = models.BigIntegerField()
    #: The ledger's rows up to this id are in it; what was recorded later goes into a later one.
    ledger_up_to = models.BigIntegerField(default=0)
    made_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ("-month", "team")
        constraints = (models.UniqueConstraint(fields=("team", "month", "currency"), name="one_statement_a_month"),)

    def __str__(self) -> str:
        return f"{self.team}, {self.month:%Y-%m}: {self.total_cents / 100:.2f} {self.currency}"


class StatementLine(models.Model):
    """One line: of usage or traffic it names assignment and slot, so that its ledger rows and events can be found."""

    class Kind(models.TextChoices):
        """What a line is about."""

        USAGE = "usage", "Gateway hours"
        TRAFFIC = "traffic", "Traffic"
        DISCOUNT = "discount", "Discount"
        CORRECTION = "correction", "Correction of an earlier month"
        CREDIT = "credit", "Credit"

    #: Also the key under which Stripe knows the line's item.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    statement = models.ForeignKey(Statement, models.PROTECT, related_name="lines")
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=12, choices=Kind.choices)
    app = models.ForeignKey(App, models.PROTECT, null=True, related_name="statement_lines")
    assignment = models.ForeignKey(Assignment, models.PROTECT, null=True, related_name="statement_lines")
    slot = models.PositiveSmallIntegerField(null=True)
    description = models.CharField(max_length=300)
    #: In `unit`: seconds of usage and bytes of traffic stay whole numbers here.
    quantity = models.BigIntegerField(default=0)
    unit = models.CharField(max_length=10, blank=True)
    begin = models.DateTimeField()
    end = models.DateTimeField()
    #: Before rounding, in units of the currency; signed.
    exact = models.DecimalField(max_digits=24, decimal_places=12)
    #: What is charged for it, rounded once.
    cents = models.BigIntegerField()
    #: How it came about: seconds capped, free and out; prices with their periods. For people and exports only.
    detail = models.JSONField(default=dict)

    class Meta:
        ordering = ("statement", "position")
        constraints = (models.UniqueConstraint(fields=("statement", "position"), name="one_line_a_position"),)

    def __str__(self) -> str:
        return f"{self.description}: {self.cents / 100:.2f}"
