"""Histories for tests: assignments with events as tests want them, also late, twice or in another order."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from billing.models import UsageRecord
from egress.control.models import App, Assignment, AssignmentStatus, Cluster, Event, Gateway, Node
from egress.control.models_told import Carry, Pivot
from tests.factories import make_app, make_cluster, make_node

Hours = Callable[[datetime], int]
MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    """Return the time of day "HH:MM[:SS[.ffffff]]" of the histories' first day, or "+N HH:MM" of the Nth after it."""
    days, _, clock = text.rpartition(" ")
    parts = [float(part) for part in clock.split(":")]
    hours, minutes, seconds = (*parts, 0.0, 0.0)[:3]
    return MIDNIGHT + timedelta(days=int(days or 0), hours=hours, minutes=minutes, seconds=seconds)


def make_assignment(cluster: Cluster | None = None, *, pair: int = 1, app: App | None = None) -> Assignment:
    app = app or make_app(cluster=cluster or make_cluster())
    assignment = Assignment.objects.create(app=app, cluster=app.cluster, pair=pair, status=AssignmentStatus.ACTIVE)
    Gateway.objects.bulk_create(Gateway(assignment=assignment, slot=slot) for slot in (0, 1))
    return assignment


def tell(assignment: Assignment, when: datetime, subject: str, old: str = "", new: str = "") -> Event:
    """Write one event."""
    kind = Event.Kind.STATUS if subject == "assignment.status" else Event.Kind.REQUEST
    return Event.objects.create(
        at=when, kind=kind, assignment=assignment, app=assignment.app, cluster=assignment.cluster,
        subject=subject, old=old, new=new,
    )  # fmt: skip


def begin_use(assignment: Assignment, when: datetime) -> None:
    tell(assignment, when - timedelta(seconds=60), "egress.enable")
    tell(assignment, when - timedelta(seconds=60), "assignment.status", "", "provisioning")
    tell(assignment, when, "assignment.status", "provisioning", "distributing")
    tell(assignment, when + timedelta(seconds=2), "assignment.status", "distributing", "active")


def end_use(assignment: Assignment, when: datetime) -> None:
    tell(assignment, when, "egress.disable")
    tell(assignment, when + timedelta(seconds=1), "assignment.status", "active", "draining")
    tell(assignment, when + timedelta(seconds=30), "assignment.status", "draining", "releasing")
    tell(assignment, when + timedelta(seconds=60), "assignment.status", "releasing", "released")


def carry(assignment: Assignment, since: datetime, *, heard: datetime, until: datetime | None = None) -> Node:
    """Let a node carry the app; returns it."""
    node = make_node(assignment.cluster, token=str(uuid4()), reported_at=heard)
    Carry.objects.create(node=node, assignment=assignment, since=since, until=until)
    return node


def pivot(assignment: Assignment, node: Node, when: datetime, *, out: bool) -> Pivot:
    gateway = None if out else assignment.gateways.get(slot=0)
    number = Pivot.objects.filter(node=node).count()
    return Pivot.objects.create(
        node=node, number=number, at=when, moved_at=when, assignment=assignment, gateway=gateway
    )


def ledger(assignment: Assignment, slot: int = 0) -> dict[str, tuple[int, int]]:
    """Return what the ledger adds up to: {"+DAY HH": (seconds, outage seconds)}; a day less on the first day."""
    sums: dict[str, tuple[int, int]] = {}
    for row in UsageRecord.objects.filter(assignment=assignment, slot=slot):
        days = (row.hour - MIDNIGHT).days
        name = f"{row.hour:%H}" if not days else f"+{days} {row.hour:%H}"
        seconds, outage = sums.get(name, (0, 0))
        sums[name] = (seconds + row.seconds, outage + row.outage_seconds)
    return {name: used for name, used in sums.items() if used != (0, 0)}


def rows(assignments: Iterable[Assignment] = ()) -> list[tuple[object, ...]]:
    """Return all rows, without their numbers and the time of their writing."""
    found = UsageRecord.objects.filter(assignment__in=assignments) if assignments else UsageRecord.objects.all()
    names = ("hour", "assignment", "slot", "sequence", "seconds", "outage_seconds")
    return list(found.order_by(*names).values_list(*names))
