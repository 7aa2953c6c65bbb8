"""PID 1 of a lab Droplet, and its service manager: the small part of systemd that one simple service needs.

The lab's own, not systemd: it knows units of Type=simple in /etc/systemd/system with ExecStart, ExecStartPre,
Environment, WorkingDirectory, Restart and RestartSec, names on the console every other setting that it passes over,
starts what is enabled at each boot, and then runs the boot's jobs (cloud-init's stages) one after another.
`systemctl` speaks to it over a unix socket: a JSON list of arguments in, {"exit": …, "output": …} out.
"""

import contextlib
import json
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

UNITS = Path("/etc/systemd/system")
WANTS = UNITS / "multi-user.target.wants"
SOCKET = "/run/lab-init.sock"
JOBS = Path("/usr/local/lib/lab/jobs.json")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
JOB_SECONDS = 300
STOP_SECONDS = 10
PRE_SECONDS = 30
#: As systemd: so many starts in so many seconds, and the unit is failed.
START_LIMIT, START_INTERVAL_SECONDS = 5, 10
KNOWN = {"Type", "ExecStart", "ExecStartPre", "Environment", "WorkingDirectory", "Restart", "RestartSec"}
NO_UNIT, NOT_RUNNING = 4, 3


class UnitError(Exception):
    """The unit isn't there or can't be used; `exit` is what systemctl exits with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.exit = code


@dataclass
class Service:
    """One unit: what its file said when it was started, and what became of it."""

    name: str
    settings: dict[str, list[str]] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    state: str = "inactive"
    restart_at: float | None = None
    starts: "deque[float]" = field(default_factory=lambda: deque(maxlen=START_LIMIT))

    def one(self, key: str, default: str = "") -> str:
        """Return the last value of a setting."""
        return self.settings.get(key, [default])[-1]


class Manager:
    """All services, the boot's jobs, and the loop that serves them."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.jobs: deque[list[str]] = deque(json.loads(JOBS.read_text()))
        self.job: subprocess.Popen[bytes] | None = None
        self.job_ends_at = 0.0
        self.leaving = False
        self.selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Boot, serve until SIGTERM, stop everything."""
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._leave)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(SOCKET)
        listening.listen(16)
        self.selector.register(wake, selectors.EVENT_READ)
        self.selector.register(listening, selectors.EVENT_READ)
        say("up")
        for link in sorted(WANTS.glob("*.service")):
            self._try_start(link.name)
        self._next_job()
        while not self.leaving:
            for key, _ in self.selector.select(timeout=self._pause()):
                if key.fileobj is listening:
                    self._serve(listening)
                else:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(4096)
            self._tend()
        for service in self.services.values():
            self._stop(service)

    def _leave(self, *_: object) -> None:
        self.leaving = True

    def _pause(self) -> float:
        times = [service.restart_at for service in self.services.values() if service.restart_at is not None]
        if self.job:
            times.append(self.job_ends_at)
        return min(max(min(times, default=time.monotonic() + 60) - time.monotonic(), 0.0), 60.0)

    def _tend(self) -> None:
        """Reap what ended, restart what should run, go on with the boot's jobs."""
        own = {p.pid: p for p in (self.job, *(s.process for s in self.services.values())) if p}
        for process in own.values():
            process.poll()
        reap_orphans(own)
        for service in self.services.values():
            if service.process and service.process.returncode is not None:
                self._ended(service, service.process.returncode)
            if service.restart_at is not None and service.restart_at <= time.monotonic():
                self._try_start(service.name)
        self._next_job()

    def _ended(self, service: Service, code: int) -> None:
        say(f"{service.name} ended ({code})")
        service.process = None
        policy = service.one("Restart", "no")
        again = policy == "always" or (policy == "on-failure" and code != 0)
        service.state = "activating" if again else ("failed" if code else "inactive")
        if again:
            service.restart_at = time.monotonic() + seconds(service.one("RestartSec", "0.1"))

    def _next_job(self) -> None:
        if self.job and self.job.poll() is None and self.job_ends_at <= time.monotonic():
            say(f"a job of the boot took longer than {JOB_SECONDS} s: killed")
            self.job.kill()
            self.job.wait()
        if self.job and self.job.poll() is not None:
            say(f"job ended ({self.job.returncode}): {self.job.args!r}")
            self.job = None
            if not self.jobs:
                say("boot finished")
        if self.job is None and self.jobs:
            command = self.jobs.popleft()
            self.job_ends_at = time.monotonic() + JOB_SECONDS
            try:
                self.job = start_process(command, environment(), "/")
            except UnitError as error:
                say(str(error))

    # --- systemctl ---

    def _serve(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError, ValueError):  # a caller that went away, or isn't systemctl
            connection.settimeout(2)
            arguments = json.loads(connection.makefile("rb").readline(65_536))
            code, output = self._command([str(argument) for argument in arguments])
            connection.sendall(json.dumps({"exit": code, "output": output}).encode())

    def _command(self, arguments: list[str]) -> tuple[int, str]:
        words = [word for word in arguments if not word.startswith("-")]
        verb, names = (words[0], words[1:]) if words else ("", [])
        if verb == "daemon-reload":
            return 0, ""  # units are read anew at every start
        actions = {
            "start": self._start_by_name,
            "stop": self._stop_by_name,
            "restart": self._restart,
            "enable": lambda name: self._enable(name, now="--now" in arguments),
            "disable": lambda name: self._disable(name, now="--now" in arguments),
            "status": self._status,
            "is-active": self._is_active,
            "is-enabled": self._is_enabled,
        }
        if verb not in actions or not names:
            return 1, f"the lab's systemctl knows daemon-reload, and with a unit: {', '.join(actions)}\n"
        results = [self._answer(actions[verb], name) for name in names]
        return max(code for code, _ in results), "".join(text for _, text in results)

    def _answer(self, action, name: str) -> tuple[int, str]:  # type: ignore[no-untyped-def]  # noqa: ANN001
        try:
            result: tuple[int, str] = action(name if name.endswith(".service") else f"{name}.service")
        except UnitError as error:
            return error.exit, f"{error}\n"
        return result

    def _start_by_name(self, name: str) -> tuple[int, str]:
        self._service(name).starts.clear()
        self._start(self._service(name))
        return 0, ""

    def _stop_by_name(self, name: str) -> tuple[int, str]:
        self._stop(self._service(name))
        return 0, ""

    def _restart(self, name: str) -> tuple[int, str]:
        self._stop(self._service(name))
        return self._start_by_name(name)

    def _enable(self, name: str, *, now: bool) -> tuple[int, str]:
        service = self._service(name)
        WANTS.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (WANTS / name).symlink_to(UNITS / name)
        if now and service.process is None:
            self._start_by_name(name)
        return 0, ""

    def _disable(self, name: str, *, now: bool) -> tuple[int, str]:
        (WANTS / name).unlink(missing_ok=True)
        return self._stop_by_name(name) if now else (0, "")

    def _status(self, name: str) -> tuple[int, str]:
        service = self._service(name)
        pid = f" (pid {service.process.pid})" if service.process else ""
        return (0 if service.state == "active" else NOT_RUNNING), f"{name}: {service.state}{pid}\n"

    def _is_active(self, name: str) -> tuple[int, str]:
        state = self.services[name].state if name in self.services else "inactive"
        return (0 if state == "active" else NOT_RUNNING), f"{state}\n"

    def _is_enabled(self, name: str) -> tuple[int, str]:
        enabled = (WANTS / name).is_symlink()
        return (0 if enabled else 1), ("enabled\n" if enabled else "disabled\n")

    def _service(self, name: str) -> Service:
        if not (UNITS / name).is_file():
            raise UnitError(f"Unit {name} could not be found.", NO_UNIT)
        return self.services.setdefault(name, Service(name))

    # --- services ---

    def _try_start(self, name: str) -> None:
        try:
            self._start(self._service(name))
        except UnitError as error:
            say(str(error))

    def _start(self, service: Service) -> None:
        service.restart_at = None
        if service.process:
            return
        now = time.monotonic()
        if len(service.starts) == START_LIMIT and now - service.starts[0] < START_INTERVAL_SECONDS:
            service.state = "failed"
            raise UnitError(f"{service.name}: started too often, now failed")
        service.starts.append(now)
        service.settings = read_unit(UNITS / service.name)
        folder, variables = service.one("WorkingDirectory", "/"), environment(*service.settings.get("Environment", []))
        service.state = "failed"
        for command in service.settings.get("ExecStartPre", []):
            run_before(service.name, command, variables, folder)
        service.process = start_process(split(service.one("ExecStart")), variables, folder)
        service.state = "active"

    def _stop(self, service: Service) -> None:
        service.restart_at = None
        service.state = "inactive"
        process, service.process = service.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            say(f"{service.name} didn't stop within {STOP_SECONDS} s: killed")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_before(name: str, command: str, variables: dict[str, str], folder: str) -> None:
    """Run one ExecStartPre to its end. Raises UnitError when it fails and doesn't begin with "-"."""
    process = start_process(split(command.removeprefix("-")), variables, folder)
    try:
        code = process.wait(PRE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if code and not command.startswith("-"):
        raise UnitError(f"{name}: ExecStartPre failed ({code}): {command}")


def start_process(command: list[str], variables: dict[str, str], folder: str) -> "subprocess.Popen[bytes]":
    """Start a process in its own session, its output on the console. Raises UnitError."""
    try:
        return subprocess.Popen(
            command, env=variables, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=True
        )
    except (OSError, IndexError) as error:
        raise UnitError(f"{' '.join(command) or 'an empty command'} can't be started: {error}") from None


def reap_orphans(own: "dict[int, subprocess.Popen[bytes]]") -> None:
    """Reap processes that were left to PID 1; its own children are `own`, whose exit codes subprocess collects."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        if ended.si_pid in own:
            own[ended.si_pid].poll()
        else:
            os.waitpid(ended.si_pid, 0)


def read_unit(path: Path) -> dict[str, list[str]]:
    """Return the [Service] settings of a unit file; an empty value clears a list, as in systemd. Raises UnitError."""
    settings: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text
        elif section == "[Service]" and "=" in text and not text.startswith(("#", ";")):
            key, value = (part.strip() for part in text.split("=", 1))
            settings[key] = [*settings.get(key, []), value] if value else []
    passed_over = sorted(settings.keys() - KNOWN)
    if passed_over:
        say(f"{path.name}: the lab passes over {', '.join(passed_over)}")
    if not settings.get("ExecStart"):
        raise UnitError(f"{path.name}: there is no ExecStart in its [Service]")
    return {key: values for key, values in settings.items() if values}


def environment(*assignments: str) -> dict[str, str]:
    """Return a service's environment: systemd's PATH and the unit's own assignments."""
    pairs = [pair for assignment in assignments for pair in split(assignment)]
    return {"PATH": PATH, "LANG": "C.UTF-8", **dict(pair.split("=", 1) for pair in pairs if "=" in pair)}


def split(text: str) -> list[str]:
    """Return the words of a setting. Raises UnitError for quotes that don't end."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UnitError(f"{text}: {error}") from None


def seconds(text: str) -> float:
    """Return a time span of a unit file, in seconds; only seconds and milliseconds are known."""
    number = text.removesuffix("ms").removesuffix("s")
    try:
        return float(number) / (1000 if text.endswith("ms") else 1)
    except ValueError:
        return 1.0


def say(text: str) -> None:
    """Write a line to the console."""
    print(text, file=sys.stdout, flush=True)  # noqa: T201 - stdout is the console


if __name__ == "__main__":
    Manager().run()
