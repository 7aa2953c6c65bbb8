"""How long to wait after a try that failed for a passing reason, and how often to try."""

from datetime import timedelta
from typing import Final

#: Half a minute, doubled with each, up to an hour. So many tries are more than a week.
PAUSE, LONGEST, MAX_ATTEMPTS = timedelta(seconds=30), timedelta(hours=1), 200
#: Doubled so often it is longer than the longest.
_DOUBLINGS: Final = 10


def pause_after(attempts: int, *, asked_seconds: float = 0) -> timedelta:
    """Return the pause after so many failures in a row; not shorter than Stripe asked for."""
    return max(min(PAUSE * (1 << min(attempts - 1, _DOUBLINGS)), LONGEST), timedelta(seconds=asked_seconds))
