"""Count what is tried too often, in Django's cache.

Where that is Redis there is one count for all processes; elsewhere each process has its own. A cache that is away
limits nobody: it must not take the pages and the agents along.
"""

import ipaddress
import logging
from contextlib import suppress
from hashlib import sha256
from time import monotonic, time

from django.core.cache import cache
from redis import RedisError

log = logging.getLogger(__name__)
#: A cache that failed isn't asked again for so long: each question may take as long as its time-out.
PAUSE_SECONDS = 5.0


class Limit:
    """At most `times` for each key in a window of `seconds`; windows begin at whole multiples of that."""

    _away_until = 0.0

    def __init__(self, name: str, *, times: int, seconds: int) -> None:
        self._name = name
        self._times = times
        self._seconds = seconds

    def wait_seconds(self, key: str) -> int:
        """Return how long `key` has to wait, 0 when it needn't."""
        return self._left() if self._counted(key, 0) >= self._times else 0

    def count(self, key: str) -> int:
        """Count one more for `key`; returns how long it has to wait, 0 when this one was still within the limit."""
        return self._left() if self._counted(key, 1) > self._times else 0

    def _left(self) -> int:
        return self._seconds - int(time()) % self._seconds

    def _counted(self, key: str, more: int) -> int:
        if monotonic() < Limit._away_until:
            return 0
        # A digest: of any key's form and length, and no e-mail address in the cache.
        digest = sha256(key.encode(errors="replace")).hexdigest()
        place = f"limit:{self._name}:{int(time()) // self._seconds}:{digest}"
        try:
            if not more:
                return int(cache.get(place, 0))
            cache.add(place, 0, self._seconds)
            # ValueError: it went out of the cache between the two.
            with suppress(ValueError):
                return int(cache.incr(place, more))
        except (RedisError, OSError) as error:
            log.warning("the cache is away, so nothing is limited for %g s: %s", PAUSE_SECONDS, error)
            Limit._away_until = monotonic() + PAUSE_SECONDS
        return 0


class LocalLimit(Limit):
    """A limit that each process counts for itself: for what comes too often to ask the cache each time.

    It keeps every key of the present window: only for keys that not anybody can make up.
    """

    def __init__(self, name: str, *, times: int, seconds: int) -> None:
        super().__init__(name, times=times, seconds=seconds)
        self._window = 0
        self._counts: dict[str, int] = {}

    def _counted(self, key: str, more: int) -> int:
        window = int(time()) // self._seconds
        if window != self._window:
            self._window, self._counts = window, {}
        count = self._counts[key] = self._counts.get(key, 0) + more
        return count


def network_of(address: str) -> str:
    """Return whom to count by: an IPv4 address, or the /64 that one IPv6 user has all of; "" for what is neither."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return address if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))  # noqa: PLR2004 - IPv4
