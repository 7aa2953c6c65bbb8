"""Run something in processes that can be killed at a commit, or that begin at the same moment.

Commits are seen below the code, at the database connection, and counted: so one that is added tomorrow is one to die at
tomorrow. The processes are forks of the test's, which has closed its connections before.
"""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connections

LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Ended:
    """How a process ended, and how often it committed."""

    killed: bool
    commits: int
    error: str


def in_processes(action: Callable[[], object], *, count: int = 1, die_at: int = 0, when: str = "before") -> list[Ended]:
    """Run `action` in so many processes at once; each dies before or after its commit of that number, 0 for none."""
    connections.close_all()
    starting, start = os.pipe()
    children = [_fork(action, starting, start, die_at, when) for _ in range(count)]
    os.close(starting)
    # All wait for this end of the pipe to be closed.
    os.close(start)
    return [_wait(*child) for child in children]


def _fork(action: Callable[[], object], starting: int, start: int, die_at: int, when: str) -> tuple[int, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:
        signal.alarm(LIMIT_SECONDS)
        os.close(start)
        _run(action, starting, writing, die_at, when)
    finally:
        os._exit(0)


def _run(action: Callable[[], object], starting: int, writing: int, die_at: int, when: str) -> None:
    commits = 0
    database = connections["default"]
    database.ensure_connection()

    def at(commit: Callable[[], Any]) -> Any:
        nonlocal commits
        commits += 1
        dies = commits == die_at
        if dies and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = commit()
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    def execute(run: Callable[..., Any], *args: Any) -> Any:
        writes = args[0].startswith(("INSERT", "UPDATE", "DELETE")) and not database.in_atomic_block
        return at(lambda: run(*args)) if writes else run(*args)

    real = database._commit
    database._commit = lambda: at(real)
    database.execute_wrappers.append(execute)
    os.read(starting, 1)
    error = ""
    try:
        action()
    except Exception as raised:  # noqa: BLE001 - the test judges it
        error = repr(raised)
    connections.close_all()
    os.write(writing, json.dumps({"commits": commits, "error": error}).encode())


def _wait(child: int, reading: int) -> Ended:
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    said = json.loads(told) if told else {"commits": 0, "error": "" if killed else f"ended with {status}"}
    return Ended(killed=killed, **said)
