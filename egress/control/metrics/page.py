"""Serve /metrics to who shows the token: what any process may ask costs the database something once a second only."""

import hmac
import time
from functools import cache
from threading import Lock

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET

from egress.wire.exposition import CONTENT_TYPE, PLAIN, Distribution, Page, Values, render
from egress.wire.scrape import token_digest

from . import state, table, tallies
from .tallies import Counts

#: A page this young is shown again.
FRESH_SECONDS = 1.0


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics; without METRICS_TOKEN there is nothing here."""
    if not settings.METRICS_TOKEN:
        return HttpResponseNotFound("Not found.\n", content_type="text/plain")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    # Digests are compared, so that neither the token's length nor its beginning shows in the time it takes.
    shown = token_digest(token) if scheme.lower() == "bearer" else ""
    if not hmac.compare_digest(shown, token_digest(settings.METRICS_TOKEN)):
        refusal = HttpResponse(
            "Send the header Authorization: Bearer followed by METRICS_TOKEN.\n", status=401, content_type="text/plain"
        )
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal
    return HttpResponse(_kept().text(), content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


class _Kept:
    """The last page; who comes while one is made waits for that one."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._text = ""
        self._made_at = float("-inf")

    def text(self) -> str:
        with self._lock:
            if time.monotonic() - self._made_at > FRESH_SECONDS:
                self._text = render(page())
                self._made_at = time.monotonic()
            return self._text


@cache
def _kept() -> _Kept:
    return _Kept()


def page() -> Page:
    """Return all that the control plane shows."""
    counts = tallies.read()
    return {
        **state.page(),
        table.REDIS: {PLAIN: int(counts is not None)},
        table.QUEUE: _queue(),
        **counted(counts or {}),
        **higher_rooms(),
    }


def higher_rooms() -> Page:
    """Return what the rooms above show: `METRICS_PAGES` names their functions."""
    return {metric: values for path in settings.METRICS_PAGES for metric, values in import_string(path)().items()}


def counted(counts: Counts) -> Page:
    """Return what workers counted."""
    return {
        table.TASKS: _tasks(counts),
        table.TASK_FAILURES: _of(counts, tallies.TASK_FAILED),
        table.PROVIDER_CALLS: _of(counts, tallies.PROVIDER),
        table.PROVIDER_REMAINING: _of(counts, tallies.REMAINING),
        table.PROVIDER_LIMIT: _of(counts, tallies.LIMIT),
    }


def _of(counts: Counts, kind: str) -> Values:
    return {labels: value for (found, *rest), value in counts.items() if found == kind for labels in (tuple(rest),)}


def _tasks(counts: Counts) -> Values:
    return {name: _distribution(counts, *name) for name in _of(counts, tallies.TASK_SUM)}


def _distribution(counts: Counts, name: str) -> Distribution:
    bounds = tuple((bound, int(counts.get((tallies.TASK, name, str(bound)), 0))) for bound in tallies.TASK_BOUNDS)
    beyond = int(counts.get((tallies.TASK, name, "inf"), 0))
    total = sum(count for _, count in bounds) + beyond
    return Distribution(bounds, total, counts[tallies.TASK_SUM, name])


def _queue() -> Values:
    """Return how many messages wait and how many workers have taken; nothing where the broker is no Redis or away."""
    url, queue = settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://", 1), settings.CELERY_TASK_DEFAULT_QUEUE
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return {}
    try:
        broker = tallies.connect(url)
        # Celery keeps a queue in a list of its name, and what workers have not acknowledged in a hash.
        return {(queue, "waiting"): broker.llen(queue), (queue, "taken"): broker.hlen("unacked")}
    except redis.RedisError:
        return {}
