"""Months that were written to the export folder, or couldn't be."""

from django.db import models


class MonthExport(models.Model):
    """How the last writing of a month ended: for operators to see, nothing depends on it."""

    #: The month's first day.
    month = models.DateField(unique=True)
    at = models.DateTimeField()
    #: "" once the files are there; else what is wrong with the month.
    problem = models.TextField(blank=True)
    #: What was written: the manifest.
    manifest = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ("-month",)

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"
