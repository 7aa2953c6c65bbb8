"""The folder in which a stack keeps all that it has, and what a killed stack left running there."""

import contextlib
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import StackError

#: In the environment of every process of a stack, with its folder as the value.
MARK = "SLUICEGATE_STACK"
#: Held while a stack runs; and a folder that has it is a stack's, so it may be emptied.
LOCK = "demo.lock"
#: The settings of the stack that runs, for other shells (manage.py lab …): portal.config.settings reads it.
ENVIRONMENT = "env"


class StateFolder:
    """A folder for one stack at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Make the folder this stack's alone, end what a killed one left running, and empty it.

        Raises StackError when another stack has it, or when it holds files that no stack made.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = {entry.name for entry in self.path.iterdir()}
        if names and LOCK not in names:
            raise StackError(
                f"{self.path} holds files that no demo made, such as {min(names)}: "
                "move them away, or name another folder in SLUICEGATE_STATE_DIR."
            )
        lock = (self.path / LOCK).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StackError(f"Another demo is running in {self.path}: stop it first.") from None
        self._lock = lock
        # The database in it has password hashes and keys.
        self.path.chmod(0o700)
        end_remains(self.path)
        for entry in self.path.iterdir():
            if entry.name != LOCK:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def release(self) -> None:
        """Leave the folder, with its logs, to the next one."""
        if self._lock:
            (self.path / ENVIRONMENT).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def make(self, name: str) -> Path:
        """Make a folder in it for its owner only."""
        made = self.path / name
        made.mkdir(mode=0o700)
        return made

    def write_private(self, name: str, text: str) -> None:
        """Write a file that only its owner can read."""
        with os.fdopen(os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)


def end_remains(folder: Path, seconds: float = 10) -> None:
    """Kill what a killed stack in `folder` left running, and wait until it is gone."""
    end = time.monotonic() + seconds
    while remains := list(marked(folder)):
        if time.monotonic() > end:
            raise StackError(f"Processes of an earlier demo don't end: {', '.join(map(str, remains))}")
        for pid in remains:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def marked(folder: Path) -> Iterator[int]:
    """Yield the ids of processes that bear the mark of a stack in `folder`, but not this one's."""
    mark = f"{MARK}={folder}".encode()
    # Where there is no /proc, as on a Mac, none is found.
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark in environment.split(b"\0"):
                yield int(entry.name)
