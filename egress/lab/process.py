"""Run other programs: bounded in time and output, and never left behind."""

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

CONSOLE_LINES, CONSOLE_COLUMNS = 1_000, 500
_STOP_ATTEMPTS = 20
#: As in deploy/sluicegate-node.service.
AGENTS_NICE = -10
#: The size of the one range in /proc/self/uid_map outside all user namespaces.
_ALL_USERS = "4294967295"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended; a negative `exit` is the signal that killed it."""

    exit: int
    stdout: bytes
    stderr: bytes


def favoured() -> list[str]:
    """Return what to put before a command that gets the processor before others, as both agents' units want it.

    Nothing in a user namespace, where nobody may have that.
    """
    outside = Path("/proc/self/uid_map").read_text().split()[-1] == _ALL_USERS
    return ["nice", "-n", str(AGENTS_NICE)] if outside else []


async def spawn(
    argv: Sequence[str], *, stdin: bool = False, env: Mapping[str, str] | None = None, merge: bool = False
) -> asyncio.subprocess.Process:
    """Start `argv` as leader of its own process group, its output on pipes (`merge`: stderr goes to stdout's)."""
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if merge else asyncio.subprocess.PIPE,
            env=env,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise LabError(f"{argv[0]} can't be started: {error}") from None


async def run(
    argv: Sequence[str], *, stdin: str = "", env: Mapping[str, str] | None = None, limit_seconds: float = 10
) -> Finished:
    """Run `argv` to its end. Raises LabError when it can't start or takes longer than `limit_seconds`."""
    process = await spawn(argv, stdin=True, env=env)
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(stdin.encode()), limit_seconds)
    except TimeoutError:
        raise LabError(f"{argv[0]} didn't end within {limit_seconds:g} s", code="timed_out") from None
    finally:
        await kill_group(process)
    return Finished(await process.wait(), stdout, stderr)


async def check(argv: Sequence[str], *, stdin: str = "", limit_seconds: float = 10) -> str:
    """Run `argv` and return its stdout. Raises LabError, with the program's own words, when it fails."""
    finished = await run(argv, stdin=stdin, limit_seconds=limit_seconds)
    if finished.exit:
        words = (finished.stderr or finished.stdout).decode(errors="replace").strip()[-1000:]
        raise LabError(f"{' '.join(argv[:6])} failed ({finished.exit}): {words}")
    return finished.stdout.decode()


async def kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill a program started by `spawn` with all of its process group; nothing happens when it has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def end_namespace(process: asyncio.subprocess.Process) -> None:
    """Kill the processes of a namespace whose maker (`unshare --fork`) is `process`; all are gone when this returns.

    Its first process is killed first: `unshare` then ends when the kernel has taken the namespace down.
    """
    for pid in first_processes(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 5)
    await kill_group(process)


def stop_namespace(init: int) -> None:
    """Stop (SIGSTOP) all processes of the namespace whose first is `init`, those that begin meanwhile included.

    Raises LabError when they multiply faster than they are stopped.
    """
    stopped = set[int]()
    for _ in range(_STOP_ATTEMPTS):
        running = processes_of(init) - stopped
        if not running:
            return
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= running
    raise LabError(f"the processes beside {init} couldn't be stopped: new ones kept coming")


def processes_of(init: int, words: str = "") -> set[int]:
    """Return the processes of the namespace whose first is `init`: all, or those with `words` in their command line."""
    home = Path(f"/proc/{init}/ns/pid").readlink()
    numbers = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()}
    return {pid for pid in numbers if _lives_in(home, pid) and (not words or words in _command_line(pid))}


def _lives_in(namespace: Path, pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/pid").readlink() == namespace
    except OSError:
        return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def first_processes(pid: int) -> list[int]:
    """Return the children of process `pid`: for `unshare --fork`, the first process of its namespace."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Console:
    """The last lines that a process wrote, and optionally a log file that they go to as well."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self.lines: deque[str] = deque(maxlen=CONSOLE_LINES)
        self._logger = logger

    async def follow(self, stream: asyncio.StreamReader) -> None:
        """Keep what comes from `stream` until it ends; a line longer than the stream's buffer is cut to pieces."""
        while True:
            try:
                line = await stream.readuntil()
            except asyncio.IncompleteReadError as error:
                line = error.partial
            except asyncio.LimitOverrunError as error:
                line = await stream.read(error.consumed)
            if not line:
                return
            text = line.decode(errors="replace").rstrip()[:CONSOLE_COLUMNS]
            self.lines.append(text)
            if self._logger:
                self._logger.info("%s", text)
