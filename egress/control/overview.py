"""Many apps at once, for lists: what a row shows of each, in four queries whatever the number of apps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import installation
from .models import App, Assignment, AssignmentStatus, EgressType, Node, NodeStatus, Wish
from .selectors import DedicatedIp, Problem, dedicated_ips, is_busy, problem_of, shown_status


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


def egress_overviews(apps: Sequence[App]) -> list[EgressOverview]:
    """Return the overview of each app, in the order given."""
    ids = [app.pk for app in apps]
    current = Assignment.objects.exclude(status=AssignmentStatus.RELEASED).filter(app_id__in=ids)
    assignments = {assignment.app_id: assignment for assignment in current.prefetch_related("gateways")}
    there = _containers({app.cluster_id for app in apps})
    still = installation.changes_wait() if any(map(is_busy, assignments.values())) else ""
    return [_overview(app, assignments.get(app.pk), there[app.cluster_id, app.namespace], still) for app in apps]


@dataclass(frozen=True, slots=True)
class _Share:
    """A node's containers of one namespace."""

    node: str
    count: int
    covered: bool


def _containers(cluster_ids: Iterable[int]) -> dict[tuple[int, str], list[_Share]]:
    """Return the containers of each namespace on each node that has any."""
    shares: dict[tuple[int, str], list[_Share]] = defaultdict(list)
    live = Node.objects.filter(cluster_id__in=cluster_ids, status=NodeStatus.LIVE).order_by("name")
    columns = ("cluster_id", "name", "dataplane", "containers", "in_doubt")
    for cluster_id, name, dataplane, containers, in_doubt in live.values_list(*columns):
        for namespace, count in containers.items():
            if count:
                covered = dataplane != "unsupported" and not in_doubt.get(namespace)
                shares[cluster_id, namespace].append(_Share(name, count, covered))
    return shares


def _overview(app: App, assignment: Assignment | None, shares: Sequence[_Share], changes_wait: str) -> EgressOverview:
    problem = problem_of(assignment, changes_wait=changes_wait) if assignment else Problem("", "")
    enabled = assignment is not None and assignment.wish == Wish.ENABLED
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
    )
