"""A process that writes the export folder and can be killed on the way: forks one for each errand.

Its points are seen from below (ADR 9): every file that gets its name, everything that is brought to the disk, every
commit, and each chunk of a file. Reads errands as lines of JSON, `[kill at this point, or -1, folder]`; answers each
with the points that were passed.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
LIMIT_SECONDS = 60


class Killer:
    """The process, seen from the test."""

    def __init__(self, database_url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.billing.export_killer"],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": database_url,
                "BILLING_EXPORT_FILES": "csv:day,focus:day",
                "LOG_LEVEL": "CRITICAL",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def write(self, folder: Path, kill_at: int = -1) -> list[str]:
        """Let a new process write `folder`, killed at a point; returns the points that it passed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([kill_at, str(folder)]).encode() + b"\n")
        self._process.stdin.flush()
        passed: list[str] = json.loads(self._process.stdout.readline())
        return passed

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(LIMIT_SECONDS)
        if self._process.stdout:
            self._process.stdout.close()


class Points:
    """Passes points until one of them is the end."""

    def __init__(self, kill_at: int, told: int) -> None:
        self._left = kill_at
        self._told = told

    def passed(self, name: str) -> None:
        os.write(self._told, f"{name}\n".encode())
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1

    def round_of(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.passed(f"before {name}")
            result = real(*args, **kwargs)
            self.passed(f"after {name}")
            return result

        return call


def main() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    django.setup()
    from billing.exports import months  # noqa: F401 - loaded before the fork

    for line in sys.stdin:
        kill_at, folder = json.loads(line)
        read, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _errand(Points(kill_at, told), folder)
        os.close(told)
        with os.fdopen(read) as points:
            passed = points.read().splitlines()
        _, status = os.waitpid(child, 0)
        how = os.waitstatus_to_exitcode(status)
        assert how in {0, -signal.SIGKILL}, f"the errand ended with {how}"
        print(json.dumps(passed), flush=True)  # noqa: T201  # the answer


def _errand(points: Points, folder: str) -> None:
    code = 1
    try:
        _watch(points)
        from django.conf import settings

        from billing.exports.months import export_months

        settings.BILLING_EXPORT_DIR = folder
        export_months()
        code = 0
    except Exception:  # noqa: BLE001  # told, and the code says it
        traceback.print_exc()
    finally:
        os._exit(code)


def _watch(points: Points) -> None:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from billing.exports import folder

    Path.replace = points.round_of("name", Path.replace)  # type: ignore[method-assign]
    os.fsync = points.round_of("disk", os.fsync)
    BaseDatabaseWrapper.commit = points.round_of("commit", BaseDatabaseWrapper.commit)  # type: ignore[method-assign]
    write = folder.write

    def in_chunks(*args: Any, **kwargs: Any) -> Any:
        for chunk in write(*args, **kwargs):
            points.passed("chunk")
            yield chunk

    folder.write = in_chunks


if __name__ == "__main__":
    main()
