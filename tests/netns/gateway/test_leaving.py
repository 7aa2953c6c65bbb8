"""A gateway that goes down says so; an agent that is only started again doesn't.

Here the service manager is a program that gives the test's word; tests/netns/lab has one that really stops.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from egress.wire import probe

from .conftest import Start
from .ear import Ear, well
from .plane import ControlPlane
from .world import PUBLIC, World, eventually

pytestmark = pytest.mark.netns


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What `systemctl is-system-running` prints."""
    word = tmp_path / "word"
    word.write_text("running\n")
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$*" = is-system-running ] && cat {word}\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return word


@pytest.fixture
def ear(world: World, plane: ControlPlane, manager: Path, start: Start) -> Iterator[tuple[Ear, Popen[bytes]]]:
    agent = start()
    eventually(lambda: plane.reports and plane.reports[-1].forwarding)
    listening = Ear(world)
    listening.wait("all is well", well)
    yield listening, agent
    listening.close()


def test_a_machine_that_goes_down_says_so_while_it_goes_on_forwarding(
    world: World, manager: Path, ear: tuple[Ear, Popen[bytes]]
) -> None:
    listening, agent = ear
    with world.tcp(world.node) as connection:
        connection.recv(100)
        manager.write_text("stopping\n")
        agent.terminate()
        listening.wait("it says that it leaves", lambda answer: answer.leaving and answer.forwarding)
        connection.sendall(b"still here")
        assert connection.recv(100) == b"still here"
        assert world.tcp_source(world.node) == PUBLIC
        assert agent.wait(30) == 0


@pytest.mark.parametrize("word", ["running\n", ""])
def test_an_agent_that_is_only_started_again_says_nothing(
    manager: Path, ear: tuple[Ear, Popen[bytes]], word: str
) -> None:
    listening, agent = ear
    manager.write_text(word)
    agent.send_signal(signal.SIGTERM)
    heard = []
    while agent.poll() is None:
        if answer := listening.hear():
            heard.append(answer)
    assert agent.returncode == 0
    assert not any(answer.flags & probe.LEAVING for answer in heard)
