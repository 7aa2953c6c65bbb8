"""Tests on PostgreSQL are on PostgreSQL, and no server of the tests outlives them, however they end."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from .processes import ROOT, wait_for

STARTS_AND_WAITS = """
import sys, time
from tests.engines import servers
with getattr(servers, sys.argv[1])() as where:
    print(where, flush=True)
    time.sleep(600)
"""


def test_a_test_is_on_the_engine_that_it_names(db: None, database_engine: str) -> None:
    assert connection.vendor == database_engine
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()" if database_engine == "postgresql" else "SELECT sqlite_version()")
        assert cursor.fetchone()[0].startswith("PostgreSQL" if database_engine == "postgresql" else "3.")


def processes_in(folder: Path) -> list[int]:
    """Return the processes that work in `folder`, but for keepers, which only name it."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if (each / "cwd").readlink().is_relative_to(folder):
                found.append(int(each.name))
        except OSError:
            continue
    return found


def keeper_of(folder: Path) -> int:
    """Return the process that keeps the server in `folder`."""
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"keeper.py") for word in words) and str(folder).encode() in words:
            return int(each.parent.name)
    raise AssertionError(f"nobody keeps {folder}")


@pytest.mark.parametrize("keeper_too", [False, True], ids=["tests", "tests-and-keeper"])
@pytest.mark.parametrize(
    "server",
    [
        pytest.param("postgresql_server", marks=pytest.mark.postgres),
        pytest.param("redis_server", marks=pytest.mark.redis),
    ],
)
def test_a_server_ends_when_its_tests_are_killed(server: str, *, keeper_too: bool) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", STARTS_AND_WAITS, server], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with tests:
        assert tests.stdout is not None
        where = Path(tests.stdout.readline().strip().removeprefix("redis+socket://"))
        folder = where if where.is_dir() else where.parent
        assert processes_in(folder)
        keeper = keeper_of(folder)
        if keeper_too:
            # First, so that it has no time to do its duty.
            os.kill(keeper, signal.SIGKILL)
        tests.kill()
    wait_for(lambda: not processes_in(folder), "the server's end")
    if keeper_too:
        # Nobody is left to remove it.
        shutil.rmtree(folder)
    else:
        wait_for(lambda: not folder.exists(), "the folder's end")
