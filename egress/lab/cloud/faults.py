"""Faults of the lab's cloud, injected on demand: each is used up by the requests that it hits."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

#: What becomes of a request and its answer. slow: the answer is late. rate_limited: 429. failed_before, failed_after:
#: 5xx, with nothing done or all done. dropped_before, dropped: the connection breaks without an answer, with nothing
#: done or all done. late: 504 at once, and all is done later. no_capacity: 422. token_refused: 401.
#: What becomes of what a request begins. slow_work: it takes longer. stuck: it doesn't end, a new Droplet stays new
#: and without addresses, until the cloud gives up; a deletion is accepted and never done. dead_boot: it ends well, but
#: no system comes up. same_host: a new Droplet lands on the host of the one created before it.
FaultKind = Literal[
    "slow",
    "rate_limited",
    "failed_before",
    "failed_after",
    "dropped_before",
    "dropped",
    "late",
    "no_capacity",
    "token_refused",
    "slow_work",
    "stuck",
    "dead_boot",
    "same_host",
]
#: The operations of the API that faults can be aimed at; "*" means any.
Operation = Literal["create", "list", "get", "delete", "action", "action_status", "other"]
#: What silences a Droplet without any request. In a lab with packets much else can befall it: see droplet_faults.
DROPLET_FAULTS = ("power_loss", "hang")
MAX_FAULTS = 1_000
#: What these can be aimed at: what begins or ends something, or creations. The others strike anything.
_BEGINNINGS = ("create", "action")
_OPERATIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("late", "slow_work", "dead_boot"), _BEGINNINGS),
    "stuck": (*_BEGINNINGS, "delete"),
    "same_host": ("create",),
}


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault and how often it is still to strike."""

    kind: FaultKind
    operation: Operation | Literal["*"]
    left: int
    delay_seconds: float = 0
    retry_after_seconds: int = 1
    status: int = 500

    def strikes(self, operation: Operation) -> bool:
        """Say whether a request for `operation` meets this fault."""
        return self.operation in ("*", operation) and operation in _OPERATIONS.get(self.kind, (operation,))


class Faults:
    """A queue of faults. The oldest that fits an operation strikes first."""

    def __init__(self) -> None:
        self._queue: deque[Fault] = deque()

    def inject(
        self,
        kind: str,
        operation: str = "*",
        count: int = 1,
        *,
        delay_seconds: float = 5,
        retry_after_seconds: int = 1,
        status: int = 500,
    ) -> None:
        """Make the next `count` requests for `operation` fail by `kind`.

        `delay_seconds` belongs to slow, late and slow_work, `retry_after_seconds` to rate_limited (0: it doesn't say),
        `status` to the failed ones. Raises ValueError for an unknown kind or operation, two that don't go together, or
        a number out of bounds.
        """
        _expect(kind, get_args(FaultKind), "kind")
        _expect(operation, (*_OPERATIONS.get(kind, get_args(Operation)), "*"), "operation")
        for name, value, low, high in (
            ("count", count, 1, 1_000),
            ("delay_seconds", delay_seconds, 0, 600),
            ("retry_after_seconds", retry_after_seconds, 0, 3_600),
            ("status", status, 500, 599),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {value}")
        if len(self._queue) >= MAX_FAULTS:
            raise ValueError(f"there are already {MAX_FAULTS} faults waiting: clear them first")
        self._queue.append(
            Fault(
                kind=kind,  # type: ignore[arg-type]  # checked above
                operation=operation,  # type: ignore[arg-type]  # checked above
                left=count,
                delay_seconds=delay_seconds,
                retry_after_seconds=retry_after_seconds,
                status=status,
            )
        )

    def take(self, operation: Operation) -> Fault | None:
        """Return the fault that strikes this request, if any, and count it as used."""
        fault = next((fault for fault in self._queue if fault.strikes(operation)), None)
        if fault is not None:
            fault.left -= 1
            if not fault.left:
                self._queue.remove(fault)
        return fault

    def clear(self) -> None:
        """Drop all faults that are waiting."""
        self._queue.clear()

    def waiting(self) -> list[Mapping[str, object]]:
        """Return the faults that are waiting, for show."""
        return [{"kind": fault.kind, "operation": fault.operation, "left": fault.left} for fault in self._queue]


def _expect(value: str, known: tuple[str, ...], name: str) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
