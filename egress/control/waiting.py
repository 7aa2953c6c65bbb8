"""Say in a line what an assignment waits for: what an operator wants to know of a row that doesn't move."""

from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.utils.timesince import timesince

from . import clock, naming
from .models import Assignment, AssignmentStatus, Gateway, GatewayStatus, Health, Node, Placement
from .selectors import lagging_nodes, live_nodes, uncovered_nodes

#: A row that takes longer than this in a passing status is worth a look.
LONG_SECONDS = 900
NAMES_SHOWN = 5


def waits_for(assignment: Assignment, nodes: Sequence[Node] | None = None) -> str:
    """Return what holds `assignment` up; "" when nothing does. `nodes`: its cluster's live ones, where they are known.

    Asks nothing of the database when `nodes` are given, app and cluster loaded, and the gateways prefetched.
    """
    known = live_nodes(assignment.cluster_id) if nodes is None else nodes
    if assignment.error_code:
        tried = f", {assignment.attempts} attempts" if assignment.attempts else ""
        return f"{assignment.error_code}{tried}"
    match assignment.status:
        case AssignmentStatus.PROVISIONING:
            return "; ".join(_gateway(gateway) for gateway in assignment.gateways.all() if _is_on_its_way(gateway))
        case AssignmentStatus.DRAINING:
            return _flows(assignment, known)
        case AssignmentStatus.DISTRIBUTING if not known:
            return "no live node"
        case AssignmentStatus.ACTIVE:
            troubles = (_placement(assignment), *map(_trouble, assignment.gateways.all()), _lagging(assignment, known))
            return "; ".join(filter(None, troubles))
        case AssignmentStatus.DISTRIBUTING:
            return _lagging(assignment, known)
        case AssignmentStatus.RELEASING:
            stuck = map(stuck_deletion, assignment.gateways.all())
            return "; ".join(filter(None, (_lagging(assignment, known), *stuck)))
    return ""


def stuck_after() -> timedelta:
    """Return how long the provider may take to delete a server."""
    return timedelta(seconds=settings.EGRESS_DELETION_STUCK_SECONDS)


def stuck_deletion(gateway: Gateway) -> str:
    """Say that the provider doesn't delete a gateway's server, and what to do; "" where that isn't so."""
    now = clock.now()
    if gateway.provisioning_status != GatewayStatus.DELETING or gateway.status_since > now - stuck_after():
        return ""
    server = gateway.server_id or naming.server_name(gateway.pk)
    return (
        f"server {server} is still there {timesince(gateway.status_since, now, depth=1)} after its deletion was asked"
        " for: look at it in the provider's console, or ask their support. It is asked for again every few minutes; the"
        " customer doesn't wait for it, nor pay."
    )


def _lagging(assignment: Assignment, nodes: Sequence[Node]) -> str:
    uncovered = set(uncovered_nodes(assignment, nodes))
    unsupported = {node.name for node in nodes if node.dataplane == "unsupported"}

    def told(name: str) -> str:
        if name not in uncovered:
            return name
        return f"{name} (network unsupported)" if name in unsupported else f"{name} (has containers in doubt)"

    names = tuple(map(told, lagging_nodes(assignment, nodes)))
    return f"nodes: {_some(names)}" if names else ""


def _placement(assignment: Assignment) -> str:
    return "both gateways on one host" if assignment.placement == Placement.TOGETHER else ""


def _trouble(gateway: Gateway) -> str:
    """Say what a gateway of an active pair lacks; "" when it serves."""
    if _is_on_its_way(gateway):
        return _gateway(gateway)
    why = f": {gateway.finding_reason}" if gateway.finding_reason else ""
    return f"gateway {'AB'[gateway.slot]} unhealthy{why}" if gateway.health == Health.UNHEALTHY else ""


def _is_on_its_way(gateway: Gateway) -> bool:
    return gateway.provisioning_status not in {GatewayStatus.READY, GatewayStatus.DELETED}


def _gateway(gateway: Gateway) -> str:
    made_for = " (to replace the present one)" if gateway.replaces_id else ""
    purpose = f" ({gateway.get_maintenance_display().lower()})" if gateway.maintenance else ""
    text = f"gateway {'AB'[gateway.slot]}{made_for} {gateway.provisioning_status}{purpose}"
    if gateway.provisioning_status != GatewayStatus.BOOTING:
        return text
    if not gateway.public_address:
        return f"{text}, no address yet"
    return f"{text}, {gateway.detail or 'not forwarding'}" if gateway.reported_at else f"{text}, no report yet"


def _flows(assignment: Assignment, nodes: Sequence[Node]) -> str:
    ids = [str(gateway.pk) for gateway in assignment.gateways.all()]
    counts = {node.name: sum(node.flows.get(key, 0) for key in ids) for node in nodes}
    carrying = tuple(f"{name} ({count})" for name, count in counts.items() if count)
    return f"connections on {_some(carrying)}" if carrying else f"nodes: {_some(lagging_nodes(assignment, nodes))}"


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
