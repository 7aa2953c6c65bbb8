"""Rows as the control plane would have left them: a team with all roles, a cluster, apps in every state."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from django.contrib.auth.hashers import make_password

from egress.control import clock
from egress.control.health import LOST, observe_gateway
from egress.control.models import (
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
    Placement,
)
from egress.control.services import egress_disable, egress_enable
from egress.control.transitions import assignment_transition, gateway_transition
from portal.accounts.models import ApiToken, Membership, Role, Team, User

PASSWORD = "correct horse battery"
ADDRESSES = ("203.0.113.10", "203.0.113.20")
STATES = (
    "off",
    "provisioning",
    "distributing",
    "active",
    "degraded",
    "dark",
    "draining",
    "releasing",
    "error",
)
NO_ROOM = "There is no room for new gateways in this app's region at the moment. Retry later."


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """One team with a person in each role, a stranger with a team of their own, and a cluster."""

    team: Team
    owner: User
    member: User
    viewer: User
    outsider: User
    cluster: Cluster


@cache
def _hashed() -> str:
    # Once for all rows: hashing is slow by design.
    return make_password(PASSWORD)


def person(email: str, **fields: object) -> User:
    return User.objects.create(email=email, password=_hashed(), **fields)


def crew() -> Crew:
    team = Team.objects.create(name="Northwind", slug="northwind")
    people = {role: person(f"{role}@northwind.example") for role in Role.values}
    for role, user in people.items():
        Membership.objects.create(user=user, team=team, role=role)
    stranger = person("mallory@elsewhere.example")
    other = Team.objects.create(name="Elsewhere", slug="elsewhere")
    Membership.objects.create(user=stranger, team=other, role=Role.OWNER)
    cluster = Cluster.objects.create(name="fra1", region="fra1", vpc_id="vpc-1", vpc="10.110.0.0/20", revision=7)
    return Crew(team=team, outsider=stranger, cluster=cluster, **people)


def node(cluster: Cluster, ordinal: int, **fields: object) -> Node:
    values: dict[str, object] = {
        "name": f"fra1-w{ordinal + 1}",
        "private_address": f"10.110.0.{21 + ordinal}",
        "status": NodeStatus.LIVE,
        "health": Health.HEALTHY,
        "dataplane": "ok",
        "applied_revision": 7,
        "applied_epoch": str(cluster.epoch),
        "reported_at": clock.now(),
    }
    return Node.objects.create(cluster=cluster, ordinal=ordinal, **{**values, **fields})


def app(crew: Crew, name: str = "shop-api", *, team: Team | None = None) -> App:
    return App.objects.create(team=team or crew.team, cluster=crew.cluster, name=name, namespace=name)


def token(crew: Crew, *, can_write: bool = True) -> tuple[ApiToken, str]:
    return ApiToken.issue(team=crew.team, name="ci", created_by=crew.owner, can_write=can_write)


def bring(app: App, state: str, *, by: User, addresses: tuple[str, str] = ADDRESSES) -> None:
    """Take `app` from off to `state` by the control plane's own moves; its history gets an age."""
    if state == "off":
        return
    assignment = egress_enable(app=app, actor=by)
    _gateways(assignment, state, addresses)
    for status in _WAY[state]:
        changes = {"target_revision": 7} if status == AssignmentStatus.DISTRIBUTING else {}
        if status == AssignmentStatus.ERROR:
            changes = {"error_code": "provider_no_capacity", "error_message": NO_ROOM}
        if status == AssignmentStatus.DRAINING:
            egress_disable(app=app, actor=by)
        assignment_transition(assignment=assignment, to=status, **changes)
    if state in {"degraded", "dark"}:
        for gateway in assignment.gateways.filter(slot__gte=1 if state == "degraded" else 0):
            fall_silent(gateway)
    if state in {"failed", "lost"}:
        # A rebuild that failed leaves the health that was seen last.
        first = assignment.gateways.get(slot=0)
        gateway_transition(gateway=first, to=GatewayStatus.ERROR, detail=LOST if state == "lost" else "")
    if state == "releasing":
        for gateway in assignment.gateways.all():
            gateway_transition(gateway=gateway, to=GatewayStatus.DELETING)
    _age(app)


_WAY: dict[str, tuple[AssignmentStatus, ...]] = {
    "provisioning": (),
    "distributing": (AssignmentStatus.DISTRIBUTING,),
    "active": (AssignmentStatus.DISTRIBUTING, AssignmentStatus.ACTIVE),
    "error": (AssignmentStatus.ERROR,),
}
_WAY["degraded"] = _WAY["dark"] = _WAY["failed"] = _WAY["lost"] = _WAY["active"]
_WAY["draining"] = (*_WAY["active"], AssignmentStatus.DRAINING)
_WAY["releasing"] = (*_WAY["draining"], AssignmentStatus.RELEASING)


def _gateways(assignment: Assignment, state: str, addresses: tuple[str, str]) -> None:
    if state == "error":
        return
    for gateway in assignment.gateways.order_by("slot"):
        gateway_transition(gateway=gateway, to=GatewayStatus.CREATING)
        if state == "provisioning" and gateway.slot == 1:
            continue
        address = addresses[gateway.slot]
        gateway_transition(gateway=gateway, to=GatewayStatus.BOOTING, public_address=address)
        if state == "provisioning":
            continue
        gateway_transition(gateway=gateway, to=GatewayStatus.READY, forwarding=True, reported_at=clock.now())
        observe_gateway(gateway)
    if state != "provisioning":
        Assignment.objects.filter(pk=assignment.pk).update(placement=Placement.APART)


def fall_silent(gateway: Gateway) -> None:
    gateway.reported_at = clock.now() - timedelta(minutes=2)
    gateway.save(update_fields=["reported_at"])
    observe_gateway(gateway)


def _age(app: App) -> None:
    """Spread the app's events over time, the latest a little ago."""
    events = list(Event.objects.filter(app=app).order_by("-at", "-id"))
    at = clock.now() - timedelta(seconds=8)
    for number, event in enumerate(events):
        event.at = at
        at -= timedelta(seconds=7 + number * 11)
    Event.objects.bulk_update(events, ["at"])
