"""The control plane's processes: three web servers on one socket, three workers, two schedulers; and who kills some."""

import os
import random
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL
from time import monotonic, sleep

from portal.demo.parts import Part, Parts

ROOT = Path(__file__).resolve().parents[2]
CELERY = (sys.executable, "-m", "celery", "-A", "portal.config")
UVICORN = (sys.executable, "-m", "uvicorn", "portal.config.asgi:application", "--no-access-log", "--lifespan", "off",
           "--timeout-graceful-shutdown", "1")  # fmt: skip
WORKER = ("worker", "--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle")
BEAT = ("beat", "--scheduler", "celery.beat:Scheduler", "--pidfile", "", "--loglevel", "WARNING")
TICK_SECONDS = 0.1
START_SECONDS = 120
#: In all rides of a storm: each strikes Redis twice, and there are three workers.
MOST_GIVEN_UP = 6
#: Between two blows: from, to.
PAUSE_SECONDS = (1, 3)


class ControlPlane:
    """All processes. Started from one thread, which outlives them: the kernel ends them with it."""

    def __init__(self, folder: Path, environment: Mapping[str, str], seed: int) -> None:
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._parts = Parts(folder, directory=ROOT)
        # All web servers accept from it; while one is dead the others do.
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(512)
        self.where: tuple[str, int] = self._listener.getsockname()
        fd = self._listener.fileno()
        self._commands = {
            **{f"web-{number}": Part(command=(*UVICORN, "--fd", str(fd)), fds=(fd,)) for number in range(3)},
            **{f"worker-{number}": Part(command=(*CELERY, *WORKER)) for number in range(3)},
            **{f"scheduler-{number}": Part(command=(*CELERY, *BEAT)) for number in range(2)},
        }
        self._dice = random.Random(seed)  # noqa: S311  # no secret hangs on it
        self._next_blow_at = 0.0
        self.killed: Counter[str] = Counter()
        self.gave_up: Counter[str] = Counter()

    def start(self, settings: Mapping[str, str]) -> None:
        """Start everything, and wait until workers work; `settings` are environment variables."""
        self._environment |= settings
        for name, part in self._commands.items():
            self._parts.start(name, part, self._environment)
        workers = [self._parts.log(name) for name in self._commands if name.startswith("worker")]
        self.wait(
            lambda: all(" ready." in log.read_text() for log in workers),
            lambda: "all workers",
            limit_seconds=START_SECONDS,
        )

    def stop(self) -> None:
        """End everything."""
        self._parts.stop_all(last=())
        self._listener.close()

    def wait(
        self,
        done: Callable[[], bool],
        what: Callable[[], str],
        *,
        limit_seconds: float,
        blows: Sequence[Callable[[], None]] = (),
    ) -> None:
        """Wait for `done`; meanwhile strike all `blows`, one after the other in an order of the dice.

        `what` says what was waited for, and how far it came.
        """
        ends_at = monotonic() + limit_seconds
        left = self._dice.sample(blows, len(blows))
        while left or not done():
            assert monotonic() < ends_at, f"waited {limit_seconds} s for {what()}"
            if left and monotonic() > self._next_blow_at:
                left.pop()()
                self._next_blow_at = monotonic() + self._dice.uniform(*PAUSE_SECONDS)
            self._revive()
            sleep(TICK_SECONDS)

    def _revive(self) -> None:
        """Start again what ended by itself, as a supervisor does; only a worker may, and seldom.

        Celery gives up where Redis goes away just as it gives its messages back (kombu 5.7: "'NoneType' object has no
        attribute 'hostname'").
        """
        for name in self._parts.dead():
            kind = name.partition("-")[0]
            self.gave_up[kind] += 1
            assert kind == "worker", f"{name} ended by itself; see {self._parts.log(name)}"
            assert self.gave_up[kind] <= MOST_GIVEN_UP, f"workers give up all the time; see {self._parts.log(name)}"
            self._parts.stop(name)
            self._parts.start(name, self._commands[name], self._environment)

    def kill_one(self) -> None:
        """Kill one of the processes, whichever, and start it again."""
        name = self._dice.choice(sorted(self._commands))
        self._parts.stop(name, how=SIGKILL)
        self._parts.start(name, self._commands[name], self._environment)
        self.killed[name.partition("-")[0]] += 1
