"""Run something in processes that can be killed at what lasts, or that begin at the same moment.

What lasts is seen from below, at the database's connection and wherever else a test says, and counted: so what is added
tomorrow is something to die at tomorrow. The product knows nothing of it (ADR 9). The processes are forks of the
test's, which has closed its connections before.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, connections

LIMIT_SECONDS = 300
WRITES = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it passed: names of functions of billing's, with what they did."""

    killed: bool
    error: str
    passed: list[str]


@dataclass
class Points:
    """Counts what lasts, and dies before or after the one of its number; 0 for none."""

    number: int
    when: str
    told: int
    passed: list[str] = field(default_factory=list)

    @contextmanager
    def at(self, what: str) -> Iterator[None]:
        self.passed.append(f"{_here()}:{what}")
        dies = len(self.passed) == self.number
        if dies and self.when == "before":
            self._die()
        try:
            yield
        finally:
            if dies:
                self._die()

    def _die(self) -> None:
        os.write(self.told, json.dumps({"error": "", "passed": self.passed}).encode())
        os.kill(os.getpid(), signal.SIGKILL)


def watch_commits(points: Points) -> None:
    """See all commits of Django's connection: those of transactions, and writes outside of one."""
    database = connections["default"]
    database.ensure_connection()
    commit = database._commit

    def watched_commit() -> None:
        with points.at("commit"):
            commit()

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's signature
        if connection.in_atomic_block or not sql.startswith(WRITES):
            return run(sql, params, many, context)
        with points.at("write"):
            return run(sql, params, many, context)

    database._commit = watched_commit
    database.execute_wrappers.append(execute)


def in_processes(
    action: Callable[[], object],
    *,
    count: int = 1,
    die_at: int = 0,
    when: str = "before",
    watch: Callable[[Points], None] = watch_commits,
) -> list[Ended]:
    """Run `action` in so many processes at once; each dies before or after the thing of that number, 0 for none."""
    connections.close_all()
    starting, start = os.pipe()
    children = [_fork(action, starting, start, die_at, when, watch) for _ in range(count)]
    os.close(starting)
    # All wait for this end of the pipe to be closed.
    os.close(start)
    return [_wait(*child) for child in children]


def in_process(action: Callable[[], object], **wanted: Any) -> Ended:
    """Run `action` in one process, as `in_processes` does."""
    (ended,) = in_processes(action, **wanted)
    return ended


def _fork(
    action: Callable[[], object], starting: int, start: int, die_at: int, when: str, watch: Callable[[Points], None]
) -> tuple[int, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:
        # Not the one of pytest, which would only end the test in here.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT_SECONDS)
        os.close(start)
        points = Points(die_at, when, writing)
        watch(points)
        os.read(starting, 1)
        error = ""
        try:
            action()
        except Exception as raised:  # noqa: BLE001 - the test judges it
            error = repr(raised)
        connections.close_all()
        os.write(writing, json.dumps({"error": error, "passed": points.passed}).encode())
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(0)


def _wait(child: int, reading: int) -> Ended:
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return Ended(killed=killed, **(json.loads(told) if told else {"error": f"ended with {status}", "passed": []}))


def _here() -> str:
    """Name the innermost function of billing's own."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("billing."):
            return f"{name.rpartition('.')[2]}.{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"
