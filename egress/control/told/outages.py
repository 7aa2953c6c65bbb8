"""When an app had no way out by its own addresses: what billing takes off. Pure, but for what reads and notes rows.

An assignment is out while all nodes that carry it, and of which that is known, have no gateway for it. A node carries
it while it reports containers of the app; of it is known what it said until its last report, with its own times. So a
node that is cut off alone is no outage of the app; nor is silence, which is no service either: what a node buffered
comes with its next report, and then counts for the time that it was about. Without containers there is nobody to be
out.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from egress.control import clock
from egress.control.models import Assignment, AssignmentStatus, Node, NodeStatus
from egress.control.models_told import Carry, Pivot


class Span(NamedTuple):
    """From `begin` up to `end`, which isn't part of it."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What one node says: when it carried the app, as far as it is heard of, and from when on it was out, or not."""

    carried: Sequence[Span]
    #: (when, whether it had no gateway from then on), in order. Before the first it had one.
    turns: Sequence[tuple[datetime, bool]]


def outages(accounts: Iterable[Account], begin: datetime, end: datetime) -> list[Span]:
    """Return when, between `begin` and `end`, the app was out: in order, apart from each other."""
    out: list[Span] = []
    served: list[Span] = []
    for account in accounts:
        without = _without_gateway(account.turns, end)
        carried = _united(account.carried)
        lacking = _minus(carried, _minus([Span(begin, end)], without))
        out += lacking
        served += _minus(carried, without)
    inside = [Span(max(span.begin, begin), min(span.end, end)) for span in _united(out)]
    return _minus([span for span in inside if span.begin < span.end], _united(served))


def _without_gateway(turns: Sequence[tuple[datetime, bool]], end: datetime) -> list[Span]:
    """Return when a node had no gateway, carried or not."""
    until_next = pairwise([*turns, (end, False)])
    return _united(Span(at, until) for (at, out), (until, _) in until_next if out)


def _united(spans: Iterable[Span]) -> list[Span]:
    """Return the same time as spans that don't touch, in order."""
    united: list[Span] = []
    for span in sorted(span for span in spans if span.begin < span.end):
        if united and span.begin <= united[-1].end:
            united[-1] = Span(united[-1].begin, max(united[-1].end, span.end))
        else:
            united.append(span)
    return united


def _minus(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """Return `spans` without `holes`; both in order and apart."""
    left: list[Span] = []
    for span in spans:
        begin = span.begin
        for hole in holes:
            if begin < hole.begin < span.end:
                left.append(Span(begin, hole.begin))
            if hole.end > begin and hole.begin < span.end:
                begin = hole.end
        if begin < span.end:
            left.append(Span(begin, span.end))
    return left


class Told(NamedTuple):
    """What nodes told by now of one assignment."""

    out: list[Span]
    #: From when on a node that may carry it still wasn't heard: what it tells later can change the rest. None if all
    #: were.
    unheard_since: datetime | None


def outages_of(assignment: Assignment, begin: datetime, end: datetime) -> list[Span]:
    """Return when `assignment` was out, as far as nodes were heard of by now; times are the control plane's."""
    told = outages_of_each([assignment.pk], begin, end).get(assignment.pk)
    return told.out if told else []


def outages_of_each(assignments: Collection[UUID], begin: datetime, end: datetime) -> dict[UUID, Told]:
    """Return what is told of each of `assignments` of which a node had no gateway between `begin` and `end`.

    All others weren't out. Four queries, whatever the number.
    """
    turns = _turns_of_each(assignments, begin, end)
    carried: dict[UUID, dict[UUID, list[Span]]] = defaultdict(lambda: defaultdict(list))
    unheard: dict[UUID, datetime] = {}
    rows = Carry.objects.filter(Q(until=None) | Q(until__gt=begin), assignment__in=turns.keys(), since__lt=end)
    columns = ("assignment", "node", "since", "until", "node__reported_at", "node__status")
    for pk, node, since, until, heard, status in rows.values_list(*columns):
        carried_until = min(until or end, end)
        known = min(carried_until, heard or since)
        carried[pk][node].append(Span(since, known))
        # Also after its end: an assignment is released without the word of a node that is silent. One that was removed
        # says nothing any more.
        if known < carried_until and status == NodeStatus.LIVE:
            unheard[pk] = min(known, unheard.get(pk, end))
    return {
        pk: Told(
            outages((Account(carried=spans, turns=turns[pk][node]) for node, spans in carried[pk].items()), begin, end),
            unheard.get(pk),
        )
        for pk in turns
    }


def _turns_of_each(
    assignments: Collection[UUID], begin: datetime, end: datetime
) -> dict[UUID, dict[UUID, list[tuple[datetime, bool]]]]:
    """Return what nodes told between the two, and that they had no gateway at `begin`: {assignment: {node: turns}}.

    Only of assignments of which a node had none then.
    """
    told = Pivot.objects.filter(assignment__in=assignments)
    within = told.filter(moved_at__gte=begin, moved_at__lt=end)
    out_within = set(within.filter(gateway=None).values_list("assignment", flat=True).order_by().distinct())
    later = Pivot.objects.filter(
        Q(moved_at__gt=OuterRef("moved_at")) | Q(moved_at=OuterRef("moved_at"), number__gt=OuterRef("number")),
        assignment=OuterRef("assignment"), node=OuterRef("node"), moved_at__lt=begin,
    )  # fmt: skip
    out_before = told.filter(~Exists(later), gateway=None, moved_at__lt=begin)
    turns: dict[UUID, dict[UUID, list[tuple[datetime, bool]]]] = defaultdict(lambda: defaultdict(list))
    for pk, node, at in out_before.values_list("assignment", "node", "moved_at"):
        turns[pk][node].append((at, True))
    rows = within.filter(assignment__in=out_within | turns.keys()).order_by("moved_at", "number")
    for pk, node, at, gateway in rows.values_list("assignment", "node", "moved_at", "gateway"):
        turns[pk][node].append((at, gateway is None))
    return turns


def note_carries() -> None:
    """Note which nodes report containers of which assignments: begun and ended ones, as of the nodes' last reports."""
    now = clock.now()
    current = Assignment.objects.exclude(status=AssignmentStatus.RELEASED)
    rows = current.values_list("cluster", "app__namespace", "pk")
    assignments = {(cluster, namespace): pk for cluster, namespace, pk in rows}
    seen: dict[tuple[UUID, UUID], datetime] = {}
    live = Node.objects.filter(status=NodeStatus.LIVE)
    for node, cluster, containers, at in live.values_list("pk", "cluster", "containers", "reported_at").iterator():
        for namespace, count in containers.items():
            if count and (assignment := assignments.get((cluster, namespace))):
                seen[node, assignment] = at or now
    still_open = {(node, pk): carry for carry, node, pk in _open().values_list("pk", "node", "assignment")}
    begun = [
        Carry(node_id=node, assignment_id=assignment, since=at)
        for (node, assignment), at in seen.items()
        if (node, assignment) not in still_open
    ]
    ended = [carry for key, carry in still_open.items() if key not in seen]
    # Another worker may note the same in this moment: one of the two counts.
    Carry.objects.bulk_create(begun, ignore_conflicts=True, batch_size=500)
    _open().filter(pk__in=ended).update(until=now)


def _open() -> QuerySet[Carry]:
    return Carry.objects.filter(until=None)
