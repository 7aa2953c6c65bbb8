"""What the load's lines say: gaps, resets, what hung. Pure. Times are seconds of the machine's monotonic clock."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: So many successes in a row end a gap.
IN_A_ROW = 20


@dataclass(frozen=True, slots=True)
class Attempt:
    """A fresh connection; `address` is the one that the other end saw, "" for a failure."""

    at: float
    seconds: float
    address: str


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that a lasting connection showed: "o" open, "p" an answer, "e" its end."""

    what: str
    kind: str
    at: float
    address: str
    reason: str = ""


@dataclass(slots=True)
class Record:
    """What one container's load has written."""

    attempts: list[Attempt] = field(default_factory=list)
    signs: list[Sign] = field(default_factory=list)
    pid: int = 0

    def take(self, line: str) -> None:
        """Take in a line. Raises ValueError for one that isn't the load's."""
        match line.split():
            case ["a", at, seconds, address]:
                self.attempts.append(Attempt(float(at), float(seconds), "" if address == "-" else address))
            case [("o" | "p" | "e") as what, kind, at, address, *reason]:
                self.signs.append(Sign(what, kind, float(at), address, *reason))
            case ["i", pid]:
                self.pid = int(pid)
            case _:
                raise ValueError(f"not a line of the load's: {line!r}")

    def since(self, at: float) -> "Record":
        """Return what began at `at` or later."""
        return Record(
            [attempt for attempt in self.attempts if attempt.at >= at], [sign for sign in self.signs if sign.at >= at]
        )


def gaps(attempts: Sequence[Attempt], at: float) -> list[tuple[float, float | None]]:
    """Return each gap from `at` on: when it began, and how long it was, None for one that doesn't end.

    The first one begins at `at`, each further one with the first attempt that failed; a gap ends with the first of
    `IN_A_ROW` successes in a row.
    """
    found: list[tuple[float, float | None]] = []
    began: float | None = at
    run: list[Attempt] = []
    for attempt in sorted((one for one in attempts if one.at >= at), key=lambda one: one.at):
        if not attempt.address:
            run, began = [], attempt.at if began is None else began
            continue
        run.append(attempt)
        if began is not None and len(run) == IN_A_ROW:
            found.append((began, run[0].at - began))
            began = None
    if began is not None:
        found.append((began, None))
    return found


def longest(found: Iterable[tuple[float, float | None]]) -> float | None:
    """Return the longest gap; None when one doesn't end."""
    lengths = [length for _, length in found]
    return None if None in lengths else max((length for length in lengths if length is not None), default=0.0)


def resets(signs: Iterable[Sign], at: float) -> list[Sign]:
    """Return the ends of lasting TCP connections from `at` on."""
    return [sign for sign in signs if sign.what == "e" and sign.at >= at]


def on_gateway(signs: Iterable[Sign], kind: str, at: float) -> str:
    """Return the address that the lasting connection `kind` had at the moment `at`; "" while there was none."""
    last = None
    for sign in signs:
        if sign.kind == kind and sign.at <= at:
            last = sign
    return "" if last is None or last.what == "e" else last.address


def silence(signs: Iterable[Sign], kind: str, at: float, until: float) -> float:
    """Return the longest time without an answer on the lasting connection `kind` between two moments."""
    times = [
        at,
        *(sign.at for sign in signs if sign.kind == kind and sign.what != "e" and at <= sign.at <= until),
        until,
    ]
    return max(after - before for before, after in itertools.pairwise(times))
