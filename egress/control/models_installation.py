"""Rows that belong to no cluster: the installation itself, and servers that no other row knows."""

from django.db import models

from portal.accounts.models import User

from . import clock


class StrayServer(models.Model):
    """A VM that bears our tag and that no row knows: in quarantine, for it may be a customer's address.

    A restored backup has forgotten what was made after it. The row goes when the VM is gone, or known again.
    """

    server_id = models.CharField(max_length=64, unique=True, editable=False)
    name = models.CharField(max_length=255, editable=False)
    tags = models.JSONField(default=list, editable=False)
    public_address = models.GenericIPAddressField(protocol="IPv4", null=True, editable=False)
    private_address = models.GenericIPAddressField(protocol="IPv4", null=True, editable=False)
    #: As the provider gives it.
    created_at = models.CharField(max_length=40, editable=False)
    #: The quarantine counts from here.
    found_at = models.DateTimeField(default=clock.now, editable=False)
    #: An operator's word; it is carried out when the quarantine is over.
    delete_ordered_at = models.DateTimeField(null=True, editable=False)
    delete_ordered_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", editable=False)

    class Meta:
        ordering = ("found_at", "pk")

    def __str__(self) -> str:
        return f"{self.name} ({self.public_address or 'no address'})"


class Installation(models.Model):
    """What concerns all clusters at once: one row, which `installation.here` makes when it is first asked for."""

    #: What SLUICEGATE_INSTALLATION_ID was when this database was new: its servers bear it in their tags.
    name = models.CharField(max_length=32, editable=False)
    #: Since when nothing is changed or deleted and no agent is told anything, because a backup was restored.
    held_since = models.DateTimeField(null=True, editable=False)
    held_reason = models.TextField(blank=True, editable=False)
    #: Since when the breaker keeps tidying from deleting anything; an operator resets it.
    tripped_at = models.DateTimeField(null=True, editable=False)
    #: When silence was looked for last: a gap means that the control plane itself was away.
    watched_at = models.DateTimeField(null=True, editable=False)
    #: Until then nobody is judged, because it was.
    judges_from = models.DateTimeField(null=True, editable=False)
    #: Deletions before this moment count no more.
    counted_from = models.DateTimeField(default=clock.now, editable=False)

    def __str__(self) -> str:
        return self.name
