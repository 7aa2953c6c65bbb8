"""The benches' command line."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_it_says_what_can_be_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for bench in ("main-job", "distribution", "pivots", "reliability", "metering", "exports"):
        assert bench in done.stdout
