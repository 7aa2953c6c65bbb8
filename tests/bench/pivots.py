"""What pivots cost a node: one by the number of apps, and the probes of many gateways.

Each is measured in a process of its own, in a network namespace of its own: `python -m tests.bench.pivots apps|probes`.
"""

import asyncio
import json
import os
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from egress.netkit.desired import Pod, Wish
from egress.node.config import Config
from egress.node.dataplane import Dataplane
from egress.node.judge import Judgement, Target
from egress.node.pivots import PivotLog, choices
from egress.node.prober import Prober
from egress.node.state import State
from egress.node.steward import Steward
from egress.wire import probe
from egress.wire.messages import ClusterSettings, NodeSync, Probing, Route, RouteGateway
from tests.bench.measures import summary
from tests.bench.record import ROOT

PODS = 60
APPS = 5_000
#: How many apps the cluster has, and how many of them have the node's containers.
CASES = {"1 app": (1, 1), "5,000 apps": (APPS, 1), "5,000 apps, 60 of them here": (APPS, PODS)}
#: From the start on, while the node sees to what its containers did before.
SETTLE_SECONDS = 6.0
GATEWAYS = 200
SECONDS = 15.0
KEY = "ab" * 32
LIMITS = {"pivot with 5,000 apps / with 1": 1.5, "200 gateways probed, % of a core": 20.0}
CHILD_SECONDS = 300


def measure(rounds: int) -> dict[str, Any]:
    """Measure both; takes a minute."""
    return {"pivot_ms": _child("apps", rounds), "probes": _child("probes", rounds)}


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Set the figures that have a limit beside it."""
    medians = {case: times["median"] for case, times in figures["pivot_ms"].items()}
    values = {
        "pivot with 5,000 apps / with 1": round(medians["5,000 apps"] / medians["1 app"], 2),
        "200 gateways probed, % of a core": figures["probes"]["cpu_percent"],
    }
    return {
        name: {"value": value, "limit": LIMITS[name], "kept": value <= LIMITS[name]} for name, value in values.items()
    }


def _child(what: str, rounds: int) -> Any:
    argv = ["unshare", "--net", sys.executable, "-m", "tests.bench.pivots", what, str(rounds)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=CHILD_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {what} failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout)


def _route(number: int) -> Route:
    gateways = tuple(
        RouteGateway(
            id=f"gw-{number}-{slot}",
            slot=slot,
            private_address=f"10.110.{number // 120}.{number % 120 * 2 + slot + 1}",
            public_address=f"203.{number // 120}.{number % 120}.{slot + 1}",
        )
        for slot in (0, 1)
    )
    return Route(namespace=f"app-{number}", pair=number + 1, state="active", gateways=gateways)


def _table(apps: int) -> NodeSync:
    settings = ClusterSettings(vpc="10.110.0.0/16", local_networks=("10.244.0.0/16",))
    routes = tuple(map(_route, range(apps)))
    return NodeSync(epoch="e", revision=1, full=True, routes=routes, removed=(), settings=settings, ordinal=0)


async def _pivots(apps: int, here: int, rounds: int) -> list[float]:
    """Return the milliseconds from a verdict to the kernel and the note, of each pivot there and back."""
    pods = {
        f"10.244.1.{at + 1}": Pod(
            address=f"10.244.1.{at + 1}", namespace=f"app-{at % here}", container_id=f"c{at}", interface=f"v{at}"
        )
        for at in range(PODS)
    }
    with tempfile.TemporaryDirectory(prefix="sgt-bench-") as folder:
        config = Config(
            name="n", control_plane_url="https://localhost:1", join_token_file="t", private_interface="eth1",
            private_address="10.110.255.1", state_dir=folder, run_dir=folder,
        )  # fmt: skip
        state = State(Path(folder))
        log = PivotLog(Path(folder, "pivots.json"), lambda: None)
        containers: Any = SimpleNamespace(pods=pods, counts=lambda: Counter(pod.namespace for pod in pods.values()))

        def applied(wish: Wish) -> None:
            log.note(choices(wish, {}))

        steward = Steward(config, state, containers, lambda: Dataplane(state_dir=Path(folder)), lambda: None, applied)
        await steward.apply(_table(apps))
        for _ in range(round(SETTLE_SECONDS / 0.2)):
            await asyncio.sleep(0.2)
            await steward.refresh()
        spans = []
        for at in range(rounds * 2):
            begun = time.perf_counter()
            steward.judge(Judgement(suspect=frozenset() if at % 2 else frozenset({"gw-0-0"})))
            await steward.refresh()
            spans.append((time.perf_counter() - begun) * 1000)
        await steward.close()
        state.close()
    return spans


def _apps(rounds: int) -> dict[str, Any]:
    lines = ["link set lo up", "link add eth1 type veth peer name far", "link set far up", "link set eth1 up"]
    lines += ["addr add 10.110.255.1/16 dev eth1"]
    lines += [f"link add v{at} type veth peer name w{at}" for at in range(PODS)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60)
    # In turns, so that what the machine does besides meets both alike.
    found: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(2):
        for case, terms in CASES.items():
            found[case] += asyncio.run(_pivots(*terms, rounds))
    return {case: summary(spans) for case, spans in found.items()}


def _answer(port: int, ready: int) -> None:
    """Answer the probes of all gateways, for ever."""
    chooser = selectors.DefaultSelector()
    for at in range(GATEWAYS):
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.bind((f"127.0.1.{at + 1}", port))
        chooser.register(door, selectors.EVENT_READ)
    os.write(ready, b"1")
    key = bytes.fromhex(KEY)
    while True:
        for each, _ in chooser.select():
            request, asker = each.fileobj.recvfrom(200)  # type: ignore[union-attr]
            nonce = probe.read_request(key, request)
            if nonce:
                each.fileobj.sendto(probe.answer(key, nonce, flags=1, boot_id="b"), asker)  # type: ignore[union-attr]


async def _probing(seconds: float) -> dict[str, Any]:
    prober = Prober(lambda: None, interface="lo")
    targets = {f"gw-{at}": Target(f"127.0.1.{at + 1}", f"gw-{at ^ 1}") for at in range(GATEWAYS)}
    prober.follow(targets, KEY, Probing())
    running = asyncio.create_task(prober.run())
    await asyncio.sleep(2)
    used, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await asyncio.sleep(seconds)
    spent, now = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    running.cancel()
    healthy = statistics.mean(health == "healthy" for health in prober.judge.health().values())
    if healthy < 1:
        raise RuntimeError(
            f"only {healthy:.0%} of the gateways were found healthy: this machine is too busy to measure"
        )
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return {"gateways": GATEWAYS, "interval_ms": Probing().interval_ms, "cpu_percent": round(cpu / spent * 100, 1)}


def _probes() -> dict[str, Any]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=60)
    mine, its = os.pipe()
    gateways = os.fork()
    if not gateways:
        _answer(probe.PORT, its)
    try:
        os.read(mine, 1)
        return asyncio.run(_probing(SECONDS))
    finally:
        os.kill(gateways, 9)
        os.waitpid(gateways, 0)


def main() -> None:
    """Measure one thing, here, and print it."""
    what, rounds = sys.argv[1], int(sys.argv[2])
    print(json.dumps(_apps(rounds) if what == "apps" else _probes()))  # noqa: T201 - what the command is for


if __name__ == "__main__":
    main()
