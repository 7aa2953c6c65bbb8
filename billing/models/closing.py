"""How far the months are closed, and what keeps a team's statement from being made."""

from django.db import models

from egress.control import clock
from portal.accounts.models import Team


class MonthClose(models.Model):
    """The closing of one month: begun when its hold is over, ended when every team has its statement."""

    #: The first day.
    month = models.DateField(unique=True)
    began_at = models.DateTimeField(default=clock.now)
    #: The ledgers' rows up to these ids are in the month's statements, if not in earlier ones.
    ledger_mark = models.BigIntegerField(default=0)
    traffic_mark = models.BigIntegerField(default=0)
    #: When all teams had been looked at for the first time: then the next month can be closed.
    looked_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-month",)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}: {'closed' if self.closed_at else 'open'}"


class StatementProblem(models.Model):
    """Why a team's statement of a month couldn't be made: for operators. Resolved when it is made."""

    team = models.ForeignKey(Team, models.PROTECT, related_name="statement_problems")
    month = models.DateField()
    code = models.CharField(max_length=64)
    message = models.TextField()
    noticed_at = models.DateTimeField(default=clock.now)
    last_at = models.DateTimeField(default=clock.now)
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-month", "team")
        constraints = (models.UniqueConstraint(fields=("team", "month"), name="one_problem_a_month"),)

    def __str__(self) -> str:
        return f"{self.team}, {self.month:%Y-%m}: {self.message}"
