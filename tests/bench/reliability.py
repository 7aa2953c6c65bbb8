"""Measure how little of a gateway's end, of maintenance and of load the apps notice. The faults and their judge are
those of `./dev chaos`.
"""

import dataclasses
import re
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime
from os import cpu_count
from pathlib import Path
from typing import Any

from tests.bench import keepalived
from tests.bench.measures import summary
from tests.bench.record import verdict
from tests.chaos.faults import KINDS, Kind
from tests.chaos.load import Load
from tests.chaos.suite import ENABLED, Suite
from tests.e2e.system import NODE_NAMES, SHARED, System, wait_for

#: With gaps that are compared to keepalived's, by the names that `./dev chaos` has.
DEATHS = ("power off", "hang", "cut cable")
LINK_LOST = ("public link down", "internet lost on one")
BEYOND = "nothing beyond the next hop"
#: Connections live through them.
HARMLESS = ("one-second blip", "all processes stopped", "responder stopped")
#: So long a dead gateway stays dead: connections are reset within 3 s.
STANDS_SECONDS = 4.0
FEWER = 4
ROLL_SECONDS = 1_800
#: Lasting connections end in less, and so before any deadline.
LIFE_SECONDS = 3
BUSY_LOOPS_PER_CORE = 4
#: Sends small datagrams as fast as it can: to a port that nobody answers on.
FLOOD = """
import socket, sys, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((sys.argv[1], 9))
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    for _ in range(100):
        try:
            udp.send(b"x")
        except OSError:
            pass
"""
_PIVOTED = re.compile(r"gateway \S+ (gets no new connections|is dead)")
_DEAD = re.compile(r"^(\S+ \S+),(\d{3}) .*gateway \S+ is dead")
Say = Callable[[str], None]


def measure(*, rounds: int, pairs: int, calm_seconds: float, seed: int, say: Say) -> dict[str, Any]:
    """Take all figures. Fewer than one round, pair or second leave theirs out."""
    figures: dict[str, Any] = {}
    if rounds:
        figures["keepalived"] = _keepalived(rounds)
    if rounds or calm_seconds:
        with _system() as system:
            suite = Suite(system, seed, say)
            if rounds:
                figures["faults"] = _faults(suite, rounds, say)
            if calm_seconds:
                figures["calm"] = _calm(suite, calm_seconds)
    if pairs:
        with _system() as system:
            figures["roll"] = _roll(system, pairs, say)
    return figures


@contextmanager
def _system() -> Iterator[System]:
    with tempfile.TemporaryDirectory(prefix="sgt-bench-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder))
        try:
            yield system
        finally:
            system.stack.stop()


def _keepalived(rounds: int) -> dict[str, Any]:
    if reason := keepalived.missing():
        return {"missing": reason}
    gaps = keepalived.measure(rounds)
    return {"advert_s": keepalived.ADVERT_SECONDS, "gap_s": {kind: summary(every) for kind, every in gaps.items()}}


def _faults(suite: Suite, rounds: int, say: Say) -> dict[str, Any]:
    """Strike with each kind so many times, with those that aren't compared less often."""
    found = {}
    for kind in KINDS:
        if kind.name in (*DEATHS, *LINK_LOST, BEYOND, *HARMLESS):
            times = rounds if kind.name in DEATHS else max(1, rounds // FEWER)
            stands = min(kind.seconds, STANDS_SECONDS) if kind.name != BEYOND else kind.seconds
            found[kind.name] = _fault(suite, dataclasses.replace(kind, seconds=stands), times)
            say(f"{kind.name}: {found[kind.name]}")
    return found


def _fault(suite: Suite, kind: Kind, times: int) -> dict[str, Any]:
    outcomes = [suite.strike(kind) for _ in range(times)]
    gaps = [outcome.gap_seconds for outcome in outcomes if outcome.gap_seconds is not None]
    resets = [outcome.reset_seconds for outcome in outcomes if outcome.reset_seconds is not None]
    after_dead = [late for outcome in outcomes for late in _after_dead(suite.system, outcome.began_at, outcome.ended)]
    return {
        "times": times,
        "gap_s": summary(gaps) if gaps else None,
        "no_way": times - len(gaps),
        "resets": sum(outcome.resets for outcome in outcomes),
        "reset_s": summary(resets) if resets else None,
        "reset_after_dead_s": summary(after_dead) if after_dead else None,
        "udp_silence_s": summary([outcome.udp_silence_seconds for outcome in outcomes]),
        "leaks": sum(outcome.leaks for outcome in outcomes),
        "hung": sum("left hanging" in what for outcome in outcomes for what in outcome.wrong),
    }


def _after_dead(system: System, began_at: float, ended: Mapping[str, float]) -> list[float]:
    """Return how long after its node called the gateway dead each lasting connection was reset."""
    found = []
    for where, after in ended.items():
        node = where.split(",")[0].split(" on ")[1]
        dead = [at for at in _deaths(system, node) if at >= began_at]
        if dead:
            found.append(max(0.0, began_at + after - dead[0]))
    return found


def _deaths(system: System, node: str) -> list[float]:
    """Return when a node's agent found a gateway dead, in seconds of the epoch."""
    lines = system.lab.agent_log(node).read_text().splitlines()
    matches = filter(None, map(_DEAD.match, lines))
    return [datetime.fromisoformat(f"{match[1]}.{match[2]}").astimezone().timestamp() for match in matches]


def _calm(suite: Suite, seconds: float) -> dict[str, Any]:
    """Keep all cores and all gateways busy, with nothing wrong; count what was taken for a fault."""
    system = suite.system
    suite.load.wait_steady()
    began = suite.load.renew()
    before = _pivots(system)
    processes = BUSY_LOOPS_PER_CORE * (cpu_count() or 1)
    with _busy(processes), ThreadPoolExecutor(len(suite.load.measured)) as pool:
        every = suite.load.of(frozenset(ENABLED))
        list(pool.map(lambda one: _flood(system, one.name, suite.load.destinations[one.app], seconds), every))
    signs = [sign for one in every for sign in one.read().since(began).signs]
    return {
        "seconds": seconds,
        "busy_loops": processes,
        "false_pivots": _pivots(system) - before,
        "resets": sum(sign.what == "e" for sign in signs),
    }


def _flood(system: System, name: str, address: str, seconds: float) -> None:
    argv = ["python3", "-I", "-c", FLOOD, address, str(seconds)]
    done = system.lab.exec(name, argv, timeout_seconds=seconds + 120)
    if done.code:
        raise RuntimeError(f"the flood from {name} failed: {done.stderr[-500:]}")


def _pivots(system: System) -> int:
    """Return how often a node gave a gateway up so far."""
    return sum(len(_PIVOTED.findall(system.lab.agent_log(node).read_text())) for node in NODE_NAMES)


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    command = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"]
    loops = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait(30)


def _roll(system: System, pairs: int, say: Say) -> dict[str, Any]:
    """Reboot all gateways of so many pairs under load, by one rollout; count what failed and what was cut."""
    apps = _more_apps(system, pairs)
    with ThreadPoolExecutor(pairs) as pool:
        addresses = dict(zip(apps, pool.map(system.enable, apps), strict=True))
    more = ["--timeout", "5", "--lasting", "active", "idle", "--life", str(LIFE_SECONDS)]
    load = Load(system, dict.fromkeys(apps, 0.05), NODE_NAMES[:1], more=more)
    mark, began = system.lab.mark(), time.monotonic()
    (cluster,) = _column(system, "SELECT name FROM control_cluster")
    say(system.stack.manage("rollout", "start", str(cluster), "--kind", "reboot", "--batch", str(pairs)).strip())
    done = ("done", "stopped", "aborted")

    def over() -> str | None:
        (status,) = _column(system, "SELECT status FROM control_rollout ORDER BY id DESC LIMIT 1")
        return str(status) if status in done else None

    status = wait_for("the rollout is over", over, ROLL_SECONDS)
    took = time.monotonic() - began
    load.wait_steady()
    records = [one.read().since(began) for one in load.measured]
    attempts = [attempt for record in records for attempt in record.attempts]
    owner = {destination: app for app, destination in load.destinations.items()}
    leaks = [
        flow
        for flow in system.lab.observed(mark).flows
        if flow.destination in owner and flow.source in SHARED | _others(addresses, owner[flow.destination])
    ]
    return {
        "pairs": pairs,
        "status": status,
        "seconds": round(took, 1),
        "requests": len(attempts),
        "failed_requests": sum(not attempt.address for attempt in attempts),
        "slowest_request_s": round(max(attempt.seconds for attempt in attempts), 3),
        "connections": sum(sign.what == "o" for record in records for sign in record.signs),
        "cut_connections": sum(sign.what == "e" for record in records for sign in record.signs),
        "leaks": sum(flow.packets for flow in leaks),
    }


def _others(addresses: Mapping[str, set[str]], app: str) -> set[str]:
    return set().union(*(pair for other, pair in addresses.items() if other != app))


def _more_apps(system: System, count: int) -> list[str]:
    """Make so many apps beside the seed's; returns their names, which are their namespaces, too."""
    names = [f"bench-{number}" for number in range(1, count + 1)]
    script = f"""
from egress.control.models import App
first = App.objects.order_by("pk").first()
for name in {names!r}:
    app = App.objects.create(team=first.team, cluster=first.cluster, name=name, namespace=name)
    print(name, app.pk)
"""
    made = system.stack.manage("shell", "--no-imports", "-c", script)
    system.seed["apps"] |= dict(line.split() for line in made.splitlines())
    return names


def _column(system: System, query: str) -> Sequence[Any]:
    with closing(sqlite3.connect(system.stack.state / "sluicegate.sqlite3", timeout=20)) as database:
        return [row[0] for row in database.execute(query)]


def verdicts(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Set the figures that have a limit beside it, those that were taken."""
    return {
        **_of_faults(figures.get("faults", {}), figures.get("keepalived", {})),
        **_of_calm(figures.get("calm")),
        **_of_roll(figures.get("roll")),
    }


def _of_faults(faults: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if not faults:
        return {}
    found = {}
    for kind in DEATHS:
        found[f"{kind}: gap, median, s"] = verdict(_gap(faults, kind, "median"), 0.4)
        found[f"{kind}: gap, worst, s"] = verdict(_gap(faults, kind, "max"), 0.7)
    if "gap_s" in other:
        ours, theirs = faults[DEATHS[0]]["gap_s"]["median"], other["gap_s"][DEATHS[0]]["median"]
        # Nothing was promised: it says what the machine did to both.
        found["power off: gap / keepalived's at 0.1 s"] = verdict(round(ours / theirs, 2), None)
    for kind in LINK_LOST:
        found[f"{kind}: gap, worst, s"] = verdict(_gap(faults, kind, "max"), 1)
    found[f"{BEYOND}: gap, worst, s"] = verdict(_gap(faults, BEYOND, "max"), 5)
    dead = [faults[kind] for kind in DEATHS]
    found["connections of a dead gateway: reset after the fault, worst, s"] = _worst(dead, "reset_s", 3)
    found["connections of a dead gateway: reset after it is dead, worst, s"] = _worst(dead, "reset_after_dead_s", 0.2)
    found["connections of a dead gateway: left hanging"] = verdict(sum(each["hung"] for each in dead), 0)
    found["connected UDP over a dead gateway: silence, worst, s"] = _worst(dead, "udp_silence_s", 3)
    harmless = sum(faults[kind]["resets"] for kind in HARMLESS)
    found["blip, processes or responder stopped: resets"] = verdict(harmless, 0)
    found["packets from a foreign address"] = verdict(sum(each["leaks"] for each in faults.values()), 0)
    return found


def _gap(faults: Mapping[str, Any], kind: str, which: str) -> float | None:
    """Return a figure of gaps; None, which keeps no limit, where new connections found no way even once."""
    return None if faults[kind]["no_way"] else float(faults[kind]["gap_s"][which])


def _worst(faults: Sequence[Mapping[str, Any]], name: str, limit: float) -> dict[str, Any]:
    values = [each[name]["max"] for each in faults if each[name]]
    return verdict(max(values, default=None), limit)


def _of_calm(calm: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    if calm is None:
        return {}
    return {"all cores and gateways busy: false pivots": verdict(calm["false_pivots"], 0),
            "all cores and gateways busy: resets": verdict(calm["resets"], 0)}  # fmt: skip


def _of_roll(roll: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    if roll is None:
        return {}
    return {
        "reboot of all gateways under load: failed requests": verdict(roll["failed_requests"], 0),
        "reboot of all gateways under load: cut connections": verdict(roll["cut_connections"], 0),
        "reboot of all gateways under load: packets from a foreign address": verdict(roll["leaks"], 0),
        "reboot of all gateways under load: not done": verdict(int(roll["status"] != "done"), 0),
    }
