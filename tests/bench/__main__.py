"""Measure the main job on this machine: `python -m tests.bench [--out FILE] [--rounds N]`, from the checkout's root."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import measures, record
from tests.e2e.conftest import missing
from tests.e2e.system import System

APPS = ("shop-api", "mail-worker", "docs-site")
REST_SECONDS = 30
#: What must hold, by the figure's name: at most.
LIMITS = {
    "enable to active, s": 10,
    "control plane's own share, s": 2,
    "distribution to all nodes, s": 1,
    "plugin ADD / Go bridge ADD, shared": 1.5,
    "plugin ADD / Go bridge ADD, dedicated": 1.5,
    "node agent at rest, MiB": 60,
    "node agent at rest, % of a core": 1,
}


def measure(system: System, rounds: int) -> dict[str, Any]:
    """Take all figures on one running system."""
    system.start_containers(*APPS)
    # One toggle first: what is loaded once (pydo's first import takes a second) is no part of an enable.
    system.enable(APPS[0])
    shared = measures.plugin_add(system, APPS[1], rounds=rounds)
    dedicated = measures.plugin_add(system, APPS[0], rounds=rounds)
    rest = measures.agents_at_rest(system, seconds=REST_SECONDS)
    return {
        "plugin_add_shared": shared,
        "plugin_add_dedicated": dedicated,
        "agents_at_rest": rest,
        "enable": measures.enable_to_active(system, APPS[1:]),
    }


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Set the figures that have a limit beside it."""
    rest = figures["agents_at_rest"].values()
    values = {
        "enable to active, s": figures["enable"]["total_s"]["median"],
        "control plane's own share, s": figures["enable"]["control_plane_s"]["median"],
        "distribution to all nodes, s": figures["enable"]["distribution_s"]["max"],
        "plugin ADD / Go bridge ADD, shared": figures["plugin_add_shared"]["ratio_of_medians"],
        "plugin ADD / Go bridge ADD, dedicated": figures["plugin_add_dedicated"]["ratio_of_medians"],
        "node agent at rest, MiB": max(agent["rss_mib"] for agent in rest),
        "node agent at rest, % of a core": max(agent["cpu_percent"] for agent in rest),
    }
    return {
        name: {"value": value, "limit": LIMITS[name], "kept": value <= LIMITS[name]} for name, value in values.items()
    }


def say(line: str) -> None:
    """Print one line."""
    print(line)  # noqa: T201 - what the command is for


def main() -> int:
    """Measure, print and write; return 1 when a limit isn't kept, 2 when this machine can't measure."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=record.ROOT / "docs/bench/main-job.json")
    parser.add_argument("--rounds", type=int, default=50, help="ADDs of each plugin")
    arguments = parser.parse_args()
    if reason := missing():
        say(f"Nothing can be measured here: {reason}")
        return 2
    with tempfile.TemporaryDirectory(prefix="sgt-bench-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder))
        try:
            figures = measure(system, arguments.rounds)
        finally:
            system.stack.stop()
    results = verdicts(figures)
    record.write(arguments.out, {**record.circumstances(), "results": results, **figures})
    for name, result in results.items():
        say(f"{name:42} {result['value']:>8}  (at most {result['limit']}){'' if result['kept'] else '  MISSED'}")
    say(f"written to {arguments.out}")
    return 0 if all(result["kept"] for result in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
