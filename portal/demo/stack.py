"""Start and stop all of Sluicegate on one machine: Redis, the lab, the web servers, the workers and the schedulers.

Everything lives below one state folder. The processes are children of the one that made the `Stack`; what a
killed stack left behind is found by its mark in the environment and ended by the next one on the same folder.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from egress.lab.ca import CONTROL_PLANE_ADDRESS, Certificates, certificates
from egress.lab.client import LabClient
from egress.lab.config import AgentConfig, CloudConfig, LabConfig, NodeConfig, save
from egress.lab.errors import LabError
from egress.lab.launch import lab_command

BASE_DIR = Path(__file__).resolve().parents[2]
MARK = "SLUICEGATE_STACK"
#: One node per kind of container network.
NODES = (
    NodeConfig(name="fra1-w1", number=1, network="ptp"),
    NodeConfig(name="fra1-w2", number=2, network="bridge"),
)
STOP_SECONDS = 15


class StackError(Exception):
    """The stack can't be started; the message says what is in the way and what to do."""


class Stack:
    """All processes of one installation, below `state`; `port` is the pages' (0 picks a free one)."""

    def __init__(self, state: Path, *, port: int = 0, database_url: str = "", broker_url: str = "") -> None:
        self.state = state
        self.port = port
        self._urls = {"DATABASE_URL": database_url, "CELERY_BROKER_URL": broker_url}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}
        self._passed: dict[str, tuple[int, ...]] = {}
        self._lock: IO[str] | None = None
        self._cancelled: Callable[[], bool] = lambda: False
        self.environment: dict[str, str] = {}

    # --- the whole ---------------------------------------------------------------------------------------------------

    def start(self, *, cancelled: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Start everything from an empty database; returns what the seed made (log-ins, token, apps).

        Raises StackError with one clear line; also when `cancelled` says so while something is awaited.
        """
        self._cancelled = cancelled
        page = self._listen(self.port)
        self.port = page.getsockname()[1]
        cloud = self._listen(0)
        try:
            self._own_state()
            self._prepare(cloud)
            self._start_parts(page, cloud)
        except BaseException:
            self.stop()
            raise
        finally:
            page.close()
            cloud.close()
        return self.seed

    def stop(self) -> None:
        """End every process, newest first; the lab's end takes its namespaces and mounts along."""
        for name in reversed(list(self._children)):
            self.stop_part(name, how=signal.SIGKILL if name == "lab" else signal.SIGTERM)
        if self._lock:
            (self.state / "env").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def lab(self) -> LabClient:
        """Return a client of the lab."""
        return LabClient(self.state / "lab.sock")

    # --- one part ----------------------------------------------------------------------------------------------------

    def start_part(self, name: str, *, seconds: float = 60, ready: Callable[[], bool] | None = None) -> None:
        """Start (again) the part called `name` and wait until `ready` says yes."""
        log = (self.state / f"{name}.log").open("ab")
        self._children[name] = subprocess.Popen(
            # Nothing outlives the process that started it, however that ends.
            ["setpriv", "--pdeathsig", "KILL", *self._commands[name]],
            cwd=BASE_DIR,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self._passed.get(name, ()),
        )
        log.close()
        if ready:
            self._wait(name, ready, seconds)

    def stop_part(self, name: str, *, how: signal.Signals = signal.SIGTERM) -> None:
        """End one part: by `how`, and by SIGKILL if that takes too long."""
        child = self._children.pop(name, None)
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(STOP_SECONDS)

    def dead_parts(self) -> list[str]:
        """Return the names of parts that ended by themselves."""
        return [name for name, child in self._children.items() if child.poll() is not None]

    def part_pid(self, name: str) -> int:
        """Return the process id of a running part."""
        return self._children[name].pid

    # --- inside ------------------------------------------------------------------------------------------------------

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            listener.close()
            raise StackError(
                f"Port {port} is in use ({error.strerror}): stop what uses it, "
                "or choose another, as in PORT=8001 ./dev demo"
            ) from None
        listener.listen(128)
        return listener

    def _own_state(self) -> None:
        """Take the state folder for this stack alone, end what a killed one left, and empty it."""
        self.state.mkdir(parents=True, exist_ok=True)
        self._lock = (self.state / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock = None
            raise StackError(f"Another demo is running in {self.state}: stop it first.") from None
        os.set_inheritable(self._lock.fileno(), False)
        end_remains(self.state)
        for entry in self.state.iterdir():
            if entry.name != "lock":
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def _prepare(self, cloud: socket.socket) -> None:
        token = "lab-" + secrets.token_hex(16)
        tls = certificates(self.state)
        own = {
            MARK: str(self.state),
            "SLUICEGATE_STATE_DIR": str(self.state),
            "SLUICEGATE_INSTALLATION_ID": "demo",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DIGITALOCEAN_TOKEN": token,
            "DIGITALOCEAN_API_URL": f"https://127.0.0.1:{cloud.getsockname()[1]}",
            "DIGITALOCEAN_CA_FILE": str(tls.ca),
            "SLUICEGATE_AGENT_API_URL": f"https://{CONTROL_PLANE_ADDRESS}",
            "SLUICEGATE_AGENT_API_CA_FILE": str(tls.ca),
            "ALLOWED_HOSTS": f"localhost,127.0.0.1,{CONTROL_PLANE_ADDRESS}",
            **{name: url for name, url in self._urls.items() if url},
        }
        # Other shells (manage.py lab …) find this installation's settings here.
        _write_private(self.state / "env", "".join(f"{name}={value}\n" for name, value in own.items() if name != MARK))
        self.environment = {**os.environ, **own, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(BASE_DIR)}
        self._manage("migrate", "--verbosity", "0")
        self.seed: dict[str, Any] = json.loads(self._manage("seed"))
        _write_private(self.state / "join-token", self.seed["join_token"])
        save(self._lab_config(tls, token, cloud), self.state / "lab.json")
        self._commands = self._all_commands(tls)

    def _lab_config(self, tls: Certificates, token: str, cloud: socket.socket) -> LabConfig:
        return LabConfig(
            state_dir=str(self.state / "lab"),
            control_socket=str(self.state / "lab.sock"),
            python=sys.executable,
            cloud=CloudConfig(
                fd=cloud.fileno(), cert_file=str(tls.local_cert), key_file=str(tls.local_key), tokens=(token,)
            ),
            agent=AgentConfig(
                control_plane_url=f"https://{CONTROL_PLANE_ADDRESS}",
                ca_file=str(tls.ca),
                join_token_file=str(self.state / "join-token"),
            ),
            nodes=NODES,
        )

    def _all_commands(self, tls: Certificates) -> dict[str, list[str]]:
        python, celery = sys.executable, [sys.executable, "-m", "celery", "-A", "portal.config"]
        uvicorn = [python, "-m", "uvicorn", "portal.config.asgi:application", "--no-access-log", "--lifespan", "off"]
        return {
            "redis": ["redis-server", "--port", "0", "--unixsocket", str(self.state / "redis.sock"), "--save", "",
                      "--appendonly", "no", "--dir", str(self.state)],
            "lab": lab_command(self.state / "lab.json"),
            "agents": [*uvicorn, "--host", CONTROL_PLANE_ADDRESS, "--port", "443",
                       "--ssl-certfile", str(tls.control_cert), "--ssl-keyfile", str(tls.control_key)],
            "web": uvicorn,
            "worker": [*celery, "worker", "--concurrency", "2", "--loglevel", "INFO", "--without-gossip",
                       "--without-mingle"],
            "scheduler": [*celery, "beat", "--scheduler", "celery.beat:Scheduler", "--pidfile", "",
                          "--loglevel", "WARNING"],
        }  # fmt: skip

    def _start_parts(self, page: socket.socket, cloud: socket.socket) -> None:
        if not self._urls["CELERY_BROKER_URL"]:
            self.start_part("redis", ready=(self.state / "redis.sock").exists)
        self._passed = {"lab": (cloud.fileno(),), "web": (page.fileno(),)}
        self._commands["web"] += ["--fd", str(page.fileno())]
        self.start_part("lab")
        self.start_part("web")
        self.start_part("worker")
        self.start_part("scheduler")
        self._wait("lab", self._lab_up, 60)
        self._commands["agents"][:0] = ["nsenter", f"--net={self._control_netns()}"]
        self.start_part("agents")

    def _lab_up(self) -> bool:
        try:
            return bool(self.lab().status())
        except LabError:
            return False

    def _control_netns(self) -> str:
        """Return the path of the network namespace in which the lab's internet reaches the control plane."""
        return f"/proc/{self.part_pid('lab')}/root/run/netns/control"

    def _manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR, env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StackError(f"manage.py {arguments[0]} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if self._cancelled():
                raise StackError("Stopped while starting.")
            if name in self.dead_parts() or time.monotonic() > end:
                tail = (self.state / f"{name}.log").read_text(errors="replace")[-1500:]
                raise StackError(f"{name} did not come up; the end of {self.state / f'{name}.log'}:\n{tail}")
            time.sleep(0.05)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _marked(state: Path) -> Iterator[int]:
    """Yield the ids of processes that bear the mark of a stack on `state`."""
    mark = f"{MARK}={state}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark in environment.split(b"\0"):
                yield int(entry.name)


def end_remains(state: Path, seconds: float = 10) -> None:
    """Kill what a killed stack on `state` left running, and wait until it is gone."""
    end = time.monotonic() + seconds
    while remains := list(_marked(state)):
        if time.monotonic() > end:
            raise StackError(f"Processes of an earlier demo don't end: {', '.join(map(str, remains))}")
        for pid in remains:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
