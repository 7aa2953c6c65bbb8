"""What people and programs ask of the control plane: each is one transaction that writes a wish and wakes reconcile."""

import ipaddress
import secrets
import uuid
from itertools import chain
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.module_loading import import_string

from egress.wire.messages import MAX_ROUTES
from portal.accounts.models import ApiToken, Membership, Role, User, token_hash

from . import clock, events
from .errors import ClusterFull, NodeGone, NotAllowed, NothingToRetry, StillDisabling, TransitionConflict
from .models import (
    SLOTS,
    App,
    Assignment,
    AssignmentStatus,
    Cluster,
    Event,
    Gateway,
    GatewayStatus,
    Health,
    Node,
    NodeStatus,
    Wish,
)
from .transitions import assignment_transition, gateway_transition
from .wake import wake, wake_waiting

#: Who asks: a person, or a program with a team's token.
Actor = User | ApiToken

MAX_PAIR = 65_535
#: How often an enable tries again when another took its pair number in the same instant.
ENABLE_ATTEMPTS = 8


def may_switch(*, app: App, actor: Actor) -> bool:
    """Say whether `actor` may change `app`'s egress: members and owners of its team, its writing tokens, operators."""
    if isinstance(actor, ApiToken):
        return actor.team_id == app.team_id and actor.can_write and actor.revoked_at is None
    if actor.is_active and actor.is_staff and actor.has_perm("control.change_assignment"):
        return True
    roles = (Role.OWNER, Role.MEMBER)
    return actor.is_active and Membership.objects.filter(user=actor, team_id=app.team_id, role__in=roles).exists()


def egress_enable(*, app: App, actor: Actor) -> Assignment:
    """Give `app` a pair of addresses of its own; when it has one already, or one on its way, return that.

    Raises NotAllowed, StillDisabling, ClusterFull, and AdmissionRefused or whatever else a policy of
    `EGRESS_ADMISSION` raises. Nothing is written then.
    """
    _require(app, actor)
    admitted = False
    for _ in range(ENABLE_ATTEMPTS):
        present = current_assignment(app)
        if present is not None:
            if present.wish == Wish.ENABLED:
                return present
            raise StillDisabling
        if not admitted:
            _ask_policies(app, actor)
            admitted = True
        try:
            return _begin(app, actor)
        except IntegrityError:
            # Another request took the pair number, or enabled the same app: look again.
            continue
    raise TransitionConflict(f"too many apps are being enabled at once in {app.cluster}: try again")


def egress_disable(*, app: App, actor: Actor) -> Assignment | None:
    """Take `app` back to shared addresses: connections finish, then its addresses are released.

    Works from every state; returns None when there was nothing to disable. Raises NotAllowed.
    """
    _require(app, actor)
    with transaction.atomic():
        assignment = current_assignment(app)
        if assignment is None:
            return None
        if Assignment.objects.filter(pk=assignment.pk, wish=Wish.ENABLED).update(wish=Wish.DISABLED):
            assignment.wish = Wish.DISABLED
            _record_request("egress.disable", assignment, actor)
            wake([assignment.pk])
    return assignment


def egress_retry(*, app: App, actor: Actor) -> Assignment:
    """Try again what failed; a gateway that failed is replaced by a new one. Raises NotAllowed, NothingToRetry."""
    _require(app, actor)
    with transaction.atomic():
        assignment = current_assignment(app)
        if assignment is None or assignment.status != AssignmentStatus.ERROR or assignment.wish != Wish.ENABLED:
            raise NothingToRetry
        _record_request("egress.retry", assignment, actor)
        for gateway in assignment.gateways.filter(provisioning_status=GatewayStatus.ERROR):
            gateway_transition(gateway=gateway, to=GatewayStatus.DELETING, reason="replaced on retry")
        assignment_transition(
            assignment=assignment,
            to=AssignmentStatus.PROVISIONING,
            reason="retry",
            actor=_person(actor),
            error_code="",
            error_message="",
            attempts=0,
        )
        wake([assignment.pk])
    return assignment


def current_assignment(app: App) -> Assignment | None:
    """Return the app's assignment that isn't released yet, if there is one."""
    unreleased = Assignment.objects.exclude(status=AssignmentStatus.RELEASED)
    return unreleased.select_related("app", "cluster").filter(app=app).first()


def cluster_create(
    *, name: str, region: str, vpc_id: str, vpc: str, local_networks: list[str], **sizes: Any
) -> tuple[Cluster, str]:
    """Create a cluster; returns it with its join token, which can't be had again.

    `sizes`: gateway_size, gateway_image, flow_deadline_seconds. Raises ValueError for what is no IPv4 network.
    """
    for network in (vpc, *local_networks):
        ipaddress.IPv4Network(network)
    with transaction.atomic():
        cluster = Cluster.objects.create(
            name=name, region=region, vpc_id=vpc_id, vpc=vpc, local_networks=local_networks, **sizes
        )
        return cluster, join_token_rotate(cluster=cluster)


def join_token_rotate(*, cluster: Cluster, actor: User | None = None) -> str:
    """Give `cluster` a new join token; the old one is void at once, nodes that joined keep their credentials."""
    token = "sgj_" + secrets.token_urlsafe(32)
    cluster.join_token_hash = token_hash(token)
    with transaction.atomic():
        cluster.save(update_fields=["join_token_hash"])
        events.record(Event.Kind.NODE, "cluster.join_token", on=cluster, new="rotated", actor=actor)
    return token


def node_remove(*, node: Node, actor: User) -> Node:
    """Leave `node` out of the cluster: its credential is void, gateways stop forwarding for it, nothing waits for it.

    For a node whose containers are gone or that is fenced: what still runs there loses its way out. Raises NodeGone.
    """
    with transaction.atomic():
        if not Node.objects.filter(pk=node.pk, status=NodeStatus.LIVE).update(
            status=NodeStatus.REMOVED, token_hash=None, health=Health.UNKNOWN, containers={}, flows={}, gateways={}
        ):
            raise NodeGone
        # Assignments before the cluster, as under a lease: two that wait for each other's rows would deadlock.
        wake_waiting(node.cluster_id)
        Cluster.objects.filter(pk=node.cluster_id).update(clients_revision=F("clients_revision") + 1)
        node.refresh_from_db()
        events.record(Event.Kind.NODE, "node.status", on=node, old=NodeStatus.LIVE, new=NodeStatus.REMOVED, actor=actor)
    return node


def _require(app: App, actor: Actor) -> None:
    if not may_switch(app=app, actor=actor):
        raise NotAllowed


def _ask_policies(app: App, actor: Actor) -> None:
    for path in settings.EGRESS_ADMISSION:
        import_string(path)(app=app, actor=actor)


def _begin(app: App, actor: Actor) -> Assignment:
    with transaction.atomic():
        assignment = Assignment.objects.create(
            id=uuid.uuid4(), app=app, cluster_id=app.cluster_id, pair=_free_pair(app.cluster_id), due_at=clock.now()
        )
        Gateway.objects.bulk_create(Gateway(assignment=assignment, slot=slot) for slot in SLOTS)
        _record_request("egress.enable", assignment, actor)
        events.record(
            Event.Kind.STATUS, "assignment.status", on=assignment, new=assignment.status, actor=_person(actor)
        )
        wake([assignment.pk])
    return assignment


def _free_pair(cluster_id: int) -> int:
    """Return the first free number after the one given out last, so that a number rests as long as possible."""
    in_cluster = Assignment.objects.filter(cluster_id=cluster_id)
    unreleased = in_cluster.exclude(status=AssignmentStatus.RELEASED)
    used = set(unreleased.values_list("pair", flat=True))
    if len(used) >= MAX_ROUTES:
        raise ClusterFull
    last = in_cluster.order_by("-created_at").values_list("pair", flat=True).first() or 0
    return next(pair for pair in chain(range(last + 1, MAX_PAIR + 1), range(1, last + 1)) if pair not in used)


def _person(actor: Actor) -> User | None:
    return actor.created_by if isinstance(actor, ApiToken) else actor


def _record_request(subject: str, assignment: Assignment, actor: Actor) -> None:
    reason = f"with API token {actor.name} ({actor.hint}…)" if isinstance(actor, ApiToken) else ""
    events.record(Event.Kind.REQUEST, subject, on=assignment, reason=reason, actor=_person(actor))
