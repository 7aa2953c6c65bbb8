"""Finished months: what each team owes, line by line. Immutable once made."""

import uuid
from decimal import Decimal

from django.db import models

from egress.control import clock
from egress.control.models import App, Assignment
from portal.accounts.models import Team

from .append_only import AppendOnly
from .prices import Credit


class Statement(AppendOnly):
    """One team's month in one currency; its total is the sum of its lines."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey(Team, models.PROTECT, related_name="statements")
    #: The month's first day.
    month = models.DateField()
    currency = models.CharField(max_length=3)
    total_cents = models.BigIntegerField()
    #: The ledgers' rows up to these ids are in it; what was recorded later goes into a later one.
    ledger_up_to = models.BigIntegerField(default=0)
    traffic_up_to = models.BigIntegerField(default=0)
    made_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ("-month", "team")
        constraints = (models.UniqueConstraint(fields=("team", "month", "currency"), name="one_statement_a_month"),)

    def __str__(self) -> str:
        return f"{self.team}, {self.month:%Y-%m}: {Decimal(self.total_cents).scaleb(-2)} {self.currency}"


class StatementLine(AppendOnly):
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
    #: Of the kind credit: which one. Negative lines draw from it; a positive one is what a credit was made of.
    credit = models.ForeignKey(Credit, models.PROTECT, null=True, related_name="lines")
    description = models.CharField(max_length=300)
    #: In `unit`: seconds of usage and bytes of traffic stay whole numbers here.
    quantity = models.BigIntegerField(default=0)
    #: "second" of usage, "byte" of traffic, "" of what is an amount only; so also of what a correction is about.
    unit = models.CharField(max_length=10, blank=True)
    #: Lies in the month that the line is about: of a correction, in an earlier one than the statement's.
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
        return f"{self.description}: {Decimal(self.cents).scaleb(-2)}"
