"""The demo of an ordinary user: the same cloud and real packets, in a user namespace that ends with it."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from egress.lab.client import LabClient
from tests.e2e.conftest import missing
from tests.e2e.system import NODE_NAMES, SHARED
from tests.e2e.test_demo import Api, Demo, check_nothing_is_left
from tests.machine import hand_over, ordinary_user, output

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

#: Nobody's on any machine, and another one for each process that runs tests.
UID = 3_000_000 + os.getpid()
OBSTACLE = "from portal.demo.needs import obstacle; print(obstacle(), end='')"


@pytest.fixture(scope="module")
def user() -> list[str]:
    """What makes a command an ordinary user's, who can make namespaces here."""
    if reason := missing():
        pytest.skip(reason)
    prefix = ordinary_user(UID)
    if reason := output(*prefix, sys.executable, "-c", OBSTACLE):
        pytest.skip(reason)
    return prefix


@pytest.fixture
def start(user: list[str]) -> Iterator[Callable[[], Demo]]:
    """Start demos as that user; what the test leaves running is killed."""
    started: list[Demo] = []
    # Not pytest's own folder, which is closed to others.
    with tempfile.TemporaryDirectory(prefix="sgt-user-", ignore_cleanup_errors=True) as name:
        home = Path(name)
        for folder in (home, home / "home", home / "tmp"):
            folder.mkdir(exist_ok=True)
            hand_over(folder, UID)

        def begin() -> Demo:
            started.append(Demo(home, prefix=user))
            return started[-1]

        yield begin
        for demo in started:
            demo.process.kill()
            demo.process.wait(30)


def test_an_ordinary_user_has_the_same_cloud_and_real_packets(start: Callable[[], Demo]) -> None:
    demo = start()
    greeting = demo.wait_for_greeting()
    assert os.geteuid() or Path(f"/proc/{demo.process.pid}").stat().st_uid, "the demo runs as root"
    lab = LabClient(demo.state / "lab.sock")

    def seen(app: str) -> set[str]:
        """The addresses from which both nodes' containers of the app reach the internet."""
        return {lab.ip(app, node=node) for node in NODE_NAMES}

    assert seen("shop-api") == SHARED
    addresses = Api(greeting).enable()
    assert len(addresses - SHARED) == 2
    # Each node takes its own gateway of the pair, so the internet sees both.
    assert seen("shop-api") == addresses
    assert seen("docs-site") == SHARED
    assert demo.manage("lab", "ip", "shop-api").strip() in addresses
    assert demo.end(os.killpg, signal.SIGINT) == 0
    check_nothing_is_left(demo)
    assert demo.err() == ""


def test_an_ordinary_users_demo_that_is_killed_leaves_nothing(start: Callable[[], Demo]) -> None:
    demo = start()
    demo.wait_for_greeting()
    assert len(demo.processes()) > 10
    assert demo.end(os.kill, signal.SIGKILL) == -signal.SIGKILL
    check_nothing_is_left(demo)
