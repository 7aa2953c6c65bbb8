"""`./dev chaos`: random faults on a whole system under load, judged by packets. SEED=N repeats a run's dice."""

import argparse
import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import record
from tests.chaos import report
from tests.chaos.faults import KINDS, PLANTED, Kind
from tests.chaos.suite import Suite
from tests.e2e.conftest import missing
from tests.e2e.system import System


def say(line: str) -> None:
    """Print one line, at once."""
    print(line, flush=True)  # noqa: T201 - what the command is for


def main() -> int:
    """Strike, print and write; return 1 when something was wrong, 2 when this machine can't."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=len(KINDS), help="how many; by default each kind once")
    parser.add_argument("--only", action="append", default=[], metavar="KIND", help="this kind; may be said again")
    parser.add_argument("--short", action="store_true", help="only the kinds of the form that ./dev test runs")
    parser.add_argument("--plant-leak", action="store_true", help="with a leak, which must be found")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--logs", type=Path, help="a folder to keep the processes' logs and the load's lines in")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if (kind.short or not options.short) and kind.name in (options.only or [kind.name])]
    kinds += [PLANTED] * options.plant_leak
    if not kinds:
        parser.error(f"there is no such kind; there are: {', '.join(kind.name for kind in KINDS)}")
    if reason := missing():
        say(f"chaos can't be had here: {reason}")
        return 2
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**9))
    say(f"dice: SEED={seed}")
    count = min(options.faults, len(kinds)) if options.only or options.short else options.faults
    result = run(seed, kinds, count, options.logs)
    if options.out:
        record.write(options.out, {**record.circumstances(), "seed": seed, **result})
    for line in report.table(result["faults"]):
        say(line)
    found = report.wrong(result)
    for line in found:
        say(f"WRONG: {line}")
    say(f"SEED={seed}: {'nothing was wrong' if not found else f'{len(found)} things were wrong'}")
    return 1 if found else 0


def run(seed: int, kinds: Sequence[Kind], count: int, logs: Path | None) -> dict[str, Any]:
    """Make a system, strike it, and end it."""
    with tempfile.TemporaryDirectory(prefix="sgt-chaos-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder))
        try:
            suite = Suite(system, seed, say)
            return suite.run(suite.choose(kinds, count))
        finally:
            system.stack.stop()
            if logs:
                keep(system.stack.state, logs)


def keep(state: Path, logs: Path) -> None:
    """Copy what was logged, and what the load wrote."""
    logs.mkdir(parents=True, exist_ok=True)
    for path in (*state.glob("*.log"), *state.glob("lab/nodes/*/agent.log*"), *state.glob("chaos/*")):
        shutil.copy(path, logs / "-".join(path.relative_to(state).parts))


if __name__ == "__main__":
    raise SystemExit(main())
