"""Keep what the data plane must remember in a file: written whole, renamed into place."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from .apply_nft import Written
from .local import Memory


@dataclass(slots=True)
class Kept:
    """What the file holds."""

    memory: Memory = field(default_factory=Memory)
    written: Written = field(default_factory=Written)


def load(path: Path) -> Kept | None:
    """Return what `path` holds, None when there is no file or it can't be read: then the kernel is asked."""
    try:
        content = json.loads(path.read_text())
        memory = Memory(
            marks={str(key): int(number) for key, number in content["marks"].items()},
            addresses={str(key): str(address) for key, address in content["addresses"].items()},
            active=frozenset(map(int, content["active"])),
            earlier={str(key): float(until) for key, until in content["earlier"].items()},
        )
        written = {key: (hook, tuple(rules), seen) for key, (hook, rules, seen) in content["written"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Kept(memory, Written(written))


def save(path: Path, kept: Kept) -> None:
    """Write `kept` to `path` so that SIGKILL leaves the old file or the new one.

    There is no fsync: what is remembered counts only as long as the kernel that it describes is up.
    """
    memory = kept.memory
    content = {
        "marks": dict(memory.marks),
        "addresses": dict(memory.addresses),
        "active": sorted(memory.active),
        "earlier": dict(memory.earlier),
        "written": kept.written.chains,
    }
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content))
    temporary.rename(path)
