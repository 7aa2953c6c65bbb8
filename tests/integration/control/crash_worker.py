"""A worker process that can be killed: forks a process of its own for every errand, which costs milliseconds.

Reads errands from standard input and answers on standard output, each a line of JSON.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[3]
#: An errand takes a few hundredths of a second.
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Done:
    """How an errand ended."""

    killed: bool
    error: str
    #: Names of the points that it passed, and the lines of the control plane on its stack there: each once.
    points: list[str]
    sites: list[tuple[str, str, int]]


class Worker:
    """The worker, seen from the test."""

    def __init__(self, database_url: str) -> None:
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "EGRESS_PROVIDER": "tests.integration.control.crash.WatchedCloud",
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.control.crash_worker"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def do(self, what: str, **errand: Any) -> Done:
        """Let a new process do it; returns once that has ended."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"what": what, **errand}).encode() + b"\n")
        self._process.stdin.flush()
        return Done(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it: it ends with its input."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(LIMIT_SECONDS)
        if self._process.stdout:
            self._process.stdout.close()


def main() -> None:
    import django
    from django.db import connections

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")
    django.setup()
    from egress.control import tasks
    from egress.control.agents import node_polls  # noqa: F401 - loaded before the fork
    from egress.control.inventory import adoption  # noqa: F401 - loaded before the fork

    from . import crash, crash_sites  # noqa: F401

    # What takes long for the first time is done before the fork; no connection may cross it.
    crash_sites.all_places()
    tasks.sweep()
    tasks.reconcile_assignment(str(uuid4()))
    connections.close_all()
    # What there is now is never collected, so that its pages stay shared.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_fork(json.loads(line))) + "\n")
        sys.stdout.flush()


def _fork(errand: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        gc.disable()
        signal.alarm(LIMIT_SECONDS)
        _run(errand, writing)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    said = json.loads(told) if told else {"error": "" if killed else f"ended with {status}"}
    return {"killed": killed, "points": [], "sites": [], **said}


def _run(errand: dict[str, Any], writing: int) -> None:
    from django.conf import settings
    from django.db import connections

    from . import crash

    os.environ["SGT_CLOUD"] = errand["cloud"]
    for name, value in errand["settings"].items():
        setattr(settings, name, value)
    watch = crash.Watch(**errand["kill"])
    connections["default"].ensure_connection()
    take = crash.install(watch)
    error = ""
    try:
        _ERRANDS[errand["what"]](errand, take)
    except Exception as raised:  # noqa: BLE001 - the test judges it
        error = repr(raised)
    connections.close_all()
    points = {each.name for each in watch.passed}
    sites = {site for each in watch.passed for site in each.sites}
    with os.fdopen(writing, "w") as pipe:
        json.dump({"error": error, "points": sorted(points), "sites": sorted(sites)}, pipe)


_Take = Callable[[], list[tuple[str, list[str]]]]


def _work(errand: dict[str, Any], take: _Take) -> None:
    """Do what a worker does in a second: the sweep, and what it finds due."""
    from egress.control import tasks
    from egress.control.reconcile import loop as reconcile

    reconcile.MAX_STEPS = errand["max_steps"]
    tasks.sweep()
    tasks.roll()
    for _, arguments in take():
        tasks.reconcile_assignment(*arguments)


def _tidy(errand: dict[str, Any], take: _Take) -> None:
    from egress.control import tasks

    tasks.tidy()


def _watch(errand: dict[str, Any], take: _Take) -> None:
    from egress.control import tasks

    tasks.watch()


def _tell(errand: dict[str, Any], take: _Take) -> None:
    from egress.control import tasks

    tasks.tell()
    tasks.mail()


def _ask(errand: dict[str, Any], take: _Take) -> None:
    """Call a service, as a person's request does."""
    from egress.control.models import App, Cluster, Gateway
    from egress.control.models_installation import StrayServer
    from egress.control.models_repair import ClusterRepair
    from egress.control.models_rollouts import Maintenance, Rollout
    from portal.accounts.models import User

    kinds: dict[str, Callable[[str], object]] = {
        "app": lambda key: App.objects.get(pk=key),
        "gateway": lambda key: Gateway.objects.get(pk=key),
        "stray": lambda key: StrayServer.objects.get(pk=key),
        "kind": Maintenance,
        "row": lambda key: ClusterRepair.objects.get(pk=key),
        "cluster": lambda key: Cluster.objects.get(pk=key),
        "rollout": lambda key: Rollout.objects.get(pk=key),
    }
    given = {name: kinds.get(name, str)(value) for name, value in errand["given"].items()}
    module, _, service = errand["service"].rpartition(".")
    function = getattr(import_module(f"egress.control.{module}"), service)
    function(**given, actor=User.objects.get(pk=errand["actor"]))


def _acknowledge(errand: dict[str, Any], take: _Take) -> None:
    """Do what the web does when a node says what it applied."""
    from egress.control.agents import node_polls
    from egress.wire.messages import NodeSyncRequest

    message = NodeSyncRequest(epoch=errand["epoch"], applied_revision=errand["revision"], wait_seconds=0)
    node_polls.acknowledge([node_polls.Poll(errand["token"], message)])


_ERRANDS = {
    "work": _work,
    "tidy": _tidy,
    "watch": _watch,
    "tell": _tell,
    "ask": _ask,
    "acknowledge": _acknowledge,
}

if __name__ == "__main__":
    main()
