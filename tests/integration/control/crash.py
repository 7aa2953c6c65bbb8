"""Crash points: every commit, provider call and message of the control plane, as seen from below.

Nothing in the product knows of them. Commits are seen at the database connection, provider calls at the provider,
messages at Celery's door, so that one which is added later is a point from then on. A point's name is
PLACE:WHAT, where PLACE is the plan's act or the function that was called, and WHAT is the provider's method,
"send", or "commit-FUNCTION" with the function that opened the transaction; the second of its kind in a function ends
in "#2".
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from django.db import connection, connections

from egress import control
from egress.control.reconcile import loop as reconcile
from egress.control.reconcile.plan import Step
from portal.config import celery_app

from .cloud import from_environment
from .crash_sites import Site, number_of

ROOM = f"{Path(control.__file__).parent}{os.sep}"
WRITES = ("INSERT", "UPDATE", "DELETE")
#: What writes in the name of its caller.
FOR_OTHERS = frozenset({"Lease.fenced", "record"})


@dataclass(frozen=True)
class Passed:
    """One passage of a point."""

    name: str
    sites: tuple[Site, ...]


@dataclass
class Watch:
    """What this process passes; it dies by SIGKILL at the passage number `countdown` of `point` ("*": of any)."""

    point: str = ""
    when: str = "before"
    countdown: int = 1
    passed: list[Passed] = field(default_factory=list)

    @contextmanager
    def at(self, what: str) -> Iterator[None]:
        here = _here(what)
        self.passed.append(here)
        dies = False
        if self.point in {here.name, "*"}:
            self.countdown -= 1
            dies = self.countdown == 0
        if dies and self.when == "before":
            _die()
        try:
            yield
        finally:
            if dies:
                _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def install(watch: Watch) -> Callable[[], list[tuple[str, list[str]]]]:
    """Let `watch` see all points of this process. Returns what takes the messages that were sent since."""
    _watch_commits(watch)
    sent: list[tuple[str, list[str]]] = []

    def send_task(name: str, arguments: list[str], **_: Any) -> None:
        with watch.at("send"):
            sent.append((name, arguments))

    def take() -> list[tuple[str, list[str]]]:
        taken, sent[:] = list(sent), []
        return taken

    celery_app.send_task = send_task
    WatchedCloud.watch = watch
    return take


def _watch_commits(watch: Watch) -> None:
    database = connections["default"]
    commit = database._commit

    def watched_commit() -> None:
        with watch.at("commit"):
            commit()

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's signature
        if connection.in_atomic_block or not sql.startswith(WRITES):
            return run(sql, params, many, context)
        with watch.at("commit"):
            return run(sql, params, many, context)

    database._commit = watched_commit
    database.execute_wrappers.append(execute)


class WatchedCloud:
    """The tests' cloud, whose calls are points."""

    watch: Watch

    def __init__(self) -> None:
        self._cloud = from_environment()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cloud, name)

        def call(*args: Any, **named: Any) -> Any:
            with self.watch.at(name):
                return method(*args, **named)

        return call


def _here(what: str) -> Passed:
    frames = list(_frames())
    sites = tuple((Path(frame.f_code.co_filename).stem, _name(frame), frame.f_lineno) for frame in frames)
    opener = next(site for site in sites if site[1] not in FOR_OTHERS)
    number = number_of(opener, what)
    if what == "commit":
        what = f"commit-{opener[1].rpartition('.')[2]}"
    # `_run` also has a step, which isn't being taken when it gives the lease back.
    steps = (frame.f_locals.get("step") for frame in frames if frame.f_code is not reconcile._run.__code__)
    act = next((step.act.name.lower() for step in steps if isinstance(step, Step)), "")
    entry = next(function for module, function, _ in reversed(sites) if module != "tasks")
    return Passed(f"{act or entry}:{what}{f'#{number}' if number > 1 else ''}", sites)


def _frames() -> Iterator[FrameType]:
    """Yield the control plane's own frames, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(ROOM):
            yield frame
        frame = frame.f_back


def _name(frame: FrameType) -> str:
    return frame.f_code.co_qualname
