"""Faults on demand: each is used up by the requests that it hits."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

#: What becomes of a request and its answer. slow: it is done late, or when faults are cleared. hang_before, hang: the
#: answer never comes, with nothing done or all done. failed_before, failed: 5xx, with nothing done or all done.
#: dropped_before, dropped: the connection breaks without an answer, with nothing done or all done. rate_limited: 429.
#: refused: 400, for good. What becomes of a charge. declined: whatever the card.
Kind = Literal[
    "slow",
    "hang_before",
    "hang",
    "failed_before",
    "failed",
    "dropped_before",
    "dropped",
    "rate_limited",
    "refused",
    "declined",
]
MAX_FAULTS = 1_000
ANY = "*"


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault.

    `operation`: the endpoint's name, such as `invoices.pay`, or "*". `customer`: only what concerns this one, if given.
    `left`: how often it is still to strike; 0: until it is cleared. `skip`: how many requests pass unharmed before.
    `forgotten` (failed): the answer isn't kept under the idempotency key; Stripe keeps it, even a 500.
    """

    kind: Kind
    operation: str = ANY
    customer: str = ""
    left: int = 1
    skip: int = 0
    delay_seconds: float = 1
    status: int = 500
    forgotten: bool = False
    code: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, not {self.kind!r}")
        for name, low, high in (
            ("left", 0, 1_000_000),
            ("skip", 0, 1_000_000),
            ("delay_seconds", 0, 600),
            ("status", 500, 599),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {getattr(self, name)}")


class Faults:
    """The faults that wait. The oldest that fits strikes first."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        #: Every connection breaks at once, as if the API were away.
        self.away = False
        #: Set when all is cleared: what is slow then goes on.
        self.calm = asyncio.Event()

    def inject(self, wanted: Mapping[str, Any], operations: Collection[str]) -> Fault:
        """Add a fault. Raises ValueError for what isn't one, or aims at no operation that there is."""
        unknown = set(wanted) - {field.name for field in fields(Fault)}
        if unknown or "kind" not in wanted:
            raise ValueError(f"a fault has a kind, and no {', '.join(sorted(unknown)) or 'others'}")
        fault = Fault(**wanted)
        if fault.operation not in (ANY, *operations):
            raise ValueError(f"operation must be * or one of {', '.join(sorted(operations))}")
        if len(self._waiting) >= MAX_FAULTS:
            raise ValueError(f"there are already {MAX_FAULTS} faults waiting: clear them first")
        self._waiting.append(fault)
        return fault

    def take(self, operation: str, about: Collection[str]) -> Fault | None:
        """Return the fault that strikes a request for `operation` about these customers, if any; count it as used."""
        return self._take(
            lambda fault: (
                fault.kind != "declined"
                and fault.operation in (ANY, operation)
                and (not fault.customer or fault.customer in about)
            )
        )

    def declines(self, customer: str) -> str:
        """Return the code by which this customer's next charge is declined, or ""; count it as used."""
        fault = self._take(lambda fault: fault.kind == "declined" and fault.customer in ("", customer))
        return (fault.code or "generic_decline") if fault else ""

    def _take(self, fits: Callable[[Fault], bool]) -> Fault | None:
        fault = next((fault for fault in self._waiting if fits(fault)), None)
        if fault is None:
            return None
        if fault.skip:
            fault.skip -= 1
            return None
        if fault.left == 1:
            self._waiting.remove(fault)
        fault.left = max(fault.left - 1, 0)
        return fault

    def clear(self) -> None:
        """Drop all that waits."""
        self._waiting.clear()
        self.away = False
        self.calm.set()
        self.calm = asyncio.Event()

    def show(self) -> list[dict[str, Any]]:
        """Return what waits."""
        return [asdict(fault) for fault in self._waiting]
