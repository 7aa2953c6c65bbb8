"""Start a private PostgreSQL or Redis: on a unix socket, in a folder that nobody else can enter.

What was committed outlives the server's crash, but not the machine's: nothing waits for a disk.
"""

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
_KEEPERS: dict[Path, "_Keeper"] = {}
POSTGRESQL_OPTIONS = (
    "listen_addresses=",
    "max_connections=300",
    "fsync=off",
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
        begin = f"[ -e data/PG_VERSION ] || {_quoted([*init, '--locale', 'C', '--no-sync'])}"
        words = f"{{ {begin}; }} && exec {_quoted([*serve, *options])}"
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
def redis_server(*, appendonly: bool = False) -> Iterator[str]:
    """Run an empty Redis; yields its URL for Celery. With `appendonly` a crash loses the last second at most."""
    from redis import Redis
    from redis.exceptions import ConnectionError as NotThere

    with _folder(pwd.getpwuid(os.geteuid()).pw_name) as folder:
        socket = folder / "redis.sock"
        kept = ["--save", "", "--appendonly", "yes" if appendonly else "no"]
        command = ["redis-server", "--port", "0", "--unixsocket", str(socket), *kept]

        def answers() -> bool:
            try:
                with Redis(unix_socket_path=str(socket)) as client:
                    return bool(client.ping())
            except NotThere:
                return False

        with _kept(folder, "KILL", command, answers):
            yield f"redis+socket://{socket}"


def crash(folder: Path) -> None:
    """End the server in `folder` as a crash does, start it again on what it left there, and wait until it answers.

    PostgreSQL is shut down at once (SIGQUIT), Redis is killed.
    """
    _KEEPERS[folder].crash()


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
    keeper = _KEEPERS[folder] = _Keeper(folder, ends, command, ready)
    try:
        keeper.wait()
        yield
    finally:
        del _KEEPERS[folder]
        keeper.end()


class _Keeper:
    """The process that keeps one server."""

    def __init__(self, folder: Path, ends: str, command: list[str], ready: Callable[[], bool]) -> None:
        self._name = command[0]
        self._log = folder / "log"
        self._ready = ready
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("keeper.py")), str(folder), ends, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the tests: they end first.
            start_new_session=True,
        )

    def wait(self) -> None:
        """Wait until the server is ready."""
        ends_at = monotonic() + START_SECONDS
        while not self._ready():
            said = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else "nothing"
            assert self._process.poll() is None, f"{self._name} didn't start; it said: {said}"
            assert monotonic() < ends_at, f"{self._name} didn't start in {START_SECONDS} s; it said: {said}"
            sleep(0.05)

    def crash(self) -> None:
        """Crash the server, and wait until it is ready again."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        # The old one is gone then.
        assert self._process.stdout.readline() == b"\n", f"{self._name} ended by itself"
        self.wait()

    def end(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(STOP_SECONDS)
        self._process.stdout.close()
