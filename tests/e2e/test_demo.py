"""The demo as a newcomer has it: a process that greets, works, and leaves nothing behind however it ends.

All tests share one state folder, so that each but the first also starts on what another run has left.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from egress.lab.client import LabClient
from portal.demo.folder import marked
from tests.e2e.conftest import missing
from tests.e2e.system import SHARED, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120


class Demo:
    """A running `manage.py demo`."""

    def __init__(self, home: Path, port: int = 0, *, prefix: Sequence[str] = ()) -> None:
        self.home = home
        self.prefix = prefix
        self.state = home / "state"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home / "home"),
            "TMPDIR": str(home / "tmp"),
            "SLUICEGATE_STATE_DIR": str(self.state),
        }
        for folder in ("home", "tmp"):
            (home / folder).mkdir(exist_ok=True)
        with (home / "out").open("wb") as out, (home / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "manage.py", "demo", "--port", str(port)],
                cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip

    def out(self) -> str:
        return (self.home / "out").read_text()

    def err(self) -> str:
        return (self.home / "err").read_text()

    def wait_for_greeting(self) -> str:
        def greeting() -> str | None:
            assert self.process.poll() is None, self.err()
            return self.out() if "Ctrl-C ends it" in self.out() else None

        return wait_for("the demo greets", greeting, START_SECONDS)

    def manage(self, *arguments: str) -> str:
        """Run a manage.py command, as from another shell."""
        done = subprocess.run(
            [*self.prefix, sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self, how: Callable[[int, int], None], number: int) -> int:
        how(self.process.pid, number)
        return self.process.wait(60)

    def processes(self) -> list[int]:
        """Return all processes of this demo: by their environment, their words or their open folder."""
        return [*marked(self.state), *(pid for pid in all_processes() if self._is_named_in(pid))]

    def _is_named_in(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return str(self.state).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        return False


def all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout


def check_nothing_is_left(demo: Demo) -> None:
    """No process, no mount, no network namespace, no file outside the state folder."""
    wait_for("all processes are gone", lambda: not demo.processes())
    assert str(demo.state) not in Path("/proc/self/mounts").read_text()
    assert not any(name.split()[0] in {"control", "observer", "node-1", "vpc"} for name in namespaces().splitlines())
    assert [entry for folder in ("home", "tmp") for entry in (demo.home / folder).rglob("*")] == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := missing():
        pytest.skip(reason)
    return tmp_path_factory.mktemp("demo")


@pytest.fixture
def start(home: Path) -> Iterator[Callable[..., Demo]]:
    """Start demos; what the test leaves running is killed."""
    started: list[Demo] = []

    def begin(port: int = 0) -> Demo:
        started.append(Demo(home, port))
        return started[-1]

    yield begin
    for demo in started:
        demo.process.kill()
        demo.process.wait(30)


class Api:
    """The REST API of a demo, by the address and the token that its greeting gives."""

    def __init__(self, greeting: str) -> None:
        address = re.search(r"http://localhost:(\d+)/", greeting)
        token = re.search(r"^API token: (\S+)$", greeting, re.MULTILINE)
        assert address
        assert token
        self.url = f"http://127.0.0.1:{address[1]}"
        self._headers = {"Authorization": f"Token {token[1]}", "Content-Type": "application/json"}
        (self._app,) = (app["id"] for app in self._call("")["results"] if app["name"] == "shop-api")

    def _call(self, path: str, body: bytes | None = None) -> Any:
        address = f"{self.url}/api/v1/apps/{path}"
        request = urllib.request.Request(address, body, self._headers, method="PUT" if body else "GET")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def _wait(self, state: str) -> Any:
        def there() -> Any:
            egress = self._call(f"{self._app}/egress")
            return egress if egress["state"] == state else None

        return wait_for(f"it is {state}", there)

    def enable(self) -> set[str]:
        """Enable dedicated egress of shop-api; returns its addresses once it is active."""
        self._call(f"{self._app}/egress", b'{"type": "DEDICATED_IP"}')
        return {each["ip"] for each in self._wait("active")["dedicated_ips"]}

    def disable(self) -> None:
        """Disable it, and wait until the addresses are released."""
        self._call(f"{self._app}/egress", b'{"type": "AUTOASSIGN"}')
        self._wait("off")


def test_it_greets_with_all_that_is_needed_and_works_at_once(start: Callable[..., Demo]) -> None:
    demo = start()
    greeting = demo.wait_for_greeting()
    assert len(re.findall(r"^(Customer|Admin): .*@.* password \S+", greeting, re.MULTILINE)) == 2
    # Right after the greeting everything is there: the first request of each needs no second try.
    assert demo.manage("lab", "ip", "shop-api").strip() in SHARED
    status = LabClient(demo.state / "lab.sock").status()
    assert len(status["containers"]) == 6
    assert {node["agent"] for node in status["nodes"]} == {"running"}
    addresses = Api(greeting).enable()
    assert demo.manage("lab", "ip", "shop-api").strip() in addresses
    # The end comes while gateways run.
    assert demo.end(os.kill, signal.SIGTERM) == 0
    check_nothing_is_left(demo)


def test_a_demo_that_was_killed_leaves_the_next_one_nothing_to_trip_over_and_ctrl_c_ends_that(
    start: Callable[..., Demo],
) -> None:
    first = start()
    first.wait_for_greeting()
    assert first.end(os.kill, signal.SIGKILL) == -signal.SIGKILL
    second = start()
    second.wait_for_greeting()
    assert second.manage("lab", "ip", "docs-site").strip() in SHARED
    assert second.err() == ""
    third = start()
    assert third.process.wait(60) == 1
    refusal = f"Another demo is running in {third.state}: stop it first.\n"
    assert third.err() == refusal
    # As a terminal does: to the whole group.
    assert second.end(os.killpg, signal.SIGINT) == 0
    check_nothing_is_left(second)
    # The second's words would stand in the same file: it said nothing.
    assert second.err() == refusal


def test_it_can_be_ended_while_it_starts(home: Path, start: Callable[..., Demo]) -> None:
    log = home / "state/redis.log"
    log.unlink(missing_ok=True)
    demo = start()
    wait_for("the first part starts", log.exists)
    assert demo.end(os.kill, signal.SIGTERM) == 0
    check_nothing_is_left(demo)
    assert "API token" not in demo.out()


def test_a_busy_port_is_one_clear_line(start: Callable[..., Demo]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        demo = start(port)
        assert demo.process.wait(60) == 1
    assert demo.err() == (
        f"Port {port} can't be used (Address already in use): stop what uses it, "
        "or choose another, as in PORT=8001 ./dev demo\n"
    )
    check_nothing_is_left(demo)
