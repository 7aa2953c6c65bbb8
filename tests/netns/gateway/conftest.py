import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from subprocess import Popen

import pytest

from egress.gateway.userdata import agent_archive
from tests.machine import no_namespaces

from .plane import SECRET, ControlPlane
from .world import VPC, World, eventually, process

Start = Callable[[], Popen[bytes]]
PYTHON = "/usr/bin/python3"


@pytest.fixture(autouse=True)
def _needs_namespaces() -> None:
    if reason := no_namespaces():
        pytest.skip(reason)
    if not Path(PYTHON).exists():
        pytest.skip(f"needs {PYTHON}")


@pytest.fixture
def world(_needs_namespaces: None) -> Iterator[World]:
    with World() as built:
        yield built


@pytest.fixture
def plane(world: World) -> Iterator[ControlPlane]:
    served = ControlPlane(world.internet)
    served.start()
    yield served
    served.stop()


class Gateway:
    """The agent, as user data would install it, in the world's gateway namespace."""

    def __init__(self, world: World, plane: ControlPlane, directory: Path) -> None:
        self.world = world
        self.state = directory / "state"
        self.log = directory / "agent.log"
        self._archive = directory / "gateway.pyz"
        self._archive.write_bytes(agent_archive())
        self._config = directory / "gateway.json"
        (directory / "ca.pem").write_text(plane.ca_pem)
        self._config.write_text(
            json.dumps(
                {
                    "gateway_id": "gw-1",
                    "enrolment_secret": SECRET,
                    "control_plane_url": plane.url,
                    "vpc": VPC,
                    "ca_file": str(directory / "ca.pem"),
                    "state_dir": str(self.state),
                }
            )
        )

    def command(self) -> list[str]:
        return [PYTHON, "-I", "-S", str(self._archive), "--config", str(self._config)]

    def run(self) -> AbstractContextManager[Popen[bytes]]:
        return process(self.world.gateway, *self.command(), log=self.log)

    def log_text(self) -> str:
        return self.log.read_text()


@pytest.fixture
def gateway(world: World, plane: ControlPlane, tmp_path: Path) -> Gateway:
    return Gateway(world, plane, tmp_path)


@pytest.fixture
def start(gateway: Gateway) -> Iterator[Start]:
    """Start the agent (each call a new process); all end with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(gateway.run())


@pytest.fixture
def serving(start: Start, plane: ControlPlane) -> Popen[bytes]:
    """Start the agent and wait until it has acknowledged its clients and said that it forwards."""
    agent = start()
    eventually(lambda: plane.acknowledged == plane.sync.revision, what="the clients acknowledged")
    eventually(lambda: plane.reports and plane.reports[-1].forwarding, what="a report of forwarding")
    return agent
