"""A pytest plugin: which of pytest-xdist's processes gets which files.

Each file goes to one process, as `--dist loadfile` has it. Files whose tests share one running system go together, in
few heaps: a whole system costs its processor time for as long as it stands, whether a test uses it or not. A file that
would keep one process busy long after the others is dealt out in pieces.
"""

import zlib
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # it has no types

ROOT = Path(__file__).parent.parent
#: Of files that share a system: each heap has a system of its own.
HEAPS = 2
#: What such a file says.
SHARES = "system: System"
#: Files that go in pieces, none of whose tests needs another one, and in how many.
PIECES = {"tests/integration/control/test_crash_points.py": 8}


class Dealer(LoadFileScheduling):  # type: ignore[misc]  # as above
    """Deals files out, or heaps of them."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the file, the piece of it, or the heap of a test."""
        file: str = super()._split_scope(nodeid)
        if pieces := PIECES.get(file):
            return f"{file} piece {zlib.crc32(nodeid.encode()) % pieces}"
        return self._heaps.get(file, file)

    @property
    def _heaps(self) -> dict[str, str]:
        """Name the heap of each file that is in one."""
        if not hasattr(self, "_known_heaps"):
            sharing = [path for path in sorted((ROOT / "tests/e2e").glob("test_*.py")) if SHARES in path.read_text()]
            self._known_heaps = {
                str(path.relative_to(ROOT)): f"heap {number % HEAPS}" for number, path in enumerate(sharing)
            }
        return self._known_heaps


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Dealer | None:
    """Deal by file, unless something else is asked for."""
    return Dealer(config, log) if config.getoption("dist") == "loadfile" else None
