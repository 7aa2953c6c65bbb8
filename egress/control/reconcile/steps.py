"""Take one step of the plan: no decisions here. Every step is idempotent and writes only under the lease.

What the provider is asked to make is committed before it is asked, so that a crash at any line is found again:
a gateway in `creating` may have a VM under its tag, one in `deleting` may have one still.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F

from egress.control import clock, distribution, events, naming
from egress.control.agents import credentials
from egress.control.agents.enrolment import enrolment_secret, user_data_of
from egress.control.health import LOST
from egress.control.models import Assignment, AssignmentStatus, Event, Gateway, GatewayStatus, Health, Placement
from egress.control.models_health import Finding
from egress.control.models_repair import IN_PLACE
from egress.control.models_rollouts import Maintenance
from egress.control.transitions import assignment_transition, gateway_transition
from egress.provider.base import NotFound, Provider, ProviderError, Server, ServerSpec, Unavailable
from portal.accounts.models import token_hash

from . import replacing
from .failures import stopped_message
from .plan import Act, Step
from .work import FRESH as _FRESH
from .work import MAX_MOVES, Work
from .work import VOID as _VOID

log = logging.getLogger(__name__)

#: A provider that says "no such server" this soon after the creation may just not know it everywhere yet.
SETTLING = timedelta(minutes=1)
_MENDING = frozenset({Act.MAINTAIN, Act.CHECK_MAINTENANCE})
#: What is known of a gateway whose system has only just begun: nothing.
_BLANK: dict[str, Any] = {
    "action_id": "",
    "applied_clients_revision": 0,
    "boot_id": "",
    "forwarding": False,
    "health": Health.UNKNOWN,
    "finding": Finding.UNKNOWN,
    "finding_reason": "",
    "detail": "",
    "flows": 0,
    "reported_at": None,
}


def take(step: Step, work: Work) -> None:
    """Take `step`. Raises ProviderErrors, LeaseLost and TransitionConflict."""
    if step.gateway_id is not None:
        _GATEWAY_STEPS[step.act](work, _gateway(step.gateway_id))
    elif step.slot is not None:
        _add_gateway(work, step.slot)
    else:
        _ASSIGNMENT_STEPS[step.act](work)


def give_up(step: Step, work: Work, code: str, detail: str) -> None:
    """Say that `step` failed for good: that a gateway of an active pair failed, or that the assignment did."""
    if step.act is Act.CHECK_PLACEMENT:
        _settle_placement(work, Placement.UNKNOWN, f"{code}: {detail}")
    elif step.act in _MENDING and step.gateway_id is not None:
        gateway = _gateway(step.gateway_id)
        lost = {"detail": LOST} if code == NotFound.code and _is_gone(work, gateway) else {}
        _fail_maintenance(work, gateway, f"{code}: {detail}", **lost)
    elif step.gateway_id is not None and (gateway := _gateway(step.gateway_id)).replaces_id:
        if step.act is Act.TAKE_OVER:
            replacing.settle(work, gateway, Placement.UNKNOWN)
        else:
            replacing.abandon(work, gateway, f"{code}: {detail}")
    else:
        fail(work, code, detail)


def _is_gone(work: Work, gateway: Gateway) -> bool:
    """Ask again, in another way: a customer who is told that an address is lost takes it out of firewalls."""
    try:
        work.open_provider().get(gateway.server_id)
    except NotFound:
        return True
    except ProviderError as error:
        log.warning("whether server %s of gateway %s is gone isn't known: %s", gateway.server_id, gateway, error)
    return False


def fail(work: Work, code: str, detail: str) -> None:
    """Bring the assignment to error: `code` and its words for the customer, `detail` for operators."""
    assignment_transition(
        assignment=work.assignment,
        to=AssignmentStatus.ERROR,
        reason=f"{code}: {detail}",
        **{**_FRESH, "error_code": code, "error_message": stopped_message(code)},
    )


def _gateway(gateway_id: UUID) -> Gateway:
    return Gateway.objects.select_related("assignment__app", "assignment__cluster").get(pk=gateway_id)


def _move(work: Work, gateway: Gateway, to: GatewayStatus, reason: str = "", **changes: Any) -> None:
    with work.lease.fenced():
        gateway_transition(gateway=gateway, to=to, reason=reason, **changes)
        Assignment.objects.filter(pk=work.assignment.pk).update(**_FRESH)


# --- gateways --------------------------------------------------------------------------------------------------------


def _add_gateway(work: Work, slot: int) -> None:
    with work.lease.fenced():
        gateway = Gateway.objects.create(assignment=work.assignment, slot=slot)
        Assignment.objects.filter(pk=work.assignment.pk).update(placement=Placement.UNCHECKED)
        events.record(
            Event.Kind.STATUS, "gateway.status", on=gateway, new=gateway.provisioning_status, reason="replacement"
        )


def _begin_create(work: Work, gateway: Gateway) -> None:
    secret_hash = token_hash(enrolment_secret(gateway.pk))
    _move(work, gateway, GatewayStatus.CREATING, enrolment_hash=secret_hash)


def _create(work: Work, gateway: Gateway) -> None:
    cluster = gateway.assignment.cluster
    tag = naming.gateway_tag(gateway.pk)
    spec = ServerSpec(
        name=naming.server_name(gateway.pk),
        region=cluster.region,
        size=cluster.gateway_size,
        image=cluster.gateway_image,
        user_data=user_data_of(gateway),
        vpc_id=cluster.vpc_id,
        tags=naming.tags_of(gateway),
    )
    work.lease.renew()
    server = work.open_provider().create_or_adopt(spec, tag=tag)
    _move(
        work,
        gateway,
        GatewayStatus.BOOTING,
        f"server {server.id}",
        server_id=server.id,
        enrolment_until=_boot_deadline(),
        **_addresses(server),
    )


def _boot_deadline() -> datetime:
    return clock.now() + timedelta(seconds=settings.EGRESS_BOOT_LIMIT_SECONDS)


def _poll(work: Work, gateway: Gateway) -> None:
    try:
        server = work.open_provider().get(gateway.server_id)
    except NotFound as error:
        if clock.now() - gateway.status_since < SETTLING:
            raise Unavailable(f"server {gateway.server_id} isn't known yet: {error}") from error
        _fail_gateway(work, gateway, "gateway_lost", f"server {gateway.server_id} is gone: {error}")
        return
    addresses = _addresses(server)
    if addresses:
        with work.lease.fenced():
            Gateway.objects.filter(pk=gateway.pk).update(**addresses)


def _addresses(server: Server) -> dict[str, str]:
    """Return both addresses of `server` as columns, or nothing while one of them is missing."""
    if server.public_address is None or server.private_address is None:
        return {}
    return {"public_address": server.public_address, "private_address": server.private_address}


def _mark_ready(work: Work, gateway: Gateway) -> None:
    # It enrolled, so the window closes: its user data is worth nothing from now on.
    back: dict[str, Any] = {"maintenance": "", "maintained": gateway.maintained + 1} if gateway.maintenance else {}
    _move(work, gateway, GatewayStatus.READY, enrolment_until=None, **back)


def _fail_boot(work: Work, gateway: Gateway) -> None:
    heard = f"last report at {gateway.reported_at:%H:%M:%S} UTC" if gateway.reported_at else "it never reported"
    detail = f"server {gateway.server_id} doesn't forward after {settings.EGRESS_BOOT_LIMIT_SECONDS} s; {heard}"
    _fail_gateway(work, gateway, "gateway_boot_timeout", f"{detail}. {gateway.detail}".strip())


def _fail_gateway(work: Work, gateway: Gateway, code: str, detail: str) -> None:
    if gateway.replaces_id:
        replacing.abandon(work, gateway, f"{code}: {detail}")
        return
    with work.lease.fenced():
        gateway_transition(gateway=gateway, to=GatewayStatus.ERROR, reason=f"{code}: {detail}")
        fail(work, code, f"gateway {'AB'[gateway.slot]}: {detail}")


def _begin_delete(work: Work, gateway: Gateway) -> None:
    # Its credentials are void at once.
    _move(work, gateway, GatewayStatus.DELETING, **_VOID)


def _delete(work: Work, gateway: Gateway) -> None:
    """Delete every VM under the gateway's tag; deleted is what the provider no longer lists."""
    provider, tag = work.open_provider(), naming.gateway_tag(gateway.pk)
    work.lease.renew()
    servers = {server.id for server in provider.list_by_tag(tag)} - _used_by_others(gateway)
    left = ""
    if gateway.server_id and gateway.server_id not in servers:
        left = _look_at_untagged(provider, gateway, servers)
    for server_id in sorted(servers):
        provider.delete(server_id)
    if servers and {server.id for server in provider.list_by_tag(tag)} & servers:
        return
    _move(work, gateway, GatewayStatus.DELETED, left, deleted_at=clock.now(), forwarding=False, health=Health.UNKNOWN)


def _used_by_others(gateway: Gateway) -> set[str]:
    """Return the VMs of all other gateways: one that bears our tag as well, by somebody's hand, is still theirs."""
    others = Gateway.objects.exclude(pk=gateway.pk).exclude(provisioning_status=GatewayStatus.DELETED)
    return set(others.exclude(server_id="").values_list("server_id", flat=True))


def _look_at_untagged(provider: Provider, gateway: Gateway, servers: set[str]) -> str:
    """Add the gateway's VM to `servers` if it lost its tag and is ours by other signs; else say that it is left.

    A copy of another installation's database names that one's VMs.
    """
    try:
        server = provider.get(gateway.server_id)
    except NotFound:
        return ""
    if naming.is_ours(server.tags) or server.name == naming.server_name(gateway.pk):
        servers.add(server.id)
        return ""
    return (
        f"server {server.id} ({server.name}) is still at the provider, but bears neither our tag nor our name:"
        " it is left alone. Delete it there by hand if it was this gateway's"
    )


# --- maintenance: the same VM, the same addresses ---------------------------------------------------------------------


def _resume(work: Work, gateway: Gateway) -> None:
    reason = "taken back into use: the other gateway isn't healthy"
    _move(work, gateway, GatewayStatus.READY, reason, maintenance="")


def _begin_maintenance(work: Work, gateway: Gateway) -> None:
    # One that is replaced has nothing done to it: it is out of use.
    to = GatewayStatus.ERROR if gateway.maintenance == Maintenance.REPLACE else GatewayStatus.MAINTENANCE
    _move(work, gateway, to, gateway.maintenance, action_id="")


def _maintain(work: Work, gateway: Gateway) -> None:
    """Ask for the action. Killed before its id is written, it is asked for again: that costs time, nothing else.

    Meanwhile no enrolment is possible: what still runs of an old system can't pass for the new one.
    """
    with work.lease.fenced():
        Gateway.objects.filter(pk=gateway.pk).update(left_boot_id=gateway.boot_id)
    provider = work.open_provider()
    match gateway.maintenance:
        case Maintenance.REBOOT:
            action_id = provider.reboot(gateway.server_id)
        case Maintenance.POWER_CYCLE if gateway.server_status == "off":
            action_id = provider.power_on(gateway.server_id)
        case Maintenance.POWER_CYCLE:
            action_id = provider.power_cycle(gateway.server_id)
        case _:
            action_id = provider.rebuild(gateway.server_id, image=gateway.assignment.cluster.gateway_image)
    with work.lease.fenced():
        Gateway.objects.filter(pk=gateway.pk).update(action_id=action_id)
        events.record(Event.Kind.PROVIDER, f"provider.{gateway.maintenance}", on=gateway, new=action_id)


def _check_maintenance(work: Work, gateway: Gateway) -> None:
    """Once the action is over, wait for the new boot; after a rebuild let it enrol, the old credential being gone."""
    what = f"{gateway.maintenance} of server {gateway.server_id}"
    status = work.open_provider().action_status(gateway.server_id, gateway.action_id)
    if status == "errored":
        with work.lease.fenced():
            Gateway.objects.filter(pk=gateway.pk).update(action_id="")
        raise Unavailable(f"action {gateway.action_id} failed: {what}")
    if status == "completed":
        anew = gateway.maintenance == Maintenance.REBUILD
        enrols = {**credentials.VOID, "enrolment_until": _boot_deadline()} if anew else {}
        _move(work, gateway, GatewayStatus.BOOTING, f"{what} done", **_BLANK, **enrols)


def _fail_maintenance(work: Work, gateway: Gateway, reason: str = "", **changes: Any) -> None:
    """Leave the pair active, on the other gateway alone."""
    late = f"server {gateway.server_id} didn't come back within {settings.EGRESS_BOOT_LIMIT_SECONDS} s"
    ended: dict[str, Any] = {"maintenance": "", "action_id": "", "enrolment_until": None}
    _move(work, gateway, GatewayStatus.ERROR, f"{gateway.maintenance}: {reason or late}", **ended, **changes)


# --- the assignment --------------------------------------------------------------------------------------------------


def _check_placement(work: Work) -> None:
    """Take note that the two servers stand on different hosts; else replace the second, a few times at most."""
    first, second = work.assignment.gateways.filter(IN_PLACE).order_by("slot")
    if first.server_id not in work.open_provider().neighbours(second.server_id):
        _settle_placement(work, Placement.APART)
    elif work.assignment.moves >= MAX_MOVES:
        reason = f"servers {first.server_id} and {second.server_id} share a host after {MAX_MOVES} replacements"
        _settle_placement(work, Placement.TOGETHER, reason)
    else:
        with work.lease.fenced():
            reason = f"server {second.server_id} stands on the host of {first.server_id}"
            gateway_transition(gateway=second, to=GatewayStatus.DELETING, reason=reason, **_VOID)
            Assignment.objects.filter(pk=work.assignment.pk).update(**_FRESH, moves=F("moves") + 1)


def _settle_placement(work: Work, placement: Placement, reason: str = "") -> None:
    with work.lease.fenced():
        Assignment.objects.filter(pk=work.assignment.pk).update(**_FRESH, placement=placement)
        if reason:
            subject = "assignment.placement"
            events.record(Event.Kind.PROVIDER, subject, on=work.assignment, new=placement, reason=reason)


def _distribute(work: Work) -> None:
    _publish_and_move(work, "active", AssignmentStatus.DISTRIBUTING)


def _announce(work: Work) -> None:
    assignment = work.assignment
    with work.lease.fenced():
        route = distribution.route_of(assignment, "active")
        revision = distribution.publish(assignment.cluster_id, route.namespace, route)
        Assignment.objects.filter(pk=assignment.pk).update(target_revision=revision)


def _activate(work: Work) -> None:
    with work.lease.fenced():
        assignment_transition(assignment=work.assignment, to=AssignmentStatus.ACTIVE, **_FRESH)


def _drain(work: Work) -> None:
    _publish_and_move(work, "draining", AssignmentStatus.DRAINING)


def _release(work: Work) -> None:
    assignment = work.assignment
    with work.lease.fenced():
        routed = distribution.has_route(assignment)
        namespace = assignment.app.namespace
        revision = distribution.publish(assignment.cluster_id, namespace, None) if routed else None
        assignment_transition(assignment=assignment, to=AssignmentStatus.RELEASING, target_revision=revision, **_FRESH)


def _finish(work: Work) -> None:
    with work.lease.fenced():
        assignment_transition(
            assignment=work.assignment, to=AssignmentStatus.RELEASED, released_at=clock.now(), **_FRESH
        )


def _publish_and_move(work: Work, state: Any, to: AssignmentStatus) -> None:
    assignment = work.assignment
    with work.lease.fenced():
        route = distribution.route_of(assignment, state)
        revision = distribution.publish(assignment.cluster_id, route.namespace, route)
        assignment_transition(
            assignment=assignment, to=to, reason=f"revision {revision}", target_revision=revision, **_FRESH
        )


_GATEWAY_STEPS: dict[Act, Callable[[Work, Gateway], None]] = {
    Act.BEGIN_CREATE: _begin_create,
    Act.CREATE: _create,
    Act.POLL: _poll,
    Act.MARK_READY: _mark_ready,
    Act.FAIL_BOOT: _fail_boot,
    Act.BEGIN_DELETE: _begin_delete,
    Act.DELETE: _delete,
    Act.ADD_SUCCESSOR: replacing.add_successor,
    Act.TAKE_OVER: replacing.take_over,
    Act.RESUME: _resume,
    Act.BEGIN_MAINTENANCE: _begin_maintenance,
    Act.MAINTAIN: _maintain,
    Act.CHECK_MAINTENANCE: _check_maintenance,
    Act.FAIL_MAINTENANCE: _fail_maintenance,
}
_ASSIGNMENT_STEPS: dict[Act, Callable[[Work], None]] = {
    Act.CHECK_PLACEMENT: _check_placement,
    Act.DISTRIBUTE: _distribute,
    Act.ACTIVATE: _activate,
    Act.DRAIN: _drain,
    Act.RELEASE: _release,
    Act.FINISH: _finish,
    Act.ANNOUNCE: _announce,
}
