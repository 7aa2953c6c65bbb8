"""What is measured, on a running system. Each function returns plain figures, with their units in the names."""

import json
import os
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from egress.lab.agents import AgentPaths
from portal.demo.stack import NODES
from tests.bench.record import ROOT
from tests.e2e.system import System

GREETING_TIMEOUT_SECONDS = 120
BRIDGE_NODE = next(node for node in NODES if node.network == "bridge")
#: Read inside the lab, whose process ids are its own: resident KiB, and clock ticks used so far with all children's.
_READ_PROCESS = """
import json, os, re, sys
status = open(f"/proc/{sys.argv[1]}/status").read()
fields = open(f"/proc/{sys.argv[1]}/stat").read().rpartition(")")[2].split()
resident = int(re.search(r"VmRSS:\\s+(\\d+)", status)[1])
print(json.dumps([resident, sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")]))
"""


def plugin_add(system: System, namespace: str, *, rounds: int, addresses: int, warm_up: int = 5) -> dict[str, Any]:
    """Time ADD, exec included, of our plugin with the node's running agent, and of Debian's Go bridge plugin.

    Containers take turns with so many `addresses`: with fewer than rounds, most are used again within the second.
    """
    plugin = AgentPaths(BRIDGE_NODE, system.stack.state).bin_dir / "sluicegate"
    script = Path(__file__).with_name("plugin_timing.py").read_text()
    argv = ["python3", "-I", "-c", script, str(plugin), namespace, str(rounds), str(warm_up), str(addresses)]
    done = system.lab.exec(BRIDGE_NODE.name, argv, timeout_seconds=600)
    if done.code:
        raise RuntimeError(f"timing the plugins failed: {done.stderr[-1000:]}")
    times = json.loads(done.stdout)
    bridge, ours = (statistics.median(times[name]) for name in ("bridge", "ours"))
    return {
        "rounds": rounds,
        "addresses": addresses,
        "ours_ms": summary(times["ours"]),
        "bridge_ms": summary(times["bridge"]),
        "ratio_of_medians": round(ours / bridge, 3),
    }


def frozen_agent(system: System, namespace: str, *, rounds: int) -> dict[str, Any]:
    """Time ADD of an app without dedicated egress with the node's agent frozen, and with it alive."""
    alive = plugin_add(system, namespace, rounds=rounds, addresses=250)["ours_ms"]
    system.lab.agent(BRIDGE_NODE.name, "freeze")
    try:
        frozen = plugin_add(system, namespace, rounds=rounds, addresses=250)["ours_ms"]
    finally:
        system.lab.agent(BRIDGE_NODE.name, "continue")
    return {
        "alive_ms": alive,
        "frozen_ms": frozen,
        "extra_s": {name: round((frozen[name] - alive["median"]) / 1000, 3) for name in ("median", "max")},
    }


def agents_at_rest(system: System, *, seconds: float) -> dict[str, Any]:
    """Watch both node agents while nothing happens: their memory, and their share of a core."""
    nodes = {node["name"]: str(node["agent_pid"]) for node in system.lab.status()["nodes"]}
    before = {name: _process(system, name, pid) for name, pid in nodes.items()}
    time.sleep(seconds)
    after = {name: _process(system, name, pid) for name, pid in nodes.items()}
    return {
        name: {
            "rss_mib": round(after[name][0] / 1024, 1),
            "cpu_percent": round((after[name][1] - before[name][1]) / seconds * 100, 2),
        }
        for name in nodes
    }


def _process(system: System, node: str, pid: str) -> tuple[int, float]:
    done = system.lab.exec(node, ["python3", "-I", "-c", _READ_PROCESS, pid])
    if done.code:
        raise RuntimeError(f"the agent of {node} can't be looked at: {done.stderr[-500:]}")
    resident, used = json.loads(done.stdout)
    return resident, used


def enables(system: System, apps: Sequence[str], *, rounds: int) -> dict[str, Any]:
    """Enable each app in each round, from the events' own times; the apps are disabled in between.

    `control_plane`: all but the time from the last creation that the provider accepted to the last gateway's first
    report of health, which is the VM's boot. `distribution`: from the commit of the route to all nodes' acknowledgement
    seen and committed.
    """
    spans = []
    for number in range(rounds):
        for app in apps:
            if number:
                system.disable(app)
            spans.append(enable_once(system, app))
    return {
        "enables": len(spans),
        **{name: summary([span[name] for span in spans]) for name in ("total_s", "control_plane_s", "distribution_s")},
    }


def enable_once(system: System, app: str) -> dict[str, float]:
    """Enable an app and return the seconds that it took, in all and by part."""
    system.enable(app)
    return _spans(_events(system.stack.state, system.seed["apps"][app]))


def _spans(events: list[tuple[datetime, str, str]]) -> dict[str, float]:
    def last(subject: str, new: str) -> datetime:
        return max(at for at, name, value in events if (name, value) == (subject, new))

    begun, active = last("assignment.status", "provisioning"), last("assignment.status", "active")
    boot = last("gateway.health", "healthy") - last("gateway.status", "booting")
    return {
        "total_s": round((active - begun).total_seconds(), 3),
        "control_plane_s": round((active - begun - boot).total_seconds(), 3),
        "distribution_s": round((active - last("assignment.status", "distributing")).total_seconds(), 3),
    }


def _events(state: Path, app_id: str) -> list[tuple[datetime, str, str]]:
    """Return when what became what, in the app's latest assignment."""
    database = sqlite3.connect(f"file:{state / 'sluicegate.sqlite3'}?mode=ro", uri=True, timeout=20)
    try:
        rows = database.execute(
            "SELECT at, subject, new, assignment_id FROM control_event"
            " WHERE app_id = ? AND assignment_id IS NOT NULL ORDER BY id",
            (app_id.replace("-", ""),),
        ).fetchall()
    finally:
        database.close()
    return [(datetime.fromisoformat(at), subject, new) for at, subject, new, which in rows if which == rows[-1][3]]


def greeting(*, rounds: int) -> dict[str, float]:
    """Time `./dev demo` from the call to its greeting, everything being installed, in a new state folder each time."""
    return summary([_greeted() for _ in range(rounds)])


def _greeted() -> float:
    with tempfile.TemporaryDirectory(prefix="sgt-bench-", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "PORT": "0", "SLUICEGATE_STATE_DIR": str(Path(folder) / "state")}
        begun = time.perf_counter()
        demo = subprocess.Popen(
            ["./dev", "demo"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        watchdog = threading.Timer(GREETING_TIMEOUT_SECONDS, demo.kill)
        watchdog.start()
        try:
            assert demo.stdout is not None
            greeted = any("Ctrl-C ends it" in line for line in demo.stdout)
            elapsed = time.perf_counter() - begun
        finally:
            watchdog.cancel()
            demo.terminate()
            _, said = demo.communicate(timeout=GREETING_TIMEOUT_SECONDS)
        if not greeted:
            raise RuntimeError(f"the demo didn't greet: {said[-1000:]}")
        return elapsed


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and most, to three digits."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }
