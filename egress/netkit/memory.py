"""Keep what the data plane must remember in files: written whole, renamed into place, so that SIGKILL harms nothing."""

import json
from pathlib import Path
from typing import Any

from .apply_nft import Written
from .local import Memory


def load_memory(path: Path) -> Memory | None:
    """Return what `path` holds, None when there is no file or it can't be read: then the kernel is asked."""
    content = _read(path)
    try:
        return Memory(
            marks={str(key): int(number) for key, number in content["marks"].items()},
            addresses={str(key): str(address) for key, address in content["addresses"].items()},
            active=frozenset(map(int, content["active"])),
            earlier={str(key): float(until) for key, until in content["earlier"].items()},
            retired={int(number): int(pair) for number, pair in content.get("retired", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def load_written(path: Path) -> Written:
    """Return what `path` holds; without it every chain is taken for altered, and so written anew."""
    content = _read(path)
    try:
        return Written({str(key): (str(hook), tuple(rules), str(seen)) for key, (hook, rules, seen) in content.items()})
    except (ValueError, TypeError, AttributeError):
        return Written()


def save_memory(path: Path, memory: Memory) -> None:
    """Write `memory` to `path`."""
    content = {
        "marks": dict(memory.marks),
        "addresses": dict(memory.addresses),
        "active": sorted(memory.active),
        "earlier": dict(memory.earlier),
        "retired": dict(memory.retired),
    }
    _write(path, content)


def save_written(path: Path, written: Written) -> None:
    """Write `written` to `path`."""
    _write(path, written.chains)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def _write(path: Path, content: object) -> None:
    # No fsync: what is remembered counts only as long as the kernel that it describes is up.
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    temporary.rename(path)
