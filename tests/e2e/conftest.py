"""One running system for all end-to-end tests: starting it takes seconds, so it is shared."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.demo.needs import obstacle
from tests.e2e.system import System


def missing() -> str:
    """Say why the whole system can't run here; "" if it can."""
    return obstacle() or ("" if shutil.which("redis-server") else "not on this machine: redis-server")


@pytest.fixture(scope="package")
def system() -> Iterator[System]:
    """All of Sluicegate, with shop-api, mail-worker and docs-site on both nodes."""
    if reason := missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="sgt-e2e-", ignore_cleanup_errors=True) as folder:
        running = System(Path(folder))
        try:
            running.start_containers("shop-api", "mail-worker", "docs-site")
            yield running
        finally:
            running.stack.stop()
