"""Many apps at once, for lists: what a row shows of each, in five queries whatever the number of apps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from . import clock, installation
from .condition import Condition, Word
from .health import is_fresh
from .holds import Hold, holds_of
from .models import App, Assignment, AssignmentStatus, EgressType, Node, NodeStatus, Wish
from .selectors import (
    DedicatedIp,
    Problem,
    condition_now,
    dedicated_ips,
    is_busy,
    latest_per_slot,
    problem_of,
    shown_status,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressOverview:
    """One app's egress in short; the fields mean what they mean in `EgressView`."""

    app: App
    type: EgressType
    status: str
    wish: str
    error_code: str
    error_message: str
    ips: tuple[DedicatedIp, ...]
    containers: int
    busy_nodes: int
    uncovered_nodes: tuple[str, ...]
    condition: Condition | None
    condition_since: datetime | None
    hold: Hold | None


def egress_overviews(apps: Sequence[App]) -> list[EgressOverview]:
    """Return the overview of each app, in the order given."""
    ids = [app.pk for app in apps]
    current = Assignment.objects.exclude(status=AssignmentStatus.RELEASED).filter(app_id__in=ids)
    loaded = current.select_related("app", "standing").prefetch_related("gateways")
    assignments = {assignment.app_id: assignment for assignment in loaded}
    there = _containers({app.cluster_id for app in apps})
    holds = holds_of(assignments.values())
    busy = any(is_busy(each) and each.pk not in holds for each in assignments.values())
    still = installation.changes_wait() if busy else ""

    def overview(app: App) -> EgressOverview:
        assignment = assignments.get(app.pk)
        hold = holds.get(assignment.pk) if assignment else None
        return _overview(app, assignment, there[app.cluster_id, app.namespace], still, hold)

    return [overview(app) for app in apps]


@dataclass(frozen=True, slots=True)
class _Share:
    """A node's containers of one namespace."""

    node: str
    count: int
    covered: bool
    word: Word


def _containers(cluster_ids: Iterable[int]) -> dict[tuple[int, str], list[_Share]]:
    """Return the containers of each namespace on each node that has any."""
    shares: dict[tuple[int, str], list[_Share]] = defaultdict(list)
    live = Node.objects.filter(cluster_id__in=cluster_ids, status=NodeStatus.LIVE).order_by("name")
    columns = ("cluster_id", "name", "dataplane", "containers", "in_doubt", "gateways", "reported_at")
    now = clock.now()
    for cluster_id, name, dataplane, containers, in_doubt, gateways, reported_at in live.values_list(*columns):
        word = Word(gateways=gateways, fresh=is_fresh(reported_at, now))
        for namespace, count in containers.items():
            if count:
                covered = dataplane != "unsupported" and not in_doubt.get(namespace)
                shares[cluster_id, namespace].append(_Share(name, count, covered, word))
    return shares


def _overview(
    app: App, assignment: Assignment | None, shares: Sequence[_Share], changes_wait: str, hold: Hold | None
) -> EgressOverview:
    problem = problem_of(assignment, changes_wait=changes_wait, hold=hold) if assignment else Problem("", "")
    enabled = assignment is not None and assignment.wish == Wish.ENABLED
    condition, since = None, None
    if assignment is not None:
        words = [share.word for share in shares]
        condition, since = condition_now(assignment, latest_per_slot(assignment), words)
    return EgressOverview(
        app=app,
        type=EgressType.DEDICATED_IP if enabled else EgressType.AUTOASSIGN,
        status=shown_status(assignment) if assignment else "",
        wish=assignment.wish if assignment else "",
        error_code=problem.code,
        error_message=problem.message,
        ips=dedicated_ips(assignment) if assignment else (),
        containers=sum(share.count for share in shares),
        busy_nodes=len(shares),
        uncovered_nodes=tuple(share.node for share in shares if not share.covered) if enabled else (),
        condition=condition,
        condition_since=since,
        hold=hold,
    )
