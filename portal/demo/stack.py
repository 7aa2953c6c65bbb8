"""Start and stop all of Sluicegate on one machine: Redis, the lab, a stand-in for Stripe, web servers and workers.

Everything lives below one state folder. The processes are children of the one that made the `Stack`; what a
killed stack left behind is found by its mark in the environment and ended by the next one in the same folder.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from egress.lab import world
from egress.lab.ca import CONTROL_PLANE_ADDRESS, Certificates, certificates
from egress.lab.client import LabClient
from egress.lab.config import AgentConfig, CloudConfig, LabConfig, NodeConfig, RecordingConfig, save
from egress.lab.errors import LabError
from egress.lab.launch import enter_network, lab_command

from .errors import StackError
from .folder import ENVIRONMENT, MARK, StateFolder
from .needs import check_socket_path, obstacle
from .parts import Part, Parts

BASE_DIR = Path(__file__).resolve().parents[2]
#: One node per kind of container network.
NODES = (
    NodeConfig(name="fra1-w1", number=1, network="ptp"),
    NodeConfig(name="fra1-w2", number=2, network="bridge"),
)
MANAGE_SECONDS = 300
AGENTS_SOCKET = "agents.sock"
CELERY = (sys.executable, "-m", "celery", "-A", "portal.config")
#: Parts that read Django's settings, and what no other's environment holds: the lab's children are tenants' containers.
SETTINGS_READERS = frozenset({"agents", "worker", "web", "scheduler"})
SECRETS = frozenset({"SECRET_KEY", "DIGITALOCEAN_TOKEN", "DATABASE_URL", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"})
#: What of the settings the stand-in for Stripe is given, and under which names it wants it.
STANDIN_NAMES = {"STRIPE_SECRET_KEY": "STANDIN_API_KEY", "STRIPE_WEBHOOK_SECRET": "STANDIN_WEBHOOK_SECRET"}
# Agents hold their polls open: nothing is won by waiting until these end.
UVICORN = (sys.executable, "-m", "uvicorn", "portal.config.asgi:application", "--no-access-log", "--lifespan", "off",
           "--timeout-graceful-shutdown", "1", "--http", "portal.config.patience:PatientProtocol")  # fmt: skip


class Stack:
    """All processes of one installation, below `state`; `port` is the pages' (0 picks a free one).

    `settings` are environment variables beside this process's own, such as DATABASE_URL and CELERY_BROKER_URL. With a
    STRIPE_SECRET_KEY among them Stripe itself collects, or nobody where it is empty: no stand-in is started then.
    `simulated`, where not "", says why no packets are to be steered: agents only record then what they would do.
    `cancelled` is asked while something is awaited. After `start`: `seed` (log-ins, token, apps), `environment`.
    """

    def __init__(
        self,
        state: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        simulated: str = "",
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        # Its mark, its sockets and the lab's configuration want one absolute name.
        self.state = state.resolve()
        self.port = port
        self.seed: dict[str, Any] = {}
        self._settings = dict(settings or {})
        self._simulated = simulated
        self.environment: dict[str, str] = {**os.environ, **self._settings}
        self._folder = StateFolder(self.state)
        self._running = Parts(self.state, directory=BASE_DIR, cancelled=cancelled)
        self._parts: dict[str, Part] = {}
        self._sockets: list[socket.socket] = []

    # --- the whole ---------------------------------------------------------------------------------------------------

    def start(self) -> dict[str, Any]:
        """Start everything from an empty database; returns what the seed made (log-ins, token, apps).

        Raises StackError with one clear line; also when it is cancelled.
        """
        if not self._simulated and (reason := obstacle()):
            raise StackError(reason)
        own_redis = self._choose_broker()
        for name in ("redis.sock", "lab.sock", AGENTS_SOCKET):
            check_socket_path(self.state / name)
        try:
            page, cloud, stripe = self._listen(self.port), self._listen(0), self._listen(0)
            self.port = page.getsockname()[1]
            self._folder.take()
            tls = self._prepare(page, cloud, stripe)
            self._start_parts(tls, own_redis=own_redis)
        except BaseException:
            self.stop()
            raise
        return self.seed

    def stop(self) -> None:
        """End every process; the lab's end takes its namespaces and mounts along."""
        self._running.stop_all(last=("lab", "redis"))
        for each in self._sockets:
            each.close()
        self._folder.release()

    def lab(self) -> LabClient:
        """Return a client of the lab."""
        return LabClient(self.state / "lab.sock")

    def manage(self, *arguments: str) -> str:
        """Run a manage.py command in this installation and return what it printed. Raises StackError."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR, env=self.environment, capture_output=True, text=True, timeout=MANAGE_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StackError(f"manage.py {arguments[0]} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    # --- one part ----------------------------------------------------------------------------------------------------

    def start_part(self, name: str) -> None:
        """Start (again) the part called `name` and wait until it is up."""
        secret = frozenset() if name in SETTINGS_READERS else SECRETS
        environment = {key: value for key, value in self.environment.items() if key not in secret}
        if name == "stripe":
            environment |= {theirs: self.environment[ours] for ours, theirs in STANDIN_NAMES.items()}
        self._running.start(name, self._parts[name], environment)

    def stop_part(self, name: str, *, how: signal.Signals = signal.SIGTERM) -> None:
        """End one part: by `how`, and by SIGKILL if that takes too long."""
        self._running.stop(name, how=how)

    def dead_parts(self) -> list[str]:
        """Return the names of parts that ended by themselves."""
        return self._running.dead()

    def part_pid(self, name: str) -> int:
        """Return a running part's process id; it leads a process group of its own."""
        return self._running.pid(name)

    def part_log(self, name: str) -> Path:
        """Return the file that a part logs to."""
        return self._running.log(name)

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, which the part `name` brings about. Raises StackError when it doesn't."""
        self._running.wait(name, ready)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _choose_broker(self) -> bool:
        """Settle on a broker; returns whether that is a Redis of our own."""
        if "CELERY_BROKER_URL" in self.environment:
            return False
        if shutil.which("redis-server"):
            return True
        # Slower and it loses messages, which is good enough: they are hints, and the sweep makes up for them.
        self._settings["CELERY_BROKER_URL"] = f"sqla+sqlite:///{self.state / 'broker.sqlite3'}"
        return False

    def _listen(self, port: int) -> socket.socket:
        """Listen for a part, which inherits the socket and gets it again when it is restarted."""
        listener = socket.socket()
        self._sockets.append(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(
                f"Port {port} can't be used ({error.strerror}): stop what uses it, "
                "or choose another, as in PORT=8001 ./dev demo"
            ) from None
        listener.listen(128)
        return listener

    def _prepare(self, page: socket.socket, cloud: socket.socket, stripe: socket.socket) -> Certificates:
        """Make the database and all files that the parts read; returns the certificates."""
        token = "lab-" + secrets.token_hex(16)
        tls = certificates(self.state)
        own = {**self._own_settings(tls, token, cloud), **self._stripe_settings(stripe), **self._settings}
        self._folder.write_private(ENVIRONMENT, "".join(f"{name}={value}\n" for name, value in own.items()))
        self.environment |= {
            **own,
            MARK: str(self.state),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(BASE_DIR),
            # What a killed worker leaves in its temporary folder is in ours, then.
            "TMPDIR": str(self._folder.make("tmp")),
        }
        self._parts = self._all_parts(page.fileno(), cloud.fileno(), stripe.fileno())
        if self.has_standin:
            # The seed saves a card there.
            self.start_part("stripe")
        self.seed = json.loads(self.manage("seed"))
        self._folder.write_private("join-token", self.seed["join_token"])
        save(self._lab_config(tls, token, cloud), self.state / "lab.json")
        return tls

    def _own_settings(self, tls: Certificates, token: str, cloud: socket.socket) -> dict[str, str]:
        return {
            "SLUICEGATE_STATE_DIR": str(self.state),
            "SLUICEGATE_INSTALLATION_ID": "lab",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "DIGITALOCEAN_TOKEN": token,
            "DIGITALOCEAN_API_URL": f"https://127.0.0.1:{cloud.getsockname()[1]}",
            "DIGITALOCEAN_CA_FILE": str(tls.ca),
            "SLUICEGATE_AGENT_API_URL": f"https://{CONTROL_PLANE_ADDRESS}",
            "SLUICEGATE_AGENT_API_CA_FILE": str(tls.ca),
            "SLUICEGATE_PORTAL_URL": f"http://localhost:{self.port}",
            "SLUICEGATE_SIMULATED": self._simulated,
            "ALLOWED_HOSTS": f"localhost,127.0.0.1,{CONTROL_PLANE_ADDRESS}",
            "CLOCK_OFFSET_FILE": str(self.state / "clock-offset"),
        }

    @property
    def has_standin(self) -> bool:
        """Whether a stand-in collects."""
        return "STRIPE_SECRET_KEY" not in self._settings

    def _stripe_settings(self, listener: socket.socket) -> dict[str, str]:
        if not self.has_standin:
            return {}
        return {
            "STRIPE_SECRET_KEY": "sk_test_" + secrets.token_hex(16),
            "STRIPE_WEBHOOK_SECRET": "whsec_" + secrets.token_hex(16),
            "STRIPE_API_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            # Who plays with the switches of three apps needs more before the first month is paid.
            "BILLING_QUOTA_BEFORE_PAYMENT": "10",
        }

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
            recording=self._recording(),
            nodes=NODES,
        )

    def _recording(self) -> RecordingConfig | None:
        if not self._simulated:
            return None
        return RecordingConfig(agents_socket=str(self.state / AGENTS_SOCKET), reason=self._simulated)

    def _all_parts(self, page_fd: int, cloud_fd: int, stripe_fd: int) -> dict[str, Part]:
        """Return all parts but the agents' API, which waits for the lab's networks."""
        redis_socket = self.state / "redis.sock"
        return {
            "redis": Part(
                command=("redis-server", "--port", "0", "--unixsocket", str(redis_socket), "--save", "",
                         "--appendonly", "no", "--dir", str(self.state)),
                ready=redis_socket.exists,
            ),
            "lab": Part(
                command=tuple(lab_command(self.state / "lab.json", packets=not self._simulated)),
                fds=(cloud_fd,), ready=self._lab_answers, ends_at_once=True,
            ),
            "stripe": Part(
                command=(sys.executable, "-m", "billing.standin", "--state", str(self.state / "stripe"),
                         "--fd", str(stripe_fd), "--webhook", f"http://127.0.0.1:{self.port}/stripe/webhook/"),
                fds=(stripe_fd,),
            ),
            "worker": Part(command=(*CELERY, "worker", "--concurrency", "2", "--loglevel", "WARNING",
                                    "--without-gossip", "--without-mingle")),
            "web": Part(command=(*UVICORN, "--fd", str(page_fd)), fds=(page_fd,)),
            "scheduler": Part(command=(*CELERY, "beat", "--scheduler", "celery.beat:Scheduler", "--pidfile", "",
                                       "--loglevel", "WARNING")),
        }  # fmt: skip

    def _agents_part(self, tls: Certificates) -> Part:
        """Return the agents' API; it listens where the running lab's internet reaches the control plane.

        Without packets that is a unix socket, which nobody but this user reaches: what comes by it is believed when it
        says which address it comes from.
        """
        if self._simulated:
            where = ("--uds", str(self.state / AGENTS_SOCKET), "--forwarded-allow-ips", "*")
            return Part(command=(*UVICORN, *where))
        entering = enter_network(self._running.pid("lab"), world.CONTROL)
        where = ("--host", CONTROL_PLANE_ADDRESS, "--port", "443")
        files = ("--ssl-certfile", str(tls.control_cert), "--ssl-keyfile", str(tls.control_key))
        return Part(command=(*entering, *UVICORN, *where, *files))

    def _start_parts(self, tls: Certificates, *, own_redis: bool) -> None:
        """Start all, first of all what the nodes wait for."""
        if own_redis:
            self.start_part("redis")
        self.start_part("lab")
        self._parts["agents"] = self._agents_part(tls)
        for name in ("agents", "worker", "web", "scheduler"):
            self.start_part(name)

    def _lab_answers(self) -> bool:
        try:
            return bool(self.lab().status())
        except LabError:
            return False
