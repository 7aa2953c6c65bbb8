"""What every step works with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from egress.control.agents import credentials
from egress.control.models import Assignment
from egress.provider.base import Provider

from .lease import Lease

#: What a move forward clears: the failures that came before it.
FRESH: Final[dict[str, Any]] = {"attempts": 0, "error_code": "", "error_message": ""}
#: Of a gateway that is given up nothing is believed any more.
VOID: Final[dict[str, Any]] = {**credentials.VOID, "enrolment_hash": "", "enrolment_until": None}
#: How often a gateway is replaced for standing on its peer's host; then a pair on one host is better than none.
MAX_MOVES: Final = 3


@dataclass(frozen=True, slots=True)
class Work:
    """One assignment under a lease, and the way to the provider, which is opened only when a step needs it."""

    lease: Lease
    assignment: Assignment
    open_provider: Callable[[], Provider]
