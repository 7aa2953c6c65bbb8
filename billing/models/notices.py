"""What billing tells a team: on its pages and by mail. Unlike control's notifications, these are about no app."""

from typing import ClassVar

from django.db import models

from egress.control import clock
from egress.control.models_told import MailRow
from portal.accounts.models import Team


class Notice(models.Model):
    """One thing that a team is told. It carries its own words."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="billing_notices")
    #: Which sort of thing: "payment_failed", "disable_warning", "disabled", "paid", "budget" …
    kind = models.CharField(max_length=24)
    #: What it is about, so that nothing is told twice.
    key = models.CharField(max_length=120)
    subject = models.CharField(max_length=200)
    text = models.TextField()
    #: The page that the mail leads to, from PORTAL_URL on.
    path = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (models.UniqueConstraint(fields=("team", "key"), name="billing_told_once"),)
        indexes: ClassVar = [models.Index(fields=("team", "created_at"))]

    def __str__(self) -> str:
        return self.subject


class NoticeMail(MailRow):
    """One notice on its way to one person."""

    notification = models.ForeignKey(Notice, models.CASCADE, related_name="mails")

    class Meta(MailRow.Meta):
        constraints = (models.UniqueConstraint(fields=("notification", "user"), name="one_billing_mail_per_person"),)

    def __str__(self) -> str:
        return f"{self.notification} to {self.user}"
