"""Fixtures of the data plane's tests; the topology is drawn in `dataplane_world`."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest's importlib mode puts no folder on the path, and these helpers aren't the product's.
sys.path.insert(0, str(Path(__file__).parent))

from dataplane_world import METADATA, OBSERVER, World

from tests.machine import no_namespaces


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    if reason := no_namespaces():
        pytest.skip(reason)
    for tool in ("ip", "nft", "sysctl", "conntrack", "iptables-nft"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs the program {tool}")
    world = World(tmp_path)
    try:
        world.build()
        for host in (OBSERVER, METADATA):
            world["net"]("serve", port=80, host=host)
        world["net"]("sniff", interface="br0")
        yield world
    finally:
        world.close()


@pytest.fixture
def pods(world: World) -> World:
    """The world with its five pods."""
    world.pod("shop1", "shop", "n1", "10.244.1.11")
    world.pod("blog1", "blog", "n1", "10.244.1.12")
    world.pod("shop2", "shop", "n1", "10.244.1.130", bridged=True)
    world.pod("blog2", "blog", "n1", "10.244.1.131", bridged=True)
    return world
