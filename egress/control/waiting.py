"""Say in a line what an assignment waits for: what an operator wants to know of a row that doesn't move."""

from .models import Assignment, AssignmentStatus, Gateway, GatewayStatus
from .selectors import lagging_nodes, live_nodes

#: A row that takes longer than this in a passing status is worth a look.
LONG_SECONDS = 900
NAMES_SHOWN = 5


def waits_for(assignment: Assignment) -> str:
    """Return what holds `assignment` up; "" when nothing does."""
    if assignment.error_code:
        tried = f", {assignment.attempts} attempts" if assignment.attempts else ""
        return f"{assignment.error_code}{tried}"
    match assignment.status:
        case AssignmentStatus.PROVISIONING:
            return "; ".join(_gateway(gateway) for gateway in assignment.gateways.all() if _is_on_its_way(gateway))
        case AssignmentStatus.DRAINING:
            return _flows(assignment)
        case AssignmentStatus.DISTRIBUTING | AssignmentStatus.ACTIVE | AssignmentStatus.RELEASING:
            names = lagging_nodes(assignment)
            return f"nodes: {_some(names)}" if names else ""
    return ""


def _is_on_its_way(gateway: Gateway) -> bool:
    return gateway.provisioning_status not in {GatewayStatus.READY, GatewayStatus.DELETED}


def _gateway(gateway: Gateway) -> str:
    text = f"gateway {'AB'[gateway.slot]} {gateway.provisioning_status}"
    if gateway.provisioning_status != GatewayStatus.BOOTING:
        return text
    if not gateway.public_address:
        return f"{text}, no address yet"
    return f"{text}, {gateway.detail or 'not forwarding'}" if gateway.reported_at else f"{text}, no report yet"


def _flows(assignment: Assignment) -> str:
    ids = [str(gateway.pk) for gateway in assignment.gateways.all()]
    counts = {node.name: sum(node.flows.get(key, 0) for key in ids) for node in live_nodes(assignment.cluster_id)}
    carrying = tuple(f"{name} ({count})" for name, count in counts.items() if count)
    return f"connections on {_some(carrying)}" if carrying else f"nodes: {_some(lagging_nodes(assignment))}"


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
