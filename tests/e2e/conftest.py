"""One running system for all end-to-end tests: starting it takes seconds, so it is shared."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System

TOOLS = ("ip", "nft", "unshare", "nsenter", "redis-server", "conntrack")


def missing() -> str:
    """Say why the whole system can't run here; "" if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    if not Path("/usr/lib/cni/bridge").exists():
        absent.append("Debian's containernetworking-plugins")
    return f"not on this machine: {', '.join(absent)}" if absent else ""


@pytest.fixture(scope="session")
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
