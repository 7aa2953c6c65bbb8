"""Measure how fast a route change reaches agents that hold their long polls: real HTTP, real web servers, PostgreSQL.

The load generator is this one process: every agent is a raw asyncio stream (`tests/wirelevel.py`) that notes the time
when its answer is there, before anything is made of it, and then polls again, which acknowledges. The clock starts
before the transaction that publishes the change. The generator's own use of a core is a figure, too: far from 1, it
isn't what is measured.
"""

import asyncio
import json
import os
import secrets
import socket
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from egress.wire.codec import encode
from egress.wire.messages import PREFIX, NodeSyncRequest
from portal.demo.parts import Part, Parts
from tests.bench.record import ROOT
from tests.engines.servers import postgresql_server, redis_server
from tests.wirelevel import Broken, Line

WEB_PROCESSES = 2
WARM_UP = 3
POLL_SECONDS = 30
LIMIT_SECONDS = 120
REST_SECONDS = 0.5
UVICORN = (sys.executable, "-m", "uvicorn", "portal.config.asgi:application", "--no-access-log", "--lifespan", "off",
           "--http", "portal.config.patience:PatientProtocol", "--timeout-graceful-shutdown", "1")  # fmt: skip
#: What must hold, by the figure's name: at most.
LIMITS = {"toggle to agents, p99, s": 1}


class Agents:
    """Nodes that poll; `arrived` has when each of them was told the revision that is awaited."""

    def __init__(self, where: tuple[str, int], tokens: list[str], epoch: str) -> None:
        self._where = where
        self._tokens = tokens
        self._epoch = epoch
        self._awaited = 0
        self.arrived: list[float] = []
        self._all = asyncio.Event()

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as group:
            for token in self._tokens:
                group.create_task(self._poll(token))

    def expect(self, revision: int) -> None:
        """Note who is told `revision` from now on."""
        self._awaited, self.arrived, self._all = revision, [], asyncio.Event()

    async def told(self) -> list[float]:
        """Wait until everybody was told; returns when."""
        async with asyncio.timeout(LIMIT_SECONDS):
            await self._all.wait()
        return self.arrived

    async def _poll(self, token: str) -> None:
        applied = 0
        with closing(Line(*self._where)) as line:
            while True:
                asked = NodeSyncRequest(epoch=self._epoch, applied_revision=applied, wait_seconds=POLL_SECONDS)
                try:
                    status, body = await line.request(
                        "POST", PREFIX + "nodes/sync", token, encode(asked), wait_seconds=POLL_SECONDS
                    )
                except Broken:
                    await asyncio.sleep(REST_SECONDS)
                    continue
                now = time.perf_counter()
                if status != 200:
                    raise RuntimeError(f"nodes/sync: {status} {body[:300]!r}")
                applied = json.loads(body)["revision"]
                if applied == self._awaited:
                    self.arrived.append(now)
                    if len(self.arrived) == len(self._tokens):
                        self._all.set()


def measure(*, agents: int, toggles: int) -> dict[str, Any]:
    """Set everything up, toggle, and return the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="sgt-bench-", ignore_cleanup_errors=True) as folder,
        postgresql_server() as database,
        redis_server() as redis,
        socket.create_server(("127.0.0.1", 0), backlog=agents) as listener,
    ):
        os.environ |= {
            "DATABASE_URL": "postgres:///postgres",
            "PGHOST": str(database),
            "PGUSER": "postgres",
            "CELERY_BROKER_URL": redis,
            "SECRET_KEY": secrets.token_hex(),
            "SLUICEGATE_STATE_DIR": folder,
            "LOG_LEVEL": "WARNING",
        }
        cluster_id, namespace, tokens, epoch = _prepare(agents)
        parts = Parts(Path(folder), directory=ROOT)
        try:
            fd = listener.fileno()
            names = [f"web-{number}" for number in range(WEB_PROCESSES)]
            for name in names:
                parts.start(name, Part(command=(*UVICORN, "--fd", str(fd)), fds=(fd,)), os.environ)
            webs = [parts.pid(name) for name in names]
            fleet = Agents(listener.getsockname(), tokens, epoch)
            return asyncio.run(_toggle_all(fleet, webs, cluster_id, namespace, toggles))
        finally:
            parts.stop_all(last=())


def _prepare(agents: int) -> tuple[int, str, list[str], str]:
    """Make the rows; returns the cluster, the app's namespace, the nodes' tokens, and the epoch."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.config.settings"
    import django  # once its settings are in the environment

    django.setup()
    from django.core.management import call_command

    from tests.factories import make_app, make_cluster, make_node

    call_command("migrate", verbosity=0)
    cluster = make_cluster(vpc="10.110.0.0/16")
    tokens = [
        f"node-token-{make_node(cluster, private_address=f'10.110.{1 + number // 250}.{1 + number % 250}').name}"
        for number in range(agents)
    ]
    app = make_app(cluster=cluster)
    return cluster.pk, app.namespace, tokens, str(cluster.epoch)


async def _toggle_all(fleet: Agents, webs: list[int], cluster_id: int, namespace: str, toggles: int) -> dict[str, Any]:
    spans: list[list[float]] = []
    polls = asyncio.create_task(fleet.run())
    begun, used, webs_used = time.perf_counter(), time.process_time(), cpu_seconds(webs)
    try:
        for number in range(WARM_UP + toggles):
            if number == WARM_UP:
                begun, used, webs_used = time.perf_counter(), time.process_time(), cpu_seconds(webs)
            fleet.expect(number + 1)
            at = time.perf_counter()
            await asyncio.to_thread(_publish, cluster_id, namespace)
            told = asyncio.create_task(fleet.told())
            # Whichever is first: an agent that fails ends the measurement.
            await asyncio.wait([told, polls], return_when=asyncio.FIRST_COMPLETED)
            if polls.done():
                await polls
            spans.append([arrival - at for arrival in await told])
            await asyncio.to_thread(_wait_until_acknowledged, cluster_id, number + 1)
    finally:
        webs_used = cpu_seconds(webs) - webs_used
        polls.cancel()
        await asyncio.wait([polls])
    every = sorted(span for toggle in spans[WARM_UP:] for span in toggle)
    return {
        "agents": len(spans[0]),
        "toggles": toggles,
        "web_processes": WEB_PROCESSES,
        "arrival_s": {
            "p50": round(statistics.median(every), 3),
            "p99": round(every[len(every) * 99 // 100], 3),
            "max": round(every[-1], 3),
        },
        # With what they need to look for changes twenty times a second, and for the polls' acknowledgements.
        "web_cpu_s_per_toggle": round(webs_used / toggles, 3),
        "generator_share_of_a_core": round((time.process_time() - used) / (time.perf_counter() - begun), 3),
    }


def cpu_seconds(processes: list[int]) -> float:
    """Return how long these have kept a core busy."""
    ticks = 0
    for process in processes:
        # After the name, which may have any characters in it, begins the third field; proc_pid_stat(5) counts them.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[14 - 3]) + int(fields[15 - 3])
    return ticks / os.sysconf("SC_CLK_TCK")


def _publish(cluster_id: int, namespace: str) -> None:
    from django.db import connection

    from egress.control import distribution

    try:
        distribution.publish(cluster_id, namespace, None)
    finally:
        connection.close()


def _wait_until_acknowledged(cluster_id: int, revision: int) -> None:
    """Wait until every node's next poll has come: it waits again, then."""
    from django.db import connection

    from egress.control.models import Node

    try:
        ends_at = time.monotonic() + LIMIT_SECONDS
        while Node.objects.filter(cluster_id=cluster_id).exclude(applied_revision=revision).exists():
            if time.monotonic() > ends_at:
                raise RuntimeError(f"not every node acknowledged revision {revision} in {LIMIT_SECONDS} s")
            time.sleep(0.05)
    finally:
        connection.close()
    time.sleep(REST_SECONDS)


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Set the figures that have a limit beside it."""
    value, name = figures["arrival_s"]["p99"], "toggle to agents, p99, s"
    return {name: {"value": value, "limit": LIMITS[name], "kept": value <= LIMITS[name]}}
