"""Keep what nodes tell of their pivots, each once and with the node's own time; what can't be true is left out."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from django.db import transaction

from egress.control import clock, events
from egress.control.models import Assignment, Event, Gateway, Node
from egress.control.models_told import Pivot
from egress.wire import messages as wire

#: So far may a node's clock be ahead of the database's; and a pair's number have been told before or after its time.
CLOCKS_APART = timedelta(minutes=5)
#: Longer than an agent's credential lasts: nobody buffers for so long.
OLDEST = timedelta(days=40)
#: So many of one node in a day; a pair that pivots every few seconds, all day, makes fewer.
MAX_PER_DAY = 20_000
MAX_REASON_CHARACTERS = 200
#: Between two events about what one node told in vain.
PAUSE = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def keep(node: Node, told: Sequence[wire.Pivot]) -> None:
    """Keep what of `told` is new, in the transaction of the report that brought it: its answer acknowledges all.

    What is left out is told to operators, by an event an hour at most. It never fails a report. Four queries at most
    where nothing is wrong, whatever the number.
    """
    if not told:
        return
    now = clock.unmoved()
    known = set(node.pivots.filter(number__in=[pivot.number for pivot in told]).values_list("number", "at"))
    fresh = {(pivot.number, pivot.at): pivot for pivot in told if (pivot.number, moment(pivot.at)) not in known}
    if not fresh:
        return
    pairs = _Pairs(node, {pivot.pair for pivot in fresh.values()})
    room = MAX_PER_DAY - node.pivots.filter(told_at__gt=now - timedelta(days=1)).count()
    rows: list[Pivot] = []
    refused: Counter[str] = Counter()
    for pivot in fresh.values():
        row = pairs.judged(pivot, now) if len(rows) < room else f"more than {MAX_PER_DAY} in a day"
        if isinstance(row, Pivot):
            rows.append(row)
        else:
            refused[row] += 1
    # A savepoint: what no check foresaw mustn't cost the report. Whoever told the same meanwhile was first.
    with transaction.atomic():
        Pivot.objects.bulk_create(rows, ignore_conflicts=True)
    if refused:
        _tell_operators(node, refused)


def moment(milliseconds: int) -> datetime | None:
    """Return a node's time; None for what no calendar has."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


class _Pairs:
    """The assignments that bear, or bore, these numbers in a node's cluster."""

    def __init__(self, node: Node, numbers: Iterable[int]) -> None:
        self._node = node
        self._by_number: dict[int, list[Assignment]] = defaultdict(list)
        for assignment in Assignment.objects.filter(cluster=node.cluster_id, pair__in=numbers).order_by("-created_at"):
            self._by_number[assignment.pair].append(assignment)
        ids = [assignment.pk for several in self._by_number.values() for assignment in several]
        rows = Gateway.objects.filter(assignment__in=ids).values_list("pk", "assignment")
        self._gateways = {str(gateway): (gateway, assignment) for gateway, assignment in rows}

    def judged(self, pivot: wire.Pivot, now: datetime) -> Pivot | str:
        """Return the row that keeps `pivot`, or why there is none."""
        at = moment(pivot.at)
        if at is None or at > now + CLOCKS_APART:
            return "in the future: check the node's clock"
        if at < now - OLDEST:
            return f"older than {OLDEST.days} days: check the node's clock"
        assignment = self._at(pivot.pair, at)
        if assignment is None:
            return "of a pair that its cluster didn't have then"
        gateway, owner = self._gateways.get(pivot.gateway, (None, None))
        if pivot.gateway and owner != assignment.pk:
            return "to a gateway that isn't the pair's"
        return Pivot(
            node=self._node,
            number=pivot.number,
            at=at,
            moved_at=_moved(at),
            assignment=assignment,
            gateway_id=gateway,
            reason=pivot.reason[:MAX_REASON_CHARACTERS],
            told_at=now,
        )

    def _at(self, number: int, at: datetime) -> Assignment | None:
        moved = _moved(at)
        for assignment in self._by_number[number]:
            released = assignment.released_at
            if assignment.created_at - CLOCKS_APART <= moved and (released is None or moved <= released + CLOCKS_APART):
                return assignment
        return None


def _moved(at: datetime) -> datetime:
    """Return a node's time as the control plane counts it."""
    return at + clock.offset()


def _tell_operators(node: Node, refused: Counter[str]) -> None:
    subject = "node.pivots"
    if Event.objects.filter(node=node, subject=subject, at__gt=clock.now() - PAUSE).exists():
        return
    reason = "pivots that it told were left out: " + "; ".join(f"{count} {why}" for why, count in refused.most_common())
    events.record(Event.Kind.NODE, subject, on=node, new="ignored", reason=reason)
