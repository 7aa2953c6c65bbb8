"""A worker process for billing that dies by SIGKILL at the N-th thing that lasts: a commit, or a call of Stripe's.

As with control's crash points (ADR 9) the product knows nothing of it: commits are seen at the database's connection,
calls at the HTTP client of Stripe's library. Each errand is a fork, which costs milliseconds.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[4]
LIMIT_SECONDS = 60
WRITES = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Done:
    """How an errand ended, and what it passed: names of functions of ours, with what they did."""

    killed: bool
    error: str
    passed: list[str]


class Worker:
    """The worker, seen from the test."""

    def __init__(self, database_url: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.billing.collecting.killable"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def do(self, task: str, *arguments: Any, number: int = 0, when: str = "before") -> Done:
        """Let a new process run the task; it dies before or after the thing with this number, from 1 on."""
        assert self._process.stdin
        assert self._process.stdout
        errand = {"task": task, "arguments": arguments, "number": number, "when": when}
        self._process.stdin.write(json.dumps(errand).encode() + b"\n")
        self._process.stdin.flush()
        return Done(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it: it ends with its input."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(LIMIT_SECONDS)
        if self._process.stdout:
            self._process.stdout.close()


@dataclass
class Watch:
    """Counts what lasts, and dies at its number."""

    number: int
    when: str
    passed: list[str] = field(default_factory=list)

    @contextmanager
    def at(self, what: str) -> Iterator[None]:
        self.passed.append(f"{_here()}:{what}")
        dies = len(self.passed) == self.number
        if dies and self.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            yield
        finally:
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)


def _here() -> str:
    """Name the innermost function of billing's own."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("billing."):
            return f"{name.rpartition('.')[2]}.{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


def _install(watch: Watch) -> None:
    import stripe
    from django.db import connection, connections

    from portal.config import celery_app

    database = connections["default"]
    commit, request = database._commit, stripe.RequestsClient.request

    def watched_commit() -> None:
        with watch.at("commit"):
            commit()

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's signature
        if connection.in_atomic_block or not sql.startswith(WRITES):
            return run(sql, params, many, context)
        with watch.at("write"):
            return run(sql, params, many, context)

    def watched_request(client: Any, method: str, *args: Any, **named: Any) -> Any:
        if method == "get":
            return request(client, method, *args, **named)
        with watch.at(method):
            return request(client, method, *args, **named)

    database._commit = watched_commit
    database.execute_wrappers.append(execute)
    stripe.RequestsClient.request = watched_request
    celery_app.send_task = lambda *_, **__: None


def main() -> None:
    import django
    from django.db import connections

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    django.setup()
    import stripe

    from billing import tasks  # noqa: F401 - loaded before the fork

    from .stripe_side import never_hurry

    never_hurry()
    # Loads what is loaded when it is first used.
    stripe.StripeClient("sk_test_x").v1.invoices  # noqa: B018
    connections.close_all()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_fork(json.loads(line))) + "\n")
        sys.stdout.flush()


def _fork(errand: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        gc.disable()
        signal.alarm(LIMIT_SECONDS)
        _run(errand, writing)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    said = json.loads(told) if told else {"error": "" if killed else f"ended with {status}", "passed": []}
    return {"killed": killed, **said}


def _run(errand: dict[str, Any], writing: int) -> None:
    from django.db import connections

    from billing import tasks

    watch = Watch(errand["number"], errand["when"])
    connections["default"].ensure_connection()
    _install(watch)
    error = ""
    try:
        getattr(tasks, errand["task"])(*errand["arguments"])
    except Exception as raised:  # noqa: BLE001 - the test judges it
        error = repr(raised)
    connections.close_all()
    with os.fdopen(writing, "w") as pipe:
        json.dump({"error": error, "passed": watch.passed}, pipe)


if __name__ == "__main__":
    main()
