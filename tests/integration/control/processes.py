"""Real processes for tests: Celery workers, web servers. Always ended, by their ids."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parents[3]
#: Generous: what is waited for takes a second or two on a quiet machine.
LIMIT_SECONDS = 60


def wait_for(condition: Callable[[], object], what: str) -> None:
    ends_at = monotonic() + LIMIT_SECONDS
    while not condition():
        assert monotonic() < ends_at, f"waited {LIMIT_SECONDS} s for {what}"
        sleep(0.05)


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` on the test's database until the end of the block."""
    inherited = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "EGRESS_PROVIDER": settings.EGRESS_PROVIDER,
        **environment,
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=inherited, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    except BaseException:
        sys.stderr.write(log.read_text()[-8000:])
        raise
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        kill(process)


def database_url() -> str:
    """Return where the test's database is; PostgreSQL's host and user come from libpq's own variables."""
    scheme = "sqlite:///" if connection.vendor == "sqlite" else "postgres:///"
    return f"{scheme}{connection.settings_dict['NAME']}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children, which share its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)


def worker_command(folder: Path, *, beat: bool) -> list[str]:
    scheduler = ["--beat", "--schedule", str(folder / "beat")] if beat else []
    options = ["--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    return [sys.executable, "-m", "celery", "-A", "portal.config", "worker", *options, *scheduler]


def web_command(port: int, *, workers: int) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers), "--lifespan", "off"]
    options += ["--http", "portal.config.patience:PatientProtocol"]
    return [sys.executable, "-m", "uvicorn", "portal.config.asgi:application", *options]
