"""One service: started, watched, restarted, stopped. Runs inside a Droplet, on the standard library alone."""

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field

from .units import UNITS, Settings, UnitError, one, read_unit, say, seconds, start_unit

STOP_SECONDS = 10


@dataclass
class Service:
    """One unit: what its file said when it was started, and what became of it.

    `state` is inactive, activating, active or failed. All times are on the monotonic clock.
    """

    name: str
    settings: Settings = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    state: str = "inactive"
    restart_at: float | None = None
    #: When it is killed unless it says READY=1 (while activating) or WATCHDOG=1 (while active).
    patience_ends_at: float | None = None
    starts: "deque[float]" = field(default_factory=lambda: deque(maxlen=100))

    def start(self) -> None:
        """Start it; a no-op when it runs. Raises UnitError."""
        self.restart_at = None
        if self.process:
            return
        self.state = "failed"
        self.settings = read_unit(UNITS / self.name)
        self._count_start()
        waits = one(self.settings, "Type", "simple") == "notify"
        self.process = start_unit(self.name, self.settings)
        self.state = "activating" if waits else "active"
        self._be_patient("TimeoutStartSec", "90" if waits else "0")

    def stop(self) -> None:
        """Stop it by SIGTERM, and by SIGKILL if that takes too long."""
        self.restart_at = self.patience_ends_at = None
        self.state = "inactive"
        process, self.process = self.process, None
        if process is None:
            return
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            say(f"{self.name} didn't stop within {STOP_SECONDS} s: killed")
        _signal_group(process, signal.SIGKILL)
        process.wait()

    def notified(self, message: str) -> None:
        """Take in what the service says of itself (sd_notify)."""
        words = message.split("\n")
        if "READY=1" in words and self.state == "activating":
            self.state = "active"
        if self.state == "active" and {"READY=1", "WATCHDOG=1"} & set(words):
            self._be_patient("WatchdogSec", "0")

    def tend(self) -> None:
        """Notice its end, restart it when it is time, kill it when it was silent for too long."""
        now = time.monotonic()
        if self.process and self.patience_ends_at is not None and self.patience_ends_at <= now:
            say(f"{self.name} was silent for too long while {self.state}: killed")
            self.patience_ends_at = None
            _signal_group(self.process, signal.SIGKILL)
        if self.process and self.process.poll() is not None:
            self._ended(self.process.returncode)
        if self.restart_at is not None and self.restart_at <= now:
            try:
                self.start()
            except UnitError as error:
                say(str(error))

    def next_at(self) -> float | None:
        """Return when `tend` has something to do, if no process ends before."""
        return min((at for at in (self.restart_at, self.patience_ends_at) if at is not None), default=None)

    def _ended(self, code: int) -> None:
        say(f"{self.name} ended ({code})")
        self.process = self.patience_ends_at = None
        policy = one(self.settings, "Restart", "no")
        again = policy == "always" or (policy == "on-failure" and code != 0)
        self.state = "activating" if again else ("failed" if code else "inactive")
        if again:
            self.restart_at = time.monotonic() + seconds(one(self.settings, "RestartSec", "100ms"))

    def _be_patient(self, key: str, default: str) -> None:
        span = seconds(one(self.settings, key, default))
        self.patience_ends_at = time.monotonic() + span if span else None

    def _count_start(self) -> None:
        interval = seconds(one(self.settings, "StartLimitIntervalSec", "10"))
        burst = min(int(one(self.settings, "StartLimitBurst", "5")), 100)
        now = time.monotonic()
        if interval and sum(now - at < interval for at in self.starts) >= burst:
            raise UnitError(f"{self.name}: started {burst} times within {interval:g} s, now failed")
        self.starts.append(now)


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
