"""Neighbours that attack, and what is seen outside of it; the world is that of the data plane's tests."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# pytest's importlib mode puts no folder on the path, and these helpers aren't the product's.
sys.path[:0] = [str(HERE), str(HERE.parent / "dataplane")]

from lair import Lair  # noqa: E402 - found by the line above


@pytest.fixture(scope="module")
def lair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lair]:
    """One world for a whole file: what an attack leaves behind, the next one may use."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    for tool in ("ip", "nft", "sysctl", "conntrack"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs the program {tool}")
    lair = Lair(tmp_path_factory.mktemp("lair"))
    try:
        lair.build()
        yield lair
    finally:
        lair.close()
