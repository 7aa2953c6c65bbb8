"""Say where and when figures were taken, and write them down."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def circumstances() -> dict[str, Any]:
    """Return what a reader must know to compare the figures with others."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "machine": {
            "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() or ("unknown" if done.returncode else "")


def write(path: Path, figures: dict[str, Any]) -> None:
    """Write the figures as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(figures, indent=2) + "\n")
    fresh.replace(path)


def verdict(value: float | None, limit: float | None) -> dict[str, Any]:
    """Set a figure beside its limit, at most that; no value keeps no limit, and no limit is always kept."""
    return {"value": value, "limit": limit, "kept": limit is None or (value is not None and value <= limit)}
