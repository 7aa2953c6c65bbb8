"""What should be billed, second by second, as slowly and plainly as it can be said. Imports nothing of what it judges.

All times are whole seconds.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

Move = tuple[int, int, str, str]


@dataclass
class Node:
    """A node that carries the app from `since` on, as far as it was `heard`; `turns`: (when, out from then on)."""

    since: int
    heard: int
    turns: list[tuple[int, bool]] = field(default_factory=list)

    def knows(self, second: int) -> bool:
        return self.since <= second < self.heard

    def is_out(self, second: int) -> bool:
        before = [out for when, out in self.turns if when <= second]
        return bool(before) and before[-1]


@dataclass
class History:
    """One assignment's: moves of its status (when, number, old, new), wishes (when, number, enabled), and nodes."""

    moves: list[Move] = field(default_factory=list)
    wishes: list[tuple[int, int, bool]] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def is_wanted(self, second: int) -> bool:
        before = [wish for wish in sorted(self.wishes) if wish[0] <= second]
        return not before or before[-1][2]

    def status(self, second: int) -> str:
        before = [move for move in self._in_order() if move[0] <= second]
        return before[-1][3] if before else ""

    def _in_order(self) -> list[Move]:
        by_number = sorted(self.moves, key=lambda move: move[1])
        if all(one[3] == other[2] for one, other in pairwise(by_number)):
            # The clock was put back where a later move has an earlier time; it is right afterwards.
            return [(min(one[0] for one in by_number[place:]), *move[1:]) for place, move in enumerate(by_number)]
        return sorted(self.moves)

    def is_out(self, second: int) -> bool:
        known = [node for node in self.nodes if node.knows(second)]
        return bool(known) and all(node.is_out(second) for node in known)


def used(history: History, begin: int, end: int) -> dict[int, tuple[int, int]]:
    """Return {an hour's first second: (billed seconds, seconds of outage)}, hours without either left out."""
    billed: Counter[int] = Counter()
    out: Counter[int] = Counter()
    for second in range(begin, end):
        if history.status(second) in {"distributing", "active"} and history.is_wanted(second):
            counter = out if history.is_out(second) else billed
            counter[second - second % 3600] += 1
    return {hour: (billed[hour], out[hour]) for hour in sorted({*billed, *out})}
