"""A worker that collects and is killed at a commit, or at a call that changes something at Stripe."""

from collections.abc import Callable
from typing import Any

import stripe

from billing import tasks
from billing.collecting import door
from portal.config import celery_app
from tests.integration.billing.dying import Ended, Points, in_process, watch_commits


def do(task: str, *arguments: Any, **wanted: Any) -> Ended:
    """Let a new process run one of billing's tasks; it dies where `in_processes` is told to."""
    return in_process(lambda: getattr(tasks, task)(*arguments), watch=watch_all, **wanted)


def watch_all(points: Points) -> None:
    """See commits, and what is sent to Stripe; messages to workers go nowhere."""
    watch_commits(points)
    # The connections of the process that it was forked from aren't its own.
    door._client.cache_clear()
    request: Callable[..., Any] = stripe.RequestsClient.request

    def watched(client: Any, method: str, *args: Any, **named: Any) -> Any:
        if method == "get":
            return request(client, method, *args, **named)
        with points.at(method):
            return request(client, method, *args, **named)

    stripe.RequestsClient.request = watched  # type: ignore[method-assign]
    celery_app.send_task = lambda *_, **__: None
