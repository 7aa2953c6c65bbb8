"""What people and programs ask of the control plane: each is one transaction that writes a wish and wakes reconcile."""

import ipaddress
import secrets
import uuid
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.module_loading import import_string

from portal.accounts.models import ApiToken, Membership, Role, User, token_hash

from . import clock, distribution, events
from .agents import credentials
from .errors import (
    AdmissionRefused,
    ClusterInUse,
    ClusterInvalid,
    NodeGone,
    NotAllowed,
    NothingToRetry,
    StillDisabling,
    TransitionConflict,
)
from .health import is_healthy
from .inventory.adoption import find_for, pair_adopt
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
from .models_told import OnOutage
from .pairs import free_pair
from .selectors import Actor, current_assignment
from .transitions import assignment_transition, gateway_transition
from .wake import wake, wake_waiting

#: How often an enable tries again when another took its pair number in the same instant.
ENABLE_ATTEMPTS = 8


#: What `cluster_change` may change, and what of it gateways and nodes are built on.
FIXED_IN_USE = frozenset({"region", "vpc_id", "vpc", "mark_mask", "rule_priority", "table_base"})
CHANGEABLE = FIXED_IN_USE | {
    "name",
    "local_networks",
    "gateway_size",
    "gateway_image",
    "flow_deadline_seconds",
    "internet_targets",
    "snat_port_first",
    "snat_port_last",
    "probe_interval_ms",
    "probe_misses_to_suspect",
    "probe_dead_after_ms",
    "probe_hold_down_seconds",
    "scrapers",
}


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
    for _ in range(ENABLE_ATTEMPTS):
        present = current_assignment(app)
        if present is not None:
            if present.wish == Wish.ENABLED:
                return present
            raise StillDisabling
        try:
            return _begin(app, actor)
        except IntegrityError:
            # Another request took the pair number, or enabled the same app: look again.
            continue
    raise TransitionConflict(f"too many apps are being enabled at once in {app.cluster}: try again")


def enable_refusal(*, app: App, actor: Actor) -> AdmissionRefused | None:
    """Return what a policy would say if `actor` enabled `app` now; None: nothing against it. Writes nothing."""
    try:
        with transaction.atomic():
            _ask_policies(app, actor)
    except AdmissionRefused as refusal:
        return refusal
    return None


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
        for gateway in filter(_has_failed, assignment.gateways.all()):
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


def outage_choose(*, app: App, actor: Actor, on_outage: OnOutage) -> App:
    """Choose where `app`'s new connections go while both its gateways are down; nodes learn it as a route change.

    The choice stays through disable and enable. Raises NotAllowed.
    """
    _require(app, actor)
    with transaction.atomic():
        # Locks the row: of two who choose at once, each sees what it changes.
        present = App.objects.select_for_update(no_key=True).get(pk=app.pk)
        if present.on_outage != on_outage:
            App.objects.filter(pk=app.pk).update(on_outage=on_outage)
            assignment = current_assignment(app)
            _record_request("egress.on_outage", assignment or app, actor, old=present.on_outage, new=on_outage)
            if assignment is not None:
                # Reconcile sees that nodes were told another route, and publishes this one.
                wake([assignment.pk])
    app.on_outage = on_outage
    return app


def cluster_create(
    *, name: str, region: str, vpc_id: str, vpc: str, local_networks: list[str], **sizes: Any
) -> tuple[Cluster, str]:
    """Create a cluster; returns it with its join token, which can't be had again.

    `sizes`: other columns of Cluster, such as gateway_size. Raises ValueError for what is no IPv4 network.
    """
    for network in (vpc, *local_networks):
        ipaddress.IPv4Network(network)
    with transaction.atomic():
        cluster = Cluster.objects.create(
            name=name, region=region, vpc_id=vpc_id, vpc=vpc, local_networks=local_networks, **sizes
        )
        return cluster, join_token_rotate(cluster=cluster)


def cluster_change(*, cluster: Cluster, actor: User | None, **fields: Any) -> Cluster:
    """Change these columns of `cluster`, and no others; nodes and gateways learn at once what concerns them.

    Returns the cluster as it is now. Raises ClusterInvalid, and ClusterInUse for what gateways and nodes are built on
    while an assignment isn't released. Nothing is written then.
    """
    if unknown := fields.keys() - CHANGEABLE:
        raise ClusterInvalid(f"{', '.join(sorted(unknown))} of a cluster can't be changed.")
    with transaction.atomic():
        # Locks the row: no assignment begins meanwhile.
        present = Cluster.objects.select_for_update().get(pk=cluster.pk)
        changed = {name: value for name, value in fields.items() if getattr(present, name) != value}
        if not changed:
            return present
        told = distribution.settings_of(present)
        _refuse_while_in_use(present, changed.keys() & FIXED_IN_USE)
        old = {name: getattr(present, name) for name in changed}
        for name, value in changed.items():
            setattr(present, name, value)
        _check_cluster(present)
        present.save(update_fields=changed)
        if distribution.settings_of(present) != told:
            Cluster.objects.filter(pk=present.pk).update(revision=F("revision") + 1)
        if "internet_targets" in changed:
            Cluster.objects.filter(pk=present.pk).update(clients_revision=F("clients_revision") + 1)
        reason = "; ".join(f"{name}: {old[name]} → {value}" for name, value in sorted(changed.items()))
        events.record(Event.Kind.REQUEST, "cluster.change", on=present, reason=reason, actor=actor)
    present.refresh_from_db()
    return present


def join_token_rotate(*, cluster: Cluster, actor: User | None = None) -> str:
    """Give `cluster` a new join token; the old one is void at once, nodes that joined keep their credentials."""
    token = "sgj_" + secrets.token_urlsafe(32)
    cluster.join_token_hash = token_hash(token)
    with transaction.atomic():
        cluster.save(update_fields=["join_token_hash"])
        events.record(Event.Kind.NODE, "cluster.join_token", on=cluster, new="rotated", actor=actor)
    return token


def security_seen(*, event: Event, actor: User) -> None:
    """Note that `event`, of the kind security, was looked into: it needs no look any more."""
    unseen = Event.objects.filter(pk=event.pk, kind=Event.Kind.SECURITY, seen_at=None)
    unseen.update(seen_at=clock.now(), seen_by=actor)


def node_remove(*, node: Node, actor: User) -> Node:
    """Leave `node` out of the cluster: its credential is void, gateways stop forwarding for it, nothing waits for it.

    For a node whose containers are gone or that is fenced: what still runs there loses its way out. Raises NodeGone.
    """
    with transaction.atomic():
        if not Node.objects.filter(pk=node.pk, status=NodeStatus.LIVE).update(
            status=NodeStatus.REMOVED,
            **credentials.VOID,
            health=Health.UNKNOWN,
            containers={},
            in_doubt={},
            flows={},
            gateways={},
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
    """Ask in the transaction that would enable: what a policy locks, to count it, stays as it is until then."""
    for path in settings.EGRESS_ADMISSION:
        import_string(path)(app=app, actor=actor)


def _has_failed(gateway: Gateway) -> bool:
    """Say whether a gateway failed, or would at the next look: nobody looked after it while the other was in error."""
    limit = timedelta(seconds=settings.EGRESS_BOOT_LIMIT_SECONDS)
    overdue = gateway.provisioning_status == GatewayStatus.BOOTING and clock.now() - gateway.status_since > limit
    return gateway.provisioning_status == GatewayStatus.ERROR or (overdue and not is_healthy(gateway))


def _check_cluster(cluster: Cluster) -> None:
    try:
        cluster.full_clean()
    except ValidationError as error:
        raise ClusterInvalid("; ".join(error.messages)) from None


def _refuse_while_in_use(cluster: Cluster, names: Collection[str]) -> None:
    count = cluster.assignments.exclude(status=AssignmentStatus.RELEASED).count()
    if names and count:
        raise ClusterInUse(
            f"{', '.join(sorted(names))} of {cluster} can't change while dedicated egress is enabled for apps in it"
            f" (now {count}): disable it for them first, or make another cluster."
        )


def _begin(app: App, actor: Actor) -> Assignment:
    with transaction.atomic():
        _ask_policies(app, actor)
        # Locks the row against others who begin, and against route changes: pair numbers are given out one by one.
        Cluster.objects.select_for_update(no_key=True).get(pk=app.cluster_id)
        if find_for(app.pk):
            # Its pair is still there: only the database forgot it.
            assignment = pair_adopt(app=app, actor=_person(actor))
            _record_request("egress.enable", assignment, actor)
            return assignment
        assignment = Assignment.objects.create(
            id=uuid.uuid4(), app=app, cluster_id=app.cluster_id, pair=free_pair(app.cluster_id), due_at=clock.now()
        )
        Gateway.objects.bulk_create(Gateway(assignment=assignment, slot=slot) for slot in SLOTS)
        _record_request("egress.enable", assignment, actor)
        events.record(
            Event.Kind.STATUS, "assignment.status", on=assignment, new=assignment.status, actor=_person(actor)
        )
        wake([assignment.pk])
    return assignment


def _person(actor: Actor) -> User | None:
    return actor.created_by if isinstance(actor, ApiToken) else actor


def _record_request(subject: str, on: Assignment | App, actor: Actor, **moved: str) -> None:
    reason = f"with API token {actor.name} ({actor.hint}…)" if isinstance(actor, ApiToken) else ""
    events.record(Event.Kind.REQUEST, subject, on=on, reason=reason, actor=_person(actor), **moved)
