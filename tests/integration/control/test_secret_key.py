"""Without a SECRET_KEY nothing that serves starts; what needs none runs."""

import os
import subprocess
import sys

import pytest

from .processes import LIMIT_SECONDS, ROOT

PYTHON = (sys.executable, "-W", "ignore")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "SECRET_KEY"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "uvicorn", "portal.config.asgi:application", "--port", "0"),
        ("-m", "celery", "-A", "portal.config", "worker", "--concurrency", "1"),
    ],
    ids=["web", "worker"],
)
def test_without_a_key_nothing_that_serves_starts(command: tuple[str, ...]) -> None:
    done = run(*PYTHON, *command)
    assert done.returncode != 0
    assert "SECRET_KEY setting must not be empty" in done.stderr


def test_without_a_key_commands_that_need_none_run() -> None:
    done = run(*PYTHON, "manage.py", "makemigrations", "--check", "--dry-run")
    assert (done.returncode, done.stdout.strip()) == (0, "No changes detected")
