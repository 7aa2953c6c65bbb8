"""How far a rollout got, and what each of its gateways waits for, in words: what its page, the API and command show."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count

from . import clock, distribution
from .maintenance import serves
from .models import AssignmentStatus, Gateway, GatewayStatus, Health, Wish
from .models_rollouts import ItemState, Maintenance, Rollout, RolloutItem, RolloutStatus

#: Nobody reads further.
MAX_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One gateway: `says` is what it waits for, how far it is, or why it failed or was skipped."""

    item: RolloutItem
    state: ItemState
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A rollout in figures, and its gateways: those under way first, then what failed, waits, was skipped, is done."""

    total: int
    counts: dict[ItemState, int]
    lines: tuple[Line, ...]

    @property
    def percent(self) -> int:
        """Say how much of it is over, in whole percents."""
        over = self.counts[ItemState.DONE] + self.counts[ItemState.SKIPPED]
        return 100 * over // self.total if self.total else 100

    @property
    def hidden(self) -> int:
        """Return how many gateways have no line."""
        return self.total - len(self.lines)

    def __str__(self) -> str:
        told = [f"{count} {state}" for state, count in self.counts.items() if count]
        return f"{', '.join(told) or 'none'} of {self.total} gateways"


_ORDER = (ItemState.RUNNING, ItemState.FAILED, ItemState.WAITING, ItemState.SKIPPED, ItemState.DONE)


def progress_of(rollout: Rollout) -> Progress:
    """Return how far `rollout` got; at most `MAX_SHOWN` lines."""
    found = dict(rollout.items.order_by().values_list("state").annotate(number=Count("pk")))
    counts = {state: found.get(state.value, 0) for state in _ORDER}
    lines: list[Line] = []
    for state in _ORDER:
        rows = rollout.items.filter(state=state).select_related("rollout__cluster", "gateway__assignment__app__team")
        rows = rows.prefetch_related("gateway__assignment__gateways")
        lines += [Line(item=row, state=state, says=_says(row)) for row in rows[: MAX_SHOWN - len(lines)]]
    return Progress(total=sum(counts.values()), counts=counts, lines=tuple(lines))


def _says(item: RolloutItem) -> str:
    match item.state:
        case ItemState.RUNNING:
            return _under_way(item.gateway)
        case ItemState.WAITING if item.rollout.status in {RolloutStatus.ABORTED, RolloutStatus.REFUSED}:
            return "left as it is"
        case ItemState.WAITING:
            return "; ".join(filter(None, (why_it_waits(item), item.note)))
    return item.note


def _under_way(gateway: Gateway) -> str:
    match gateway.provisioning_status:
        case GatewayStatus.DRAINING:
            return "finishes its connections"
        case GatewayStatus.MAINTENANCE:
            return f"{Maintenance(gateway.maintenance).label.lower()}" if gateway.maintenance else "maintenance"
        case GatewayStatus.BOOTING:
            return f"boots: {gateway.detail or 'nodes and the gateway itself must say that it works'}"
    return gateway.provisioning_status


def why_it_waits(item: RolloutItem) -> str:
    """Say what a gateway waits for before its turn can come; "" when only for its turn."""
    gateway, assignment = item.gateway, item.gateway.assignment
    if (assignment.status, assignment.wish) != (AssignmentStatus.ACTIVE, Wish.ENABLED):
        return f"its app's egress is {assignment.status}"
    if gateway.maintenance == Maintenance.HOLD:
        return "it is kept out of use: undrain it"
    if gateway.provisioning_status != GatewayStatus.READY:
        return f"it is {gateway.provisioning_status}"
    if not _is_well(gateway):
        return "it isn't healthy itself: repair comes first"
    peers = [row for row in assignment.gateways.all() if row.pk != gateway.pk and row.deleted_at is None]
    return "; ".join(filter(None, map(_lacks, peers))) or _rests(item, peers)


def _is_well(gateway: Gateway) -> bool:
    return serves(gateway) and gateway.health != Health.UNHEALTHY


def _lacks(peer: Gateway) -> str:
    if peer.provisioning_status != GatewayStatus.READY:
        return f"its peer is {peer.provisioning_status}"
    return "" if _is_well(peer) else f"its peer isn't healthy{f' ({peer.detail})' if peer.detail else ''}"


def _rests(item: RolloutItem, peers: list[Gateway]) -> str:
    rest = timedelta(seconds=distribution.settings_of(item.rollout.cluster).probing.hold_down_seconds)
    fresh = any(peer.maintained and clock.now() - peer.status_since < rest for peer in peers)
    return f"its peer is back for less than {rest.total_seconds():.0f} s" if fresh else ""
