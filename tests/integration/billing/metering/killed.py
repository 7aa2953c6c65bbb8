"""A worker that closes hours and can be killed: it forks a process for each run, which dies by a real SIGKILL.

Commits are seen below the code, at the database connection, and counted: so one that is added tomorrow is one to die at
tomorrow. Reads runs from standard input and answers on standard output, each a line of JSON.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[4]
#: A run takes some hundredths of a second.
LIMIT_SECONDS = 60


class Killable:
    """The worker, seen from the test."""

    def __init__(self, database_url: str, kept_days: int) -> None:
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "PYTHONPATH": str(ROOT),
            "EGRESS_TOLD_KEPT_DAYS": str(kept_days),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.billing.metering.killed"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def close(
        self, until: datetime, *, die_at: int = 0, when: str = "before", workers: int = 1
    ) -> list[dict[str, Any]]:
        """Close hours in so many processes at once; each dies before or after its commit of that number, 0 for none.

        Returns how each ended: {"killed": …, "commits": …, "error": …}.
        """
        assert self._process.stdin
        assert self._process.stdout
        run = {"until": until.isoformat(), "die_at": die_at, "when": when, "workers": workers}
        self._process.stdin.write(json.dumps(run).encode() + b"\n")
        self._process.stdin.flush()
        answer: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        """End it: it ends with its input."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(LIMIT_SECONDS)
        self._process.stdout.close()


class Commits:
    """Counts what this process commits, and kills it there."""

    def __init__(self, die_at: int, when: str) -> None:
        self.count = 0
        self._die_at = die_at
        self._when = when

    def watch(self) -> None:
        """See all commits of Django's connection: those of transactions, and writes outside of one."""
        from django.db import connections

        database = connections["default"]
        commit = database._commit
        database._commit = lambda: self._at(commit)

        def execute(run: Callable[..., Any], *args: Any) -> Any:
            writes = args[0].startswith(("INSERT", "UPDATE", "DELETE")) and not database.in_atomic_block
            return self._at(lambda: run(*args)) if writes else run(*args)

        database.execute_wrappers.append(execute)

    def _at(self, commit: Callable[[], Any]) -> Any:
        self.count += 1
        dies = self.count == self._die_at
        if dies and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = commit()
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def main() -> None:
    import django
    from django.db import connections

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    django.setup()
    from billing import tasks  # noqa: F401 - loaded before the fork

    connections.close_all()
    for line in sys.stdin:
        run = json.loads(line)
        starting, start = os.pipe()
        children = [_fork(run, starting) for _ in range(run["workers"])]
        os.close(starting)
        # All wait for this end of the pipe to be closed.
        os.close(start)
        sys.stdout.write(json.dumps([_ended(*child) for child in children]) + "\n")
        sys.stdout.flush()


def _fork(run: dict[str, Any], starting: int) -> tuple[int, int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    signal.alarm(LIMIT_SECONDS)
    # Else it would hold open what all wait for.
    for descriptor in range(3, writing):
        if descriptor != starting:
            os.close(descriptor)
    _run(run, starting, writing)
    os._exit(0)


def _run(run: dict[str, Any], starting: int, writing: int) -> None:
    from django.db import connections

    from billing.metering import close

    commits = Commits(run["die_at"], run["when"])
    connections["default"].ensure_connection()
    commits.watch()
    os.read(starting, 1)
    error = ""
    try:
        close.close_hours(datetime.fromisoformat(run["until"]))
    except Exception as raised:  # noqa: BLE001 - the test judges it
        error = repr(raised)
    connections.close_all()
    os.write(writing, json.dumps({"commits": commits.count, "error": error}).encode())


def _ended(child: int, reading: int) -> dict[str, Any]:
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    said = json.loads(told) if told else {"commits": 0, "error": "" if killed else f"ended with {status}"}
    return {"killed": killed, **said}


if __name__ == "__main__":
    main()
