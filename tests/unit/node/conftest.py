import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rig import Node, StandIn


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="sgt-") as directory:
        yield Path(directory)


@pytest.fixture
def control_plane(folder: Path) -> Iterator[StandIn]:
    stand_in = StandIn(folder)
    stand_in.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def node(folder: Path, control_plane: StandIn) -> Iterator[Node]:
    made = Node(folder / "node", f"https://localhost:{control_plane.port}", control_plane.ca_file)
    yield made
    if made.agent is not None:
        made.stop()


@pytest.fixture
def own_netns() -> str:
    """A namespace that exists: this process's."""
    return f"/proc/{os.getpid()}/ns/net"
