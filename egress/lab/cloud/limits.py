"""DigitalOcean's two rate limits per token: so many requests in an hour, and so many in a minute."""

from collections import deque
from dataclasses import dataclass
from math import ceil

_HOUR_SECONDS = 3_600
_MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request meets. `reset_at` (epoch seconds) is when the oldest request counted stops counting.

    `retry_after_seconds` is set only when the burst limit refuses.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_at: int
    retry_after_seconds: int | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers that every answer carries."""
        return {
            "ratelimit-limit": str(self.limit),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(self.reset_at),
        }


class RateLimit:
    """Counts the requests of one token; refused ones don't count."""

    def __init__(self, *, per_hour: int, per_minute: int) -> None:
        self._per_hour = per_hour
        self._per_minute = per_minute
        self._hour: deque[float] = deque()
        self._minute: deque[float] = deque()

    def request(self, now: float) -> Verdict:
        """Count one request at `now` (epoch seconds) and say whether it may pass."""
        _forget(self._hour, now - _HOUR_SECONDS)
        _forget(self._minute, now - _MINUTE_SECONDS)
        if len(self._hour) >= self._per_hour:
            return self._verdict(now, allowed=False)
        if len(self._minute) >= self._per_minute:
            wait = ceil(self._minute[0] + _MINUTE_SECONDS - now)
            return self._verdict(now, allowed=False, retry_after_seconds=max(1, wait))
        self._hour.append(now)
        self._minute.append(now)
        return self._verdict(now, allowed=True)

    def _verdict(self, now: float, *, allowed: bool, retry_after_seconds: int | None = None) -> Verdict:
        oldest = self._hour[0] if self._hour else now
        return Verdict(
            allowed=allowed,
            limit=self._per_hour,
            remaining=self._per_hour - len(self._hour),
            reset_at=ceil(oldest + _HOUR_SECONDS),
            retry_after_seconds=retry_after_seconds,
        )


def _forget(times: deque[float], until: float) -> None:
    while times and times[0] <= until:
        times.popleft()
