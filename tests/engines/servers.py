"""Start a private PostgreSQL or Redis: on a unix socket, in a folder that nobody else can enter, with no durability."""

import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

START_SECONDS = 120
#: The keeper waits so long for a server's end, twice.
STOP_SECONDS = 50
POSTGRESQL_OPTIONS = (
    "listen_addresses=",
    "max_connections=300",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
)


def postgresql_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs, in Debian's places or on the PATH; None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def why_no_postgresql() -> str:
    """Say why PostgreSQL can't be run here; "" when it can."""
    if postgresql_programs() is None:
        return "PostgreSQL's server isn't installed (Debian: postgresql)"
    if os.geteuid() == 0 and not _is_user("postgres"):
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return ""


def why_no_redis() -> str:
    """Say why Redis can't be run here; "" when it can."""
    return "" if shutil.which("redis-server") else "redis-server isn't installed"


@contextmanager
def postgresql_server() -> Iterator[Path]:
    """Run a new cluster with the superuser `postgres`; yields the folder of its socket, libpq's host."""
    import psycopg

    programs = postgresql_programs()
    assert programs is not None
    owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    with _folder(owner) as folder:
        init = [programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres", "-E", "UTF8"]
        serve = [programs / "postgres", "-D", folder / "data", "-c", f"unix_socket_directories={folder}"]
        options = [word for option in POSTGRESQL_OPTIONS for word in ("-c", option)]
        words = f"{_quoted([*init, '--locale', 'C', '--no-sync'])} && exec {_quoted([*serve, *options])}"
        # It refuses to run as root. setpriv keeps the keeper's word that it dies with it.
        become = ["setpriv", "--reuid", owner, "--regid", owner, "--init-groups", "--pdeathsig", "keep"]
        command = [*(become if os.geteuid() == 0 else []), "sh", "-c", words]

        def answers() -> bool:
            try:
                psycopg.connect(host=str(folder), user="postgres", dbname="postgres", connect_timeout=5).close()
            except psycopg.OperationalError:
                return False
            return True

        with _kept(folder, "QUIT", command, answers):
            yield folder


@contextmanager
def redis_server() -> Iterator[str]:
    """Run an empty Redis; yields its URL for Celery."""
    with _folder(pwd.getpwuid(os.geteuid()).pw_name) as folder:
        socket = folder / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        with _kept(folder, "TERM", command, socket.exists):
            yield f"redis+socket://{socket}"


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _quoted(words: list[object]) -> str:
    return shlex.join(str(word) for word in words)


@contextmanager
def _folder(owner: str) -> Iterator[Path]:
    # Short: the path of a unix socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="sgt-"))
    try:
        shutil.chown(folder, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _kept(folder: Path, ends: str, command: list[str], ready: Callable[[], bool]) -> Iterator[None]:
    """Run `command` under a keeper until the end of the block, which begins once it is `ready`."""
    keeper = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("keeper.py")), str(folder), ends, *command],
        stdin=subprocess.PIPE,
        # Ctrl-C is for the tests: they end first.
        start_new_session=True,
    )
    assert keeper.stdin is not None
    try:
        ends_at = monotonic() + START_SECONDS
        while not ready():
            log = folder / "log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else "nothing"
            assert keeper.poll() is None, f"{command[0]} didn't start; it said: {said}"
            assert monotonic() < ends_at, f"{command[0]} didn't start in {START_SECONDS} s; it said: {said}"
            sleep(0.05)
        yield
    finally:
        keeper.stdin.close()
        keeper.wait(STOP_SECONDS)
