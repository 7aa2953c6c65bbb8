"""The control plane on PostgreSQL: the same tests, in a process of their own, on a server that is ours alone.

Any of these tests runs on any PostgreSQL: DATABASE_URL=postgres:///NAME, with PGHOST and PGUSER as psql takes them.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import LIMIT_SECONDS, ROOT

HERE = "tests/integration/control"
#: From migrations over every step to active and released; leases and the clock; requests and polls at once.
CHOSEN = (
    f"{HERE}/test_lifecycle.py",
    f"{HERE}/test_rebuild.py",
    f"{HERE}/test_clock.py",
    f"{HERE}/test_failures.py::test_a_row_that_another_worker_has_is_left_alone",
    f"{HERE}/test_services.py::test_a_lost_race_for_a_pair_number_is_tried_again_a_few_times",
    f"{HERE}/test_processes.py::test_requests_at_once_make_one_assignment_and_different_pairs",
    f"{HERE}/test_processes.py::test_a_change_wakes_the_polls_of_all_web_processes",
)


def newest_server() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs, in Debian's places or on the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


PROGRAMS = newest_server()
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL's server isn't installed"),
    pytest.mark.timeout(400),
]


def as_owner(*command: object) -> list[str]:
    """PostgreSQL refuses to run as root."""
    words = [str(word) for word in command]
    return ["runuser", "-u", "postgres", "--", *words] if os.geteuid() == 0 else words


@pytest.fixture
def server() -> Iterator[dict[str, str]]:
    """Run a server on a unix socket in a folder that only its owner can enter; yields libpq's variables."""
    assert PROGRAMS is not None
    owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    # Short: the path of a unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="sgt-") as name:
        folder, data = Path(name), Path(name) / "data"
        shutil.chown(folder, owner)
        init = [PROGRAMS / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale", "C"]
        _run(as_owner(*init, "--no-sync"), folder)
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        control = [PROGRAMS / "pg_ctl", "-D", data, "-w", "-t", LIMIT_SECONDS]
        try:
            _run(as_owner(*control, "-l", folder / "log", "-o", options, "start"), folder)
            yield {"PGHOST": str(folder), "PGUSER": "postgres"}
        finally:
            subprocess.run(
                as_owner(*control, "-m", "immediate", "stop"), cwd=folder, check=False, timeout=LIMIT_SECONDS
            )


def _run(command: list[str], folder: Path) -> None:
    # Its own output goes to a file: the server would hold a pipe open.
    with (folder / "out").open("w+") as output:
        done = subprocess.run(command, cwd=folder, stdout=output, stderr=output, timeout=2 * LIMIT_SECONDS, check=False)
        output.seek(0)
        assert done.returncode == 0, output.read()


def test_what_matters_most_holds_on_postgresql(server: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "REQUIRE"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CHOSEN],
        cwd=ROOT,
        env={**environment, **server, "DATABASE_URL": "postgres:///postgres"},
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert "skipped" not in done.stdout
