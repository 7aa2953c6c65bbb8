"""Processes by name, each with a log file: started, awaited, ended. None of them outlives the one that started it."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import StackError

STOP_SECONDS = 15
START_SECONDS = 60
LOG_TAIL_BYTES = 1_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How to start one process; it is up once `ready` says so. `fds` are inherited under the same numbers."""

    command: tuple[str, ...]
    fds: tuple[int, ...] = ()
    ready: Callable[[], bool] = lambda: True
    #: The lab's end, however sudden, is the end of all that it has made: nothing is won by patience.
    ends_at_once: bool = False


def end_with_parent() -> list[str]:
    """Return what to put before a command so that it doesn't outlive this process, however that ends.

    Nothing on machines other than Linux: what a killed stack leaves there is ended by the next one.
    """
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


class Parts:
    """The running processes; their logs are in `logs`. What is awaited is given up when `cancelled` says so."""

    def __init__(self, logs: Path, *, directory: Path, cancelled: Callable[[], bool] = lambda: False) -> None:
        self.logs = logs
        self._directory = directory
        self._cancelled = cancelled
        self._running: dict[str, tuple[Part, subprocess.Popen[bytes]]] = {}

    def start(self, name: str, part: Part, environment: Mapping[str, str]) -> None:
        """Start `part` as `name` and wait until it is ready; what was left of an earlier one ends first."""
        self.stop(name)
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                [*end_with_parent(), *part.command],
                cwd=self._directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=part.fds,
            )
        self._running[name] = part, child
        self.wait(name, part.ready)

    def stop(self, name: str, *, how: signal.Signals = signal.SIGTERM) -> None:
        """End one process: by `how`, and with all of its group by SIGKILL if that takes too long."""
        self._signal(name, how)
        part_and_child = self._running.pop(name, None)
        if part_and_child is None:
            return
        _, child = part_and_child
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(STOP_SECONDS)

    def stop_all(self, *, last: Collection[str]) -> None:
        """End all at once; those in `last`, which the others need to end well, after them."""
        names = list(reversed(self._running))
        for name in names:
            if name not in last:
                self._signal(name, signal.SIGTERM)
        for name in sorted(names, key=lambda name: name in last):
            self.stop(name)

    def dead(self) -> list[str]:
        """Return the names of those that ended by themselves."""
        return [name for name, (_, child) in self._running.items() if child.poll() is not None]

    def pid(self, name: str) -> int:
        """Return a running one's process id."""
        return self._running[name][1].pid

    def log(self, name: str) -> Path:
        """Return the file that it logs to."""
        return self.logs / f"{name}.log"

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, which `name` brings about. Raises StackError when that ends first, or takes too long."""
        end = time.monotonic() + START_SECONDS
        while not ready():
            if self._cancelled():
                raise StackError("Stopped while starting.")
            if name in self.dead() or time.monotonic() > end:
                tail = self.log(name).read_text(errors="replace")[-LOG_TAIL_BYTES:]
                raise StackError(f"{name} did not come up; the end of {self.log(name)}:\n{tail}")
            time.sleep(0.05)

    def _signal(self, name: str, how: signal.Signals) -> None:
        if name in self._running:
            part, child = self._running[name]
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGKILL if part.ends_at_once else how)
