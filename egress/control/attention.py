"""What an operator should look at first: conditions that the lists filter by and the start page counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import or_

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, TextField, Value
from django.db.models.functions import Cast, Replace
from django.db.models.lookups import Exact

from . import clock
from .models import AssignmentStatus, Event, Gateway, GatewayStatus, Health, Node, NodeStatus, Placement
from .models_health import Finding
from .models_rollouts import RolloutStatus
from .waiting import LONG_SECONDS, stuck_after

_SETTLED = (AssignmentStatus.ACTIVE, AssignmentStatus.RELEASED)
#: Gateways that carry traffic: one that boots isn't sick yet, one in maintenance is down on purpose.
_SERVING = (GatewayStatus.READY, GatewayStatus.DRAINING)
_SICK = Q(provisioning_status__in=_SERVING, health=Health.UNHEALTHY)

#: It works, but some nodes or we don't reach it, or its targets don't answer anybody.
_ELSEWHERE = Q(provisioning_status__in=_SERVING, finding__in=(Finding.NETWORK, Finding.UNHEARD, Finding.TARGETS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """One reason to look at a row; `key` is how the list's address names it."""

    key: str
    label: str
    where: Q


def any_of(concerns: Iterable[Concern]) -> Q:
    """Return the condition of rows that have at least one of these concerns."""
    return reduce(or_, (concern.where for concern in concerns))


def assignment_concerns() -> tuple[Concern, ...]:
    """Return what may be wrong with an assignment, by the present time."""
    old = clock.now() - timedelta(seconds=LONG_SECONDS)
    failed = Q(provisioning_status=GatewayStatus.ERROR)
    sick = Exists(Gateway.objects.filter(_SICK | failed, assignment=OuterRef("pk")))
    held = Q(status=AssignmentStatus.DRAINING, held_until__isnull=False, held_until__gt=clock.now())
    together = ~Q(status=AssignmentStatus.RELEASED) & Q(placement=Placement.TOGETHER)
    return (
        Concern(key="failed", label="Failed", where=Q(status=AssignmentStatus.ERROR)),
        Concern(key="degraded", label="Active, gateway unhealthy", where=Q(sick, status=AssignmentStatus.ACTIVE)),
        Concern(key="failing", label="Failing, tries again", where=Q(attempts__gt=0)),
        Concern(key="together", label="Both gateways on one host", where=together),
        Concern(key="slow", label="Takes long", where=~Q(status__in=_SETTLED) & Q(status_since__lt=old) & ~held),
    )


def gateway_concerns() -> tuple[Concern, ...]:
    """Return what may be wrong with a gateway, by the present time."""
    stuck = Q(provisioning_status=GatewayStatus.DELETING, status_since__lt=clock.now() - stuck_after())
    return (
        Concern(key="unhealthy", label="Unhealthy", where=_SICK),
        Concern(key="failed", label="Failed", where=Q(provisioning_status=GatewayStatus.ERROR)),
        Concern(key="elsewhere", label="Trouble on the way to it", where=_ELSEWHERE),
        Concern(key="stuck", label="Isn't deleted by the provider", where=stuck),
    )


def node_concerns() -> tuple[Concern, ...]:
    """Return what may be wrong with a node that must know every route, by the present time."""
    live = Q(status=NodeStatus.LIVE)
    quiet = clock.now() - timedelta(seconds=settings.EGRESS_SILENCE_SECONDS)
    return (
        Concern(key="unhealthy", label="Unhealthy", where=live & Q(health=Health.UNHEALTHY)),
        Concern(key="unsupported", label="Network unsupported", where=live & Q(dataplane="unsupported")),
        Concern(key="doubt", label="Containers in doubt: restart them", where=live & ~Q(in_doubt={})),
        Concern(key="mute", label="Joined, never reported", where=live & Q(reported_at=None, joined_at__lt=quiet)),
        Concern(key="ahead", label="Ahead of a restored database", where=live & Q(ahead_since__isnull=False)),
        Concern(key="behind", label="Behind with routes", where=live & ~_up_to_date()),
        Concern(key="twin", label="Has another node's address", where=live & Q(_twins())),
    )


def _twins() -> Exists:
    """Return the condition of another live node with this one's address: only one of them can be reached."""
    same = Node.objects.filter(status=NodeStatus.LIVE, cluster=OuterRef("cluster"))
    return Exists(same.filter(private_address=OuterRef("private_address")).exclude(pk=OuterRef("pk")))


def stray_concerns() -> tuple[Concern, ...]:
    """Return what may be wrong with a server in quarantine: that nobody has decided, or that it is to be deleted."""
    return (
        Concern(key="undecided", label="Unknown server, decide", where=Q(delete_ordered_at=None)),
        Concern(key="doomed", label="To be deleted", where=Q(delete_ordered_at__isnull=False)),
    )


def rollout_concerns() -> tuple[Concern, ...]:
    """Return what may be wrong with a rollout."""
    return (Concern(key="stopped", label="Stopped by itself", where=Q(status=RolloutStatus.STOPPED)),)


def installation_concerns() -> tuple[Concern, ...]:
    """Return what stops the whole installation."""
    return (
        Concern(key="held", label="Stands still", where=Q(held_since__isnull=False)),
        Concern(key="tripped", label="Deletion breaker tripped", where=Q(tripped_at__isnull=False)),
        Concern(key="foreign", label="Another installation's database", where=~Q(name=settings.INSTALLATION_ID)),
    )


def repair_concerns() -> tuple[Concern, ...]:
    """Return where repair stands still."""
    return (Concern(key="stopped", label="Stopped: too many are bad", where=Q(stopped_at__isnull=False)),)


def event_concerns() -> tuple[Concern, ...]:
    """Return what in the history nobody has looked into."""
    unseen = Q(kind=Event.Kind.SECURITY, seen_at=None)
    return (Concern(key="unseen", label="Security, not looked into", where=unseen),)


def _up_to_date() -> Q:
    # Databases without a type for UUIDs keep them without dashes.
    valid = Replace(Cast("cluster__epoch", TextField()), Value("-"))
    applied = Replace(F("applied_epoch"), Value("-"))
    return Q(Exact(applied, valid), applied_revision__gte=F("cluster__revision"))
