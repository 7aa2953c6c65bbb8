"""Count in Redis what workers do, so that one scrape of any web server tells of all processes on all machines.

Redis holds counts and hints only: when it loses them they begin again from 0, which Prometheus takes for a restart.
Nobody waits long for a count, and nothing fails for one.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import redis
from django.conf import settings

log = logging.getLogger(__name__)

#: Upper bounds in seconds: a run of reconcile lasts 10 at most, and is killed after 45.
TASK_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 45.0)
#: After a failure nothing is asked of Redis for so long.
PAUSE_SECONDS = 5.0
_SOCKET_SECONDS = 1.0
_paused_until = 0.0

#: Fields of the hash: a kind, and what it is a kind of.
Counts = Mapping[tuple[str, ...], float]
TASK, TASK_SUM, TASK_FAILED, PROVIDER, REMAINING, LIMIT = "task", "task_sum", "task_failed", "provider", "left", "limit"


def task_ended(name: str, seconds: float, *, failed: bool) -> None:
    """Count a run of the task `name`."""
    bound = next((str(bound) for bound in TASK_BOUNDS if seconds <= bound), "inf")

    def count(hash_: Any) -> None:
        hash_.hincrby(_key(), _field(TASK, name, bound), 1)
        hash_.hincrbyfloat(_key(), _field(TASK_SUM, name), seconds)
        hash_.hincrby(_key(), _field(TASK_FAILED, name), int(failed))

    _write(count)


def provider_answered(outcome: str, remaining: int | None, limit: int | None) -> None:
    """Count a call to the provider by its outcome ("ok", or the error's code), and keep its word on its limit."""

    def count(hash_: Any) -> None:
        hash_.hincrby(_key(), _field(PROVIDER, outcome), 1)
        if remaining is not None:
            hash_.hset(_key(), _field(REMAINING), remaining)
        if limit is not None:
            hash_.hset(_key(), _field(LIMIT), limit)

    _write(count)


def read() -> Counts | None:
    """Return all counts; None without a Redis that answers."""
    client = _client()
    if client is None:
        return None
    try:
        found: Any = client.hgetall(_key())
        return {tuple(json.loads(field)): float(value) for field, value in found.items()}
    except (redis.RedisError, ValueError) as error:
        log.warning("the counts can't be read: %s", error)
        return None


def _write(count: Callable[[Any], None]) -> None:
    global _paused_until  # noqa: PLW0603 - one for the process, as the client
    client = _client()
    if client is None or time.monotonic() < _paused_until:
        return
    try:
        with client.pipeline(transaction=False) as pipeline:
            count(pipeline)
            pipeline.execute()
    except redis.RedisError as error:
        _paused_until = time.monotonic() + PAUSE_SECONDS
        log.warning("counts are lost for %g s: %s", PAUSE_SECONDS, error)


def _client() -> "redis.Redis | None":
    """Return a client of the Redis in which attempts are counted, too; None where there is none."""
    cache_ = settings.CACHES["default"]
    if not cache_["BACKEND"].endswith("RedisCache"):
        return None
    return connect(str(cache_["LOCATION"]))


@cache
def connect(url: str) -> "redis.Redis":
    """Return a client of the Redis at `url`, once a process; a fork gets connections of its own."""
    return redis.Redis.from_url(url, socket_timeout=_SOCKET_SECONDS, socket_connect_timeout=_SOCKET_SECONDS)


def _key() -> str:
    return f"sluicegate:{settings.INSTALLATION_ID}:tallies"


def _field(*parts: str) -> str:
    return json.dumps(parts)
