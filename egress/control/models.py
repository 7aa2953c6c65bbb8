"""The rows of the control plane. What we want and did is a status; what we observe is a health: never one field.

Statuses move only through `transitions`; rows are changed only by `services`, `reconcile` and the agent API.
"""

import secrets
import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from portal.accounts.models import Team, User

from . import clock, models_installation  # noqa: F401  # the latter's models: Django looks for them in here
from .models_health import Observed, Onlooker
from .models_metrics import HasScrapers
from .models_probing import ProbingSettings
from .models_repair import ONE_AT_A_TIME, Successor
from .models_rollouts import Maintained
from .models_targets import HasTargets
from .models_told import OnOutage
from .validators import DEFAULTS, check_label, check_mask, check_network, check_networks, check_snat_ports, wire_bounds


class EgressType(models.TextChoices):
    """DigitalOcean's own terms for where an app's traffic leaves from."""

    AUTOASSIGN = "AUTOASSIGN", "Shared addresses"
    DEDICATED_IP = "DEDICATED_IP", "Dedicated addresses"


def new_probe_key() -> str:
    """Return a fresh key for the probes of a cluster."""
    return secrets.token_hex(32)


class Cluster(ProbingSettings, HasTargets, HasScrapers):
    """One container cluster in one region and VPC, and what gateways look like there."""

    name = models.SlugField(unique=True)
    region = models.CharField(max_length=20)
    vpc_id = models.CharField(max_length=64)
    vpc = models.CharField(
        max_length=18, validators=[check_network], help_text="The VPC's network, such as 10.110.0.0/20."
    )
    local_networks = models.JSONField(
        default=list,
        blank=True,
        validators=[check_networks],
        help_text="Pod, service and other networks that aren't the internet, as a JSON list.",
    )
    gateway_size = models.CharField(max_length=50, default="s-1vcpu-1gb")
    gateway_image = models.CharField(max_length=100, default="ubuntu-24-04-x64")
    flow_deadline_seconds = models.PositiveIntegerField(
        default=DEFAULTS.flow_deadline_seconds,
        validators=wire_bounds("flow_deadline_seconds"),
        help_text="Connections on a path that was left are cut after this long.",
    )
    mark_mask = models.PositiveBigIntegerField(
        default=DEFAULTS.mark_mask,
        validators=[*wire_bounds("mark_mask"), check_mask],
        help_text="The bits of nodes' packet marks that are ours alone: contiguous, at least 3.",
    )
    rule_priority = models.PositiveIntegerField(
        default=DEFAULTS.rule_priority,
        validators=wire_bounds("rule_priority"),
        help_text="Where our 4096 priorities of policy rules begin on nodes.",
    )
    table_base = models.PositiveBigIntegerField(
        default=DEFAULTS.table_base,
        validators=wire_bounds("table_base"),
        help_text="Where our 4096 numbers of route tables begin on nodes.",
    )
    snat_port_first = models.PositiveIntegerField(
        default=DEFAULTS.snat_ports[0],
        validators=wire_bounds("snat_ports"),
        help_text="The first source port of diverted traffic on nodes.",
    )
    snat_port_last = models.PositiveIntegerField(
        default=DEFAULTS.snat_ports[1],
        validators=wire_bounds("snat_ports"),
        help_text="The last one. The range lies outside the NodePort range, 30000-32767.",
    )
    join_token_hash = models.CharField(max_length=64, blank=True, editable=False)
    #: Hex; keys the probes between nodes and gateways.
    probe_key = models.CharField(max_length=128, default=new_probe_key, editable=False)
    #: Names the history that revisions belong to: a restored backup gets a new one.
    epoch = models.UUIDField(default=uuid.uuid4, editable=False)
    #: The number of the last route change.
    revision = models.PositiveBigIntegerField(default=0, editable=False)
    #: The number of the last change of the set of nodes, which gateways must know before they forward. A new
    #: gateway asks from 0, so that it is answered at once.
    clients_revision = models.PositiveBigIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse ports that can't be used, and hasty probing."""
        super().clean()
        check_snat_ports(self.snat_port_first, self.snat_port_last)


class App(models.Model):
    """A customer's app; its containers run in one namespace of the cluster."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    team = models.ForeignKey(Team, models.PROTECT, related_name="apps")
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="apps")
    name = models.SlugField(max_length=63)
    namespace = models.CharField(max_length=63, validators=[check_label])
    #: The app's own: it outlives its assignments.
    on_outage = models.CharField(max_length=6, choices=OnOutage.choices, default=OnOutage.REJECT, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(fields=("team", "name"), name="app_name_unique_in_team"),
            models.UniqueConstraint(fields=("cluster", "namespace"), name="namespace_unique_in_cluster"),
        )

    def __str__(self) -> str:
        return self.name


class Health(models.TextChoices):
    """What we observe."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class NodeStatus(models.TextChoices):
    """What we want of a node: only a removed one may be left out of a cut-over."""

    LIVE = "live"
    REMOVED = "removed"


class Credentialed(models.Model):
    """An agent that proves itself by a bearer token. Only hashes are kept; `credentials` says what each is for."""

    #: None without a credential: unique holds only between those that have one.
    token_hash = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001  # see above
    #: Offered in its place and not used yet.
    next_token_hash = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001  # as above
    #: The one before, which nobody should know any more.
    retired_token_hash = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001  # as above
    #: When the present one came into use.
    token_at = models.DateTimeField(default=clock.unmoved, editable=False)

    class Meta:
        abstract = True


class Node(Credentialed, Onlooker):
    """A worker node with its agent. What its agent reports is kept as it came, with the time of its arrival."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="nodes")
    name = models.CharField(max_length=64)
    private_address = models.GenericIPAddressField(protocol="IPv4")
    ordinal = models.PositiveIntegerField(editable=False)
    status = models.CharField(max_length=10, choices=NodeStatus.choices, default=NodeStatus.LIVE, editable=False)
    health = models.CharField(max_length=10, choices=Health.choices, default=Health.UNKNOWN, editable=False)
    applied_revision = models.PositiveBigIntegerField(default=0, editable=False)
    #: The epoch that `applied_revision` belongs to.
    applied_epoch = models.CharField(max_length=64, blank=True, editable=False)
    #: When it applied that revision: only a report that is younger tells of flows on the new path.
    applied_at = models.DateTimeField(null=True, editable=False)
    dataplane = models.CharField(max_length=12, default="starting", editable=False)
    detail = models.TextField(blank=True, editable=False)
    boot_id = models.CharField(max_length=64, blank=True, editable=False)
    agent_version = models.CharField(max_length=64, blank=True, editable=False)
    #: {namespace: count}
    containers = models.JSONField(default=dict, editable=False)
    #: {namespace: count}, of these: they came while the network was unsupported, and stay on the way they came on.
    in_doubt = models.JSONField(default=dict, editable=False)
    #: {gateway id: count}
    flows = models.JSONField(default=dict, editable=False)
    reported_at = models.DateTimeField(null=True, editable=False)
    #: Since when it acknowledges a revision that this database never gave out: the sign of a restored backup.
    ahead_since = models.DateTimeField(null=True, editable=False)
    joined_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("cluster", "ordinal")
        constraints = (
            models.UniqueConstraint(fields=("cluster", "name"), name="node_name_unique_in_cluster"),
            models.UniqueConstraint(fields=("cluster", "ordinal"), name="node_ordinal_unique_in_cluster"),
        )

    def __str__(self) -> str:
        return self.name


class Wish(models.TextChoices):
    """What the customer wants of an assignment."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class AssignmentStatus(models.TextChoices):
    """How far an assignment got; `transitions` says which move is allowed."""

    PROVISIONING = "provisioning", "Creating gateways"
    DISTRIBUTING = "distributing", "Updating nodes"
    ACTIVE = "active", "Active"
    DRAINING = "draining", "Finishing connections"
    RELEASING = "releasing", "Releasing addresses"
    RELEASED = "released", "Released"
    ERROR = "error", "Needs attention"


class Placement(models.TextChoices):
    """Where a pair's two servers stand at the provider; nobody is told its addresses before this is looked at."""

    UNCHECKED = "unchecked", "Not looked at yet"
    APART = "apart", "On two hosts"
    TOGETHER = "together", "Both on one host"
    UNKNOWN = "unknown", "The provider didn't say"


class Assignment(models.Model):
    """One app's dedicated egress, from enable to release. Gateways, timeline and billing hang on it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    app = models.ForeignKey(App, models.PROTECT, related_name="assignments")
    cluster = models.ForeignKey(Cluster, models.PROTECT, related_name="assignments")
    #: The pair's number: unique in the cluster until released. Nodes know the pair by it.
    pair = models.PositiveIntegerField(editable=False)
    wish = models.CharField(max_length=10, choices=Wish.choices, default=Wish.ENABLED, editable=False)
    status = models.CharField(
        max_length=15, choices=AssignmentStatus.choices, default=AssignmentStatus.PROVISIONING, editable=False
    )
    error_code = models.CharField(max_length=64, blank=True, editable=False)
    error_message = models.TextField(blank=True, editable=False)
    #: The route revision that all nodes must have applied before the assignment goes on.
    target_revision = models.PositiveBigIntegerField(null=True, editable=False)
    #: When the present status was entered: deadlines count from it.
    status_since = models.DateTimeField(default=clock.now, editable=False)
    #: When reconcile wants to look again; None when there is nothing left to do.
    due_at = models.DateTimeField(null=True, default=clock.now, db_index=True, editable=False)
    attempts = models.PositiveIntegerField(default=0, editable=False)
    #: One that is disabled keeps its addresses until then, and can be resumed before; None otherwise.
    held_until = models.DateTimeField(null=True, editable=False)
    placement = models.CharField(max_length=10, choices=Placement.choices, default=Placement.UNCHECKED, editable=False)
    #: How often a gateway was replaced because it stood on the other one's host.
    moves = models.PositiveSmallIntegerField(default=0, editable=False)
    lease_owner = models.CharField(max_length=64, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    released_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("app",), condition=~Q(status="released"), name="one_unreleased_assignment_per_app"
            ),
            models.UniqueConstraint(
                fields=("cluster", "pair"), condition=~Q(status="released"), name="pair_unique_in_cluster"
            ),
        )

    def __str__(self) -> str:
        return f"{self.app} ({self.status})"

    @property
    def spread(self) -> int:
        """Which of its two gateways the cluster's even nodes use: from the app's id, so that apps differ."""
        return self.app_id.int % 2


#: The places of a pair, gateway A and gateway B.
SLOTS = (0, 1)


class GatewayStatus(models.TextChoices):
    """What we want of a gateway and did; `transitions` says which move is allowed."""

    PENDING = "pending"
    CREATING = "creating"
    BOOTING = "booting"
    READY = "ready"
    DRAINING = "draining"
    MAINTENANCE = "maintenance"
    DELETING = "deleting"
    DELETED = "deleted"
    ERROR = "error"


class Gateway(Credentialed, Observed, Maintained, Successor):
    """One gateway VM, in slot 0 or 1 of an assignment."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="gateways")
    slot = models.PositiveSmallIntegerField(editable=False)
    provisioning_status = models.CharField(
        max_length=15, choices=GatewayStatus.choices, default=GatewayStatus.PENDING, editable=False
    )
    #: When the present status was entered: the boot limit counts from it.
    status_since = models.DateTimeField(default=clock.now, editable=False)
    health = models.CharField(max_length=10, choices=Health.choices, default=Health.UNKNOWN, editable=False)
    #: The provider's id of the VM; "" until it is known.
    server_id = models.CharField(max_length=64, blank=True, editable=False)
    public_address = models.GenericIPAddressField(protocol="IPv4", null=True, editable=False)
    private_address = models.GenericIPAddressField(protocol="IPv4", null=True, editable=False)
    #: The enrolment secret travels in user data; it works only inside the window and from the gateway's own address.
    enrolment_hash = models.CharField(max_length=64, blank=True, editable=False)
    enrolment_until = models.DateTimeField(null=True, editable=False)
    applied_clients_revision = models.PositiveBigIntegerField(default=0, editable=False)
    boot_id = models.CharField(max_length=64, blank=True, editable=False)
    agent_version = models.CharField(max_length=64, blank=True, editable=False)
    forwarding = models.BooleanField(default=False, editable=False)
    detail = models.TextField(blank=True, editable=False)
    flows = models.PositiveBigIntegerField(default=0, editable=False)
    bytes_out = models.PositiveBigIntegerField(default=0, editable=False)
    reported_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("assignment", "slot", "created_at")
        constraints = (
            *ONE_AT_A_TIME,
            models.UniqueConstraint(fields=("server_id",), condition=~Q(server_id=""), name="server_used_once"),
            models.CheckConstraint(condition=Q(slot__in=SLOTS), name="slot_is_0_or_1"),
        )

    def __str__(self) -> str:
        return f"{self.assignment.app} {'AB'[self.slot]}"


class RouteChange(models.Model):
    """The last change of one namespace's route: the delta that nodes fetch. One row per namespace: it stays small."""

    cluster = models.ForeignKey(Cluster, models.CASCADE, related_name="route_changes")
    namespace = models.CharField(max_length=63)
    revision = models.PositiveBigIntegerField()
    #: The route as `egress.wire.messages.Route`; None when it was removed.
    route = models.JSONField(null=True)
    changed_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering = ("cluster", "revision")
        constraints = (
            models.UniqueConstraint(fields=("cluster", "namespace"), name="one_route_per_namespace"),
            models.UniqueConstraint(fields=("cluster", "revision"), name="revision_unique_in_cluster"),
        )

    def __str__(self) -> str:
        return f"{self.cluster} r{self.revision}: {self.namespace}"


class Event(models.Model):
    """What happened, written in the transaction that made it so: timeline, audit and the source of metering."""

    class Kind(models.TextChoices):
        """What sort of thing happened."""

        STATUS = "status"
        HEALTH = "health"
        REQUEST = "request"
        PROVIDER = "provider"
        NODE = "node"
        SECURITY = "security"

    at = models.DateTimeField(default=clock.now, db_index=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    #: None for what concerns the whole installation.
    cluster = models.ForeignKey(Cluster, models.PROTECT, null=True, related_name="+")
    app = models.ForeignKey(App, models.PROTECT, null=True, related_name="events")
    assignment = models.ForeignKey(Assignment, models.PROTECT, null=True, related_name="events")
    gateway = models.ForeignKey(Gateway, models.PROTECT, null=True, related_name="events")
    node = models.ForeignKey(Node, models.PROTECT, null=True, related_name="events")
    actor = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    #: What moved: "assignment.status", "gateway.status", "gateway.health" …
    subject = models.CharField(max_length=40)
    old = models.CharField(max_length=64, blank=True)
    new = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)
    #: Of the kind security: when an operator said that it was looked into.
    seen_at = models.DateTimeField(null=True, editable=False)
    seen_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", editable=False)

    class Meta:
        ordering = ("-at", "-id")
        indexes: ClassVar = [
            models.Index(fields=("assignment", "at")),
            models.Index(fields=("app", "at")),
            models.Index(fields=("seen_at", "at"), condition=Q(kind="security"), name="security_by_seen"),
        ]

    def __str__(self) -> str:
        return f"{self.subject}: {self.old} → {self.new}"
