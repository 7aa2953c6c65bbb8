"""What an operator should look at first about statements."""

from datetime import timedelta

from django.db.models import Q

from egress.control import clock
from egress.control.attention import Concern

from .close import due_months, open_until

#: A month is closed within an hour or so of its hold's end, unless a team's statement can't be made.
LATE = timedelta(hours=6)


def behind_seconds() -> float:
    """Return how long ago the oldest month could be closed that isn't; 0 where all are.

    A month whose closing never begins has no row that a concern could count.
    """
    oldest = next(due_months(), None)
    return max(0.0, (clock.now() - open_until(oldest)).total_seconds()) if oldest else 0.0


def problem_concerns() -> tuple[Concern, ...]:
    """Return which statements can't be made."""
    return (Concern(key="unresolved", label="Statement can't be made", where=Q(resolved_at=None)),)


def close_concerns() -> tuple[Concern, ...]:
    """Return which months aren't closed in time, by the present time."""
    late = Q(closed_at=None, began_at__lt=clock.now() - LATE)
    return (Concern(key="late", label="Isn't closed yet", where=late),)
