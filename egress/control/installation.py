"""Stand still after a restored backup, and in a process that works on another installation's database.

Standing still: nothing is asked of the provider but lists, no row moves by itself, and agents are told nothing, so that
nodes keep the routes and gateways the clients that they know. Agents may join, enrol and report.
"""

import logging
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from portal.accounts.models import User

from . import clock, distribution, events
from .errors import StandsStill
from .models import Assignment, AssignmentStatus, Cluster, Event, Gateway, GatewayStatus, Health, Node, NodeStatus, Wish
from .models_health import Finding
from .models_installation import Installation
from .transitions import assignment_transition
from .wake import wake

log = logging.getLogger(__name__)

#: What customers are told meanwhile.
CHANGES_WAIT = (
    "We are putting the platform right after a failure. Your apps' traffic goes on as it is. What you switch now is"
    " noted, and carried out once we are done. What you switched in the last hours before may not be shown."
)
#: Gateways know lists of clients by their numbers only: after a restore these begin beyond all that were given out.
CLIENTS_JUMP = 1_000_000
_IN_USE = (GatewayStatus.BOOTING, GatewayStatus.READY, GatewayStatus.DRAINING)
_ROUTED = (AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE)


def here() -> Installation:
    """Return the one row, made when it is first asked for."""
    return Installation.objects.get_or_create(pk=1, defaults={"name": settings.INSTALLATION_ID})[0]


def why_still() -> str:
    """Return why nothing may be done now; "" while all goes its way."""
    row = here()
    if row.name != settings.INSTALLATION_ID:
        return (
            f"This database belongs to the installation {row.name!r}, but SLUICEGATE_INSTALLATION_ID says"
            f" {settings.INSTALLATION_ID!r}: correct it, or begin with an empty database."
        )
    if row.held_since is not None:
        return (
            f"Held since {row.held_since:%Y-%m-%d %H:%M} UTC: {row.held_reason}. To go on: manage.py restored --resume"
        )
    return ""


def changes_wait() -> str:
    """Return what customers must know now of their changes; "" while all goes its way."""
    return CHANGES_WAIT if why_still() else ""


def require_going() -> None:
    """Raise StandsStill where nothing may be done."""
    if why_still():
        raise StandsStill


def hold(*, reason: str, actor: User | None = None) -> bool:
    """Stand still from now on; False when it does so already."""
    with transaction.atomic():
        here()
        if not Installation.objects.filter(held_since=None).update(held_since=clock.now(), held_reason=reason):
            return False
        events.record(Event.Kind.REQUEST, "installation", on=None, new="held", reason=reason, actor=actor)
    log.critical("standing still: %s", reason)
    return True


def resume(*, actor: User | None = None) -> bool:
    """Go on after a restore, with a history of its own; False when nothing was held.

    What is known of agents from before the hold is forgotten, deadlines of booting gateways begin anew, and gateways
    may enrol again, for they may have credentials that this database doesn't know.
    """
    now = clock.now()
    with transaction.atomic():
        row = Installation.objects.select_for_update().get(pk=here().pk)
        if row.held_since is None:
            return False
        Cluster.objects.update(clients_revision=F("clients_revision") + CLIENTS_JUMP)
        for cluster in Cluster.objects.all():
            Cluster.objects.filter(pk=cluster.pk).update(epoch=uuid.uuid4())
        Node.objects.update(ahead_since=None)
        _forget_before(Q(reported_at__lt=row.held_since))
        Gateway.objects.filter(provisioning_status__in=(GatewayStatus.BOOTING, GatewayStatus.MAINTENANCE)).update(
            status_since=now
        )
        limit = timedelta(seconds=settings.EGRESS_BOOT_LIMIT_SECONDS)
        Gateway.objects.filter(provisioning_status__in=_IN_USE).update(enrolment_until=now + limit)
        _withdraw_disabled()
        Installation.objects.update(held_since=None, held_reason="")
        events.record(Event.Kind.REQUEST, "installation", on=None, old="held", new="resumed", actor=actor)
        unreleased = Assignment.objects.exclude(status=AssignmentStatus.RELEASED)
        wake(unreleased.values_list("pk", flat=True))
    return True


def note_ahead(node: Node) -> None:
    """Take note of a node that applied what this database never gave out: it was restored from a backup.

    Such a node keeps what it has. One alone may lie; where half of a cluster's say so, everything stands still.
    """
    node.ahead_since = node.ahead_since or clock.now()
    with transaction.atomic():
        if Node.objects.filter(pk=node.pk, ahead_since=None).update(ahead_since=node.ahead_since):
            reason = "it applied a revision that this database never gave out; was a backup restored?"
            events.record(Event.Kind.NODE, "node.ahead", on=node, new="ahead", reason=reason)
            log.error("node %s: %s", node.name, reason)
        live = Node.objects.filter(cluster_id=node.cluster_id, status=NodeStatus.LIVE)
        ahead = live.filter(ahead_since__isnull=False).count()
        if 2 * ahead >= live.count():
            hold(reason=f"{ahead} nodes of cluster {node.cluster} know more than this database: a backup was restored.")


def _forget_before(old: Q) -> None:
    """Forget reports from before the hold: whoever is well reports again within seconds."""
    unknown = {"reported_at": None, "health": Health.UNKNOWN}
    Gateway.objects.filter(old).update(**unknown, forwarding=False, finding=Finding.UNKNOWN, finding_reason="")
    Node.objects.filter(old).update(**unknown, dataplane="starting")


def _withdraw_disabled() -> None:
    """Let the first thing that nodes hear of apps that were disabled during the hold be that they are."""
    for assignment in Assignment.objects.filter(wish=Wish.DISABLED, status__in=_ROUTED).select_related(
        "app", "cluster"
    ):
        revision = distribution.publish(
            assignment.cluster_id, assignment.app.namespace, distribution.route_of(assignment, "draining")
        )
        assignment_transition(assignment=assignment, to=AssignmentStatus.DRAINING, target_revision=revision)
