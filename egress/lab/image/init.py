"""PID 1 of a lab Droplet, and its service manager: the small part of systemd that one service needs.

The lab's own, not systemd: it knows units of Type=simple and notify in /etc/systemd/system with the settings that
`units.KNOWN` lists, starts what is enabled at each boot, and then runs the boot's jobs (cloud-init's stages) one after
another. `systemctl` speaks to it over a unix socket: a JSON list of arguments in, {"exit": …, "output": …} out.
"""

import contextlib
import json
import selectors
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from .services import Service
from .units import NOTIFY_SOCKET, UNITS, UnitError, apply_sysctls, environment, reap_orphans, say, start_process

WANTS = UNITS / "multi-user.target.wants"
SOCKET = "/run/lab-init.sock"
JOBS = Path("/usr/local/lib/lab/jobs.json")
JOB_SECONDS = 300
NO_UNIT, NOT_RUNNING = 4, 3
_LONGEST_PAUSE_SECONDS = 60.0
Answer = tuple[int, str]


class Manager:
    """All services, the boot's jobs, and the loop that serves them."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.jobs: deque[list[str]] = deque(json.loads(JOBS.read_text()))
        self.job: subprocess.Popen[bytes] | None = None
        self.job_ends_at = 0.0
        self.leaving = False
        #: Callers of systemctl whose services are still starting.
        self.waiting: list[tuple[socket.socket, list[Service]]] = []

    def run(self) -> None:
        """Boot, serve until SIGTERM, stop everything."""
        with selectors.DefaultSelector() as selector:
            for endpoint, handle in self._open():
                selector.register(endpoint, selectors.EVENT_READ, handle)
            say("up")
            apply_sysctls()
            for link in sorted(WANTS.glob("*.service")):
                self._try_start(link.name)
            while not self.leaving:
                self._tend()
                for key, _ in selector.select(timeout=self._pause()):
                    key.data(key.fileobj)
            self._stop_all(selector)

    def _stop_all(self, selector: selectors.BaseSelector) -> None:
        """Stop the services, and go on answering them meanwhile: they may ask whether the machine goes down."""

        def stop() -> None:
            for service in self.services.values():
                service.stop()

        stopping = threading.Thread(target=stop)
        stopping.start()
        while stopping.is_alive():
            for key, _ in selector.select(timeout=0.1):
                key.data(key.fileobj)

    def _open(self) -> list[tuple[socket.socket, Callable[[socket.socket], None]]]:
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        # The loop owns both ends for as long as this process lives.
        self._woken = woken
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._leave)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(SOCKET)
        listening.listen(16)
        notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notices.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        notices.bind(NOTIFY_SOCKET)
        return [(wake, _drain), (listening, self._serve), (notices, self._notice)]

    def _leave(self, *_: object) -> None:
        self.leaving = True

    def _pause(self) -> float:
        times = [at for service in self.services.values() if (at := service.next_at()) is not None]
        if self.job:
            times.append(self.job_ends_at)
        now = time.monotonic()
        return min(max(min(times, default=now + _LONGEST_PAUSE_SECONDS) - now, 0.0), _LONGEST_PAUSE_SECONDS)

    def _tend(self) -> None:
        """Reap what ended, look after the services, go on with the boot's jobs, answer those who wait."""
        reap_orphans({p.pid: p for p in (self.job, *(s.process for s in self.services.values())) if p})
        for service in self.services.values():
            service.tend()
        self._next_job()
        for waiting in list(self.waiting):
            connection, services = waiting
            if not any(service.state == "activating" and service.process for service in services):
                self.waiting.remove(waiting)
                failed = [service.name for service in services if service.state != "active"]
                output = "".join(f"Job for {name} failed.\n" for name in failed)
                _reply(connection, (1 if failed else 0, output))

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
            self.job_ends_at = time.monotonic() + JOB_SECONDS
            try:
                self.job = start_process(self.jobs.popleft(), environment())
            except UnitError as error:
                say(str(error))

    def _try_start(self, name: str) -> None:
        try:
            self._service(name).start()
        except UnitError as error:
            say(str(error))

    def _notice(self, notices: socket.socket) -> None:
        message, ancillary, _, _ = notices.recvmsg(4096, socket.CMSG_SPACE(12))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                pid, _, _ = struct.unpack("3i", data[:12])
                for service in self.services.values():
                    if service.process and service.process.pid == pid:
                        service.notified(message.decode(errors="replace"))

    # --- systemctl ---

    def _serve(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.settimeout(2)
        try:
            arguments = [str(word) for word in json.loads(connection.makefile("rb").readline(65_536))]
        except (OSError, ValueError, TypeError):
            connection.close()  # a caller that went away, or isn't systemctl
            return
        verb, *names = [word for word in arguments if not word.startswith("-")] or [""]
        answer = self._command(verb, names, now="--now" in arguments)
        starting = [self.services[unit(name)] for name in names if unit(name) in self.services]
        starts = verb in {"start", "restart"} or (verb == "enable" and "--now" in arguments)
        if answer[0] == 0 and starts and "--no-block" not in arguments:
            self.waiting.append((connection, starting))
        else:
            _reply(connection, answer)

    def _command(self, verb: str, names: list[str], *, now: bool) -> Answer:
        if verb == "daemon-reload":
            return 0, ""  # units are read anew at every start
        if verb == "is-system-running":
            return (1, "stopping\n") if self.leaving else (0, "running\n")
        actions: dict[str, Callable[[str], Answer]] = {
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "enable": lambda name: self._enable(name, now=now),
            "disable": lambda name: self._disable(name, now=now),
            "mask": lambda name: self._mask(name, now=now),
            "status": self._status,
            "is-active": self._is_active,
            "is-enabled": self._is_enabled,
        }
        if verb not in actions or not names:
            alone = "daemon-reload, is-system-running"
            return 1, f"the lab's systemctl knows {alone}, and with a unit: {', '.join(actions)}\n"
        answers = [self._answer(actions[verb], unit(name)) for name in names]
        return max(code for code, _ in answers), "".join(text for _, text in answers)

    def _answer(self, action: Callable[[str], Answer], name: str) -> Answer:
        try:
            return action(name)
        except UnitError as error:
            return error.exit, f"{error}\n"

    def _start(self, name: str) -> Answer:
        self._service(name).starts.clear()
        self._service(name).start()
        return 0, ""

    def _stop(self, name: str) -> Answer:
        self._service(name).stop()
        return 0, ""

    def _restart(self, name: str) -> Answer:
        self._service(name).stop()
        return self._start(name)

    def _enable(self, name: str, *, now: bool) -> Answer:
        self._service(name)
        WANTS.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (WANTS / name).symlink_to(UNITS / name)
        return self._start(name) if now else (0, "")

    def _disable(self, name: str, *, now: bool) -> Answer:
        (WANTS / name).unlink(missing_ok=True)
        return self._stop(name) if now else (0, "")

    def _mask(self, name: str, *, now: bool) -> Answer:
        """As systemd does, also for a unit that isn't there."""
        if now and name in self.services:
            self.services[name].stop()
        UNITS.mkdir(parents=True, exist_ok=True)
        (UNITS / name).unlink(missing_ok=True)
        (UNITS / name).symlink_to("/dev/null")
        return 0, ""

    def _status(self, name: str) -> Answer:
        service = self._service(name)
        pid = f" (pid {service.process.pid})" if service.process else ""
        return (0 if service.state == "active" else NOT_RUNNING), f"{name}: {service.state}{pid}\n"

    def _is_active(self, name: str) -> Answer:
        state = self.services[name].state if name in self.services else "inactive"
        return (0 if state == "active" else NOT_RUNNING), f"{state}\n"

    def _is_enabled(self, name: str) -> Answer:
        enabled = (WANTS / name).is_symlink()
        return (0 if enabled else 1), ("enabled\n" if enabled else "disabled\n")

    def _service(self, name: str) -> Service:
        if not (UNITS / name).is_file():
            raise UnitError(f"Unit {name} could not be found.", NO_UNIT)
        return self.services.setdefault(name, Service(name))


def unit(name: str) -> str:
    """Return a unit's full name."""
    return name if name.endswith((".service", ".timer")) else f"{name}.service"


def _drain(wake: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        wake.recv(4096)


def _reply(connection: socket.socket, answer: Answer) -> None:
    with connection, contextlib.suppress(OSError):  # the caller may have gone
        connection.sendall(json.dumps({"exit": answer[0], "output": answer[1]}).encode())
