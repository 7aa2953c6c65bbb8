"""What is said of gateways, and what follows from it: columns of `models.Node` and `models.Gateway`."""

from django.db import models


class Finding(models.TextChoices):
    """What is the matter with a gateway, by all views together; `opinions` says which makes it unhealthy."""

    UNKNOWN = "unknown", "Not heard of yet"
    WELL = "well", "Works"
    #: Unhealthy.
    DEAD = "dead", "Neither we nor the nodes hear it"
    SILENT = "silent", "We don't hear it, and no node says anything of it"
    SICK = "sick", "Says itself that it can't serve"
    CUT_OFF = "cut_off", "Most nodes can't use it"
    #: Healthy: the trouble lies elsewhere.
    NETWORK = "network", "Some nodes can't use it: a fault of the network, or theirs"
    UNHEARD = "unheard", "Only we don't hear it: a fault on our way to it"
    TARGETS = "targets", "Its targets don't answer others either"


class Onlooker(models.Model):
    """What a node's probes say."""

    #: {gateway id: "healthy", "unhealthy" or "unknown"}
    gateways = models.JSONField(default=dict, editable=False)
    #: {gateway id: `egress.wire.messages.Reason`}, of those that are unhealthy
    reasons = models.JSONField(default=dict, editable=False)

    class Meta:
        abstract = True


class Observed(models.Model):
    """What is observed of a gateway, beside the columns that its data plane needs."""

    #: As in `egress.wire.messages.GatewayReport`.
    link = models.BooleanField(default=True, editable=False)
    internet = models.BooleanField(default=True, editable=False)
    #: {address: whether it answered}
    targets = models.JSONField(default=dict, editable=False)
    conntrack_entries = models.PositiveBigIntegerField(default=0, editable=False)
    conntrack_limit = models.PositiveBigIntegerField(default=0, editable=False)
    snat_ports_worst = models.PositiveBigIntegerField(default=0, editable=False)
    finding = models.CharField(max_length=10, choices=Finding.choices, default=Finding.UNKNOWN, editable=False)
    #: The finding in words, with numbers: for operators.
    finding_reason = models.TextField(blank=True, editable=False)
    finding_since = models.DateTimeField(null=True, editable=False)
    #: Since when its health is what it is.
    health_since = models.DateTimeField(null=True, editable=False)
    #: What the provider said last of its server: "active", "off" …; "" before it was asked.
    server_status = models.CharField(max_length=10, blank=True, editable=False)

    class Meta:
        abstract = True
