"""Whatever becomes known in which order, between whichever closes: the ledger is what a naive model says.

The model (`tests/unit/billing/metering/naive.py`) imports nothing of billing and goes through every second.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.metering import check, close, late
from billing.models import Meter, Recheck, UsageRecord
from egress.control import clock
from egress.control.models import Assignment, Event
from egress.control.models import Node as NodeRow
from egress.control.models_told import Carry, Pivot
from tests.factories import make_cluster
from tests.integration.billing.metering.history import MIDNIGHT, carry, make_assignment, pivot, tell
from tests.unit.billing.metering.naive import History, Node, used

HOURS = 5
END = HOURS * 3600
NEXT = {
    "": ("provisioning",),
    "provisioning": ("distributing", "error", "released"),
    "error": ("provisioning", "released"),
    "distributing": ("active", "draining"),
    "active": ("draining",),
    # Back again by an undo.
    "draining": ("released", "distributing"),
    "released": (),
}
#: The engines are held against each other by the other files.
pytestmark = [pytest.mark.django_db, pytest.mark.costly]


@dataclass
class Life:
    """One assignment, what happens to it, and what of that is known."""

    assignment: Assignment
    known: History = field(default_factory=History)
    to_come: list[Callable[[], None]] = field(default_factory=list)

    def live(self, dice: Random) -> None:
        """Throw what happens; nobody knows any of it yet."""
        statuses = [""]
        while (after := NEXT[statuses[-1]]) and (len(statuses) < 4 or dice.random() < 0.7):
            # Mostly what goes well.
            statuses.append(after[0] if dice.random() < 0.8 else dice.choice(after))
        moments = sorted(dice.sample(range(END), len(statuses)))
        for at, (old, new) in zip(moments, pairwise(statuses), strict=False):
            self.to_come.append(lambda at=at, old=old, new=new: self.move(at, old, new))
        for number, at in enumerate(sorted(dice.sample(range(END), dice.choice([0, 0, 0, 1, 2, 4])))):
            self.to_come.append(lambda at=at, on=bool(number % 2): self.wish(at, on=on))
        for _ in range(dice.choice([0, 1, 2, 2])):
            self.add_node(dice)
        # Some of it is told twice.
        self.to_come += dice.sample(self.to_come, len(self.to_come) // 4)
        dice.shuffle(self.to_come)

    def move(self, at: int, old: str, new: str) -> None:
        event = tell(self.assignment, moment(at), "assignment.status", old, new)
        self.known.moves.append((at, event.pk, old, new))

    def wish(self, at: int, *, on: bool) -> None:
        event = tell(self.assignment, moment(at), "egress.enable" if on else "egress.disable")
        self.known.wishes.append((at, event.pk, on))

    def add_node(self, dice: Random) -> None:
        """Let a node carry the app; what it tells of its pivots, and how far it was heard, becomes known later."""
        since, heard = dice.randrange(END // 2), dice.randrange(END)
        row = carry(self.assignment, moment(since), heard=moment(heard))
        node = Node(since, max(heard, since))
        self.known.nodes.append(node)
        for number, at in enumerate(sorted(dice.sample(range(END), dice.choice([0, 1, 1, 2, 3])))):
            self.to_come.append(lambda at=at, out=not number % 2: self.turn(row, node, at, out=out))
        self.to_come.append(lambda: self.hear(row, node))

    def turn(self, row: NodeRow, node: Node, at: int, *, out: bool) -> None:
        # A node tells each once, whatever it is asked.
        if (at, out) not in node.turns:
            pivot(self.assignment, row, moment(at), out=out)
            node.turns = sorted([*node.turns, (at, out)])

    def hear(self, row: NodeRow, node: Node) -> None:
        NodeRow.objects.filter(pk=row.pk).update(reported_at=moment(END))
        node.heard = END

    def expected(self) -> dict[int, tuple[int, int]]:
        return used(self.known, 0, END)

    def booked(self, slot: int) -> dict[int, tuple[int, int]]:
        sums: dict[int, tuple[int, int]] = {}
        for row in UsageRecord.objects.filter(assignment=self.assignment, slot=slot).order_by("hour"):
            second = int((row.hour - MIDNIGHT).total_seconds())
            seconds, out = sums.get(second, (0, 0))
            sums[second] = (seconds + row.seconds, out + row.outage_seconds)
        return {second: amounts for second, amounts in sums.items() if amounts != (0, 0)}


def moment(second: int) -> object:
    return MIDNIGHT + timedelta(seconds=second)


def settle() -> None:
    """Let what is known by now count as settled, and doubts be due."""
    Meter.objects.update(marked_at=clock.unmoved() - late.SETTLE)
    Recheck.objects.update(due_at=clock.unmoved())


def play(dice: Random) -> None:
    """Live some lives, tell of them bit by bit with closes in between, and compare."""
    for rows in (Carry, Pivot, Recheck, Meter, Event):
        rows.objects.all().delete()
    cluster = make_cluster()
    # From which metering begins.
    tell(make_assignment(cluster, pair=100), MIDNIGHT, "egress.enable")
    lives = [Life(make_assignment(cluster, pair=pair)) for pair in (1, 2)]
    for life in lives:
        life.live(dice)
    to_come = [fact for life in lives for fact in life.to_come]
    dice.shuffle(to_come)
    for fact in to_come:
        fact()
        if dice.random() < 0.4:
            close.close_hours(moment(dice.randrange(END + 1)), seconds=dice.choice([0, 20]))  # type: ignore[arg-type]
        if dice.random() < 0.3:
            settle()
    for _ in range(4):
        settle()
        close.close_hours(moment(END))  # type: ignore[arg-type]
    for life in lives:
        for slot in (0, 1):
            assert life.booked(slot) == life.expected()
    ours = {life.assignment.pk for life in lives}
    found = check.findings(MIDNIGHT, MIDNIGHT + timedelta(seconds=END))
    assert [str(one) for one in found if one.difference.key.assignment_id in ours] == []


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dice=st.randoms(use_true_random=False))
def test_the_ledger_is_what_the_model_says(db: None, dice: Random) -> None:
    play(dice)


@pytest.mark.full
@pytest.mark.on_postgresql
@pytest.mark.timeout(1800)
def test_the_ledger_is_what_the_model_says_for_many_dice(db: None, seed: int) -> None:
    for number in range(150):
        play(Random(seed * 1_000 + number))  # noqa: S311 - dice
