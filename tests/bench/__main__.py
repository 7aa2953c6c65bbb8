"""Measure on this machine, from the checkout's root: `python -m tests.bench [--only NAME …] [--out FOLDER] …`.

`main-job` is the demo's way from a click to a packet, `distribution` a route change's way to 200 agents, `reliability`
what apps notice of faults, of maintenance and of load, `metering` an hour's close for billing, `rating` a month's
statements, `exports` a month of usage hour by hour.
"""

import argparse
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import distribution, exports, measures, metering, pivots, rating, record, reliability
from tests.e2e.conftest import missing
from tests.e2e.system import System
from tests.engines.servers import why_no_postgresql
from tests.machine import no_namespaces

NAMES = ("main-job", "distribution", "pivots", "reliability", "metering", "rating", "exports")
APPS = ("shop-api", "mail-worker", "docs-site")
REST_SECONDS = 60
FROZEN_ROUNDS = 20
#: What must hold, by the figure's name: at most. Of several runs the slowest counts, of ADDs the median.
LIMITS = {
    "demo, call to greeting, s": 15,
    "enable to active, s": 10,
    "control plane's own share, s": 2,
    "distribution to all nodes, s": 1,
    "plugin ADD / Go bridge ADD, shared": 1.5,
    "plugin ADD / Go bridge ADD, dedicated": 1.5,
    "plugin ADD / Go bridge ADD, dedicated, address used again at once": 1.5,
    "shared ADD with a frozen agent, extra, most, s": 0.2,
    "node agent at rest, MiB": 60,
    "node agent at rest, % of a core": 1,
}


def measure(system: System, rounds: int) -> dict[str, Any]:
    """Take all figures on one running system."""
    system.start_containers(*APPS)
    # The first toggle stands apart: in it are things that are loaded once, such as pydo, which takes a second.
    first = measures.enable_once(system, APPS[0])
    return {
        "first_enable": first,
        "plugin_add_shared": measures.plugin_add(system, APPS[1], rounds=rounds, addresses=250),
        "plugin_add_dedicated": measures.plugin_add(system, APPS[0], rounds=rounds, addresses=250),
        "plugin_add_dedicated_again": measures.plugin_add(system, APPS[0], rounds=rounds, addresses=2),
        "frozen_agent": measures.frozen_agent(system, APPS[1], rounds=FROZEN_ROUNDS),
        "agents_at_rest": measures.agents_at_rest(system, seconds=REST_SECONDS),
        "enable": measures.enables(system, APPS[1:], rounds=3),
    }


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Set the figures that have a limit beside it."""
    rest, enable, first = figures["agents_at_rest"].values(), figures["enable"], figures["first_enable"]
    values = {
        "demo, call to greeting, s": figures["greeting_s"]["max"],
        "enable to active, s": max(enable["total_s"]["max"], first["total_s"]),
        "control plane's own share, s": max(enable["control_plane_s"]["max"], first["control_plane_s"]),
        "distribution to all nodes, s": max(enable["distribution_s"]["max"], first["distribution_s"]),
        "plugin ADD / Go bridge ADD, shared": figures["plugin_add_shared"]["ratio_of_medians"],
        "plugin ADD / Go bridge ADD, dedicated": figures["plugin_add_dedicated"]["ratio_of_medians"],
        "plugin ADD / Go bridge ADD, dedicated, address used again at once": figures["plugin_add_dedicated_again"][
            "ratio_of_medians"
        ],
        "shared ADD with a frozen agent, extra, most, s": figures["frozen_agent"]["extra_s"]["max"],
        "node agent at rest, MiB": max(agent["rss_mib"] for agent in rest),
        "node agent at rest, % of a core": max(agent["cpu_percent"] for agent in rest),
    }
    return {
        name: {"value": value, "limit": LIMITS[name], "kept": value <= LIMITS[name]} for name, value in values.items()
    }


def say(line: str) -> None:
    """Print one line."""
    print(line)  # noqa: T201 - what the command is for


def main_job(rounds: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure a whole system; returns its figures and verdicts."""
    with tempfile.TemporaryDirectory(prefix="sgt-bench-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder))
        try:
            figures = measure(system, rounds)
        finally:
            system.stack.stop()
    figures["greeting_s"] = measures.greeting(rounds=3)
    return figures, verdicts(figures)


def route_changes(agents: int, toggles: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure the distribution of route changes; returns its figures and verdicts."""
    figures = distribution.measure(agents=agents, toggles=toggles)
    return figures, distribution.verdicts(figures)


def billing_exports(gateways: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure exports of a month; returns their figures and verdicts."""
    figures = exports.measure(gateways=gateways)
    return figures, exports.verdicts(figures)


def ends(rounds: int, pairs: int, calm_seconds: float) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure what apps notice of gateways' ends; returns the figures and verdicts."""
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**9))
    figures = reliability.measure(rounds=rounds, pairs=pairs, calm_seconds=calm_seconds, seed=seed, say=say)
    return {"seed": seed, **figures}, reliability.verdicts(figures)


def pivoting(rounds: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure what pivots and probes cost a node; returns their figures and verdicts."""
    figures = pivots.measure(rounds)
    return figures, pivots.verdicts(figures)


def closing(gateways: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure the hourly close; returns its figures and verdicts."""
    figures = metering.measure(gateways=gateways)
    return figures, metering.verdicts(figures)


def stating(apps: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Measure the rating of a month; returns its figures and verdicts."""
    figures = rating.on_both(apps=apps)
    return figures, rating.verdicts(figures)


def main() -> int:
    """Measure, print and write; return 1 when a limit isn't kept, 2 when this machine can't measure."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "--only", choices=NAMES, nargs="+", default=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument("--out", type=Path, default=record.ROOT / "docs/bench", help="the folder to write to")
    parser.add_argument("--rounds", type=int, default=50, help="ADDs of each plugin")
    parser.add_argument("--agents", type=int, default=200, help="agents that hold their long polls")
    parser.add_argument("--toggles", type=int, default=20, help="route changes that they are told")
    parser.add_argument("--gateways", type=int, default=10_000, help="whose hours are closed and exported")
    parser.add_argument("--apps", type=int, default=10_000, help="whose month is rated")
    parser.add_argument("--faults", type=int, default=20, help="times that a gateway dies of each cause")
    parser.add_argument("--pairs", type=int, default=10, help="pairs whose gateways are rebooted under load")
    parser.add_argument("--calm-seconds", type=float, default=600, help="with all cores and gateways busy")
    arguments = parser.parse_args()
    benches: dict[str, tuple[str, Callable[[], tuple[dict[str, Any], dict[str, dict[str, Any]]]]]] = {
        "main-job": (missing(), lambda: main_job(arguments.rounds)),
        "distribution": (why_no_postgresql(), lambda: route_changes(arguments.agents, arguments.toggles)),
        "reliability": (missing(), lambda: ends(arguments.faults, arguments.pairs, arguments.calm_seconds)),
        "exports": (why_no_postgresql(), lambda: billing_exports(arguments.gateways)),
        "pivots": (no_namespaces(), lambda: pivoting(arguments.rounds)),
        "rating": (why_no_postgresql(), lambda: stating(arguments.apps)),
        "metering": (why_no_postgresql(), lambda: closing(arguments.gateways)),
    }
    code = 0
    for name, (reason, bench) in benches.items():
        if name in arguments.only:
            code = max(code, _bench(name, reason, bench, arguments.out / f"{name}.json"))
    return code


def _bench(
    name: str, reason: str, bench: Callable[[], tuple[dict[str, Any], dict[str, dict[str, Any]]]], out: Path
) -> int:
    if reason:
        say(f"{name} can't be measured here: {reason}")
        return 2
    figures, results = bench()
    record.write(out, {**record.circumstances(), "results": results, **figures})
    for figure, result in results.items():
        limit = "" if result["limit"] is None else f"  (at most {result['limit']})"
        say(f"{figure:66} {result['value']!s:>8}{limit}{'' if result['kept'] else '  MISSED'}")
    say(f"written to {out}")
    return 0 if all(result["kept"] for result in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
