"""A lab in namespaces of its own, without node agents, for the tests of the lab itself."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from egress.lab.ca import certificates
from egress.lab.client import LabClient, LabError
from egress.lab.config import AgentConfig, CloudConfig, LabConfig, save
from egress.lab.launch import lab_command
from portal.demo.needs import obstacle

TOKEN = "lab-token-0123456789"
T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T | None], seconds: float = 60) -> T:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(LabError):
            if answer := probe():
                return answer
        assert time.monotonic() < end, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.05)


class Lab:
    """A lab's process, its client, and its cloud API."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.client = LabClient(state / "lab.sock")
        self.tls = certificates(state)
        self._cloud = socket.create_server(("127.0.0.1", 0))
        self.process: subprocess.Popen[bytes] | None = None
        self.agent: AgentConfig | None = None

    def start(self) -> "Lab":
        cloud = CloudConfig(
            fd=self._cloud.fileno(),
            cert_file=str(self.tls.local_cert),
            key_file=str(self.tls.local_key),
            tokens=(TOKEN,),
        )
        save(
            LabConfig(
                state_dir=str(self.state / "lab"),
                control_socket=str(self.state / "lab.sock"),
                python=sys.executable,
                cloud=cloud,
                agent=self.agent,
            ),
            self.state / "lab.json",
        )
        with (self.state / "lab.log").open("ab") as log:
            self.process = subprocess.Popen(
                # The lab goes when this process goes, however it goes.
                ["setpriv", "--pdeathsig", "KILL", *lab_command(self.state / "lab.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._cloud.fileno(),),
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "SGT_LAB": str(self.state)},
            )
        wait_for(f"the lab is up: {self.log()}", lambda: self._alive() and self.client.status())
        return self

    def kill(self) -> None:
        """End the lab as a power cut would."""
        if self.process:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def close(self) -> None:
        self.kill()
        self._cloud.close()

    def log(self) -> str:
        return (self.state / "lab.log").read_text()[-2000:]

    def processes(self) -> list[int]:
        """Return all processes that this lab has started, by the mark in their environment or their namespaces."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._is_ours(entry)]

    def api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call the cloud API."""
        host, port = self._cloud.getsockname()
        connection = http.client.HTTPSConnection(
            host, port, timeout=30, context=ssl.create_default_context(cafile=str(self.tls.ca))
        )
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
            connection.request(method, f"/v2/{path}", None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
        return response.status, json.loads(content) if content else None

    def _alive(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log()
        return True

    def _is_ours(self, entry: Path) -> bool:
        try:
            return f"SGT_LAB={self.state}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """One lab for all tests that don't kill it."""
    yield from _lab()


@pytest.fixture
def own_lab() -> Iterator[Lab]:
    """A lab for one test alone."""
    yield from _lab()


def _lab() -> Iterator[Lab]:
    if reason := obstacle():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="sgt-lab-", ignore_cleanup_errors=True) as folder:
        running = Lab(Path(folder))
        try:
            yield running.start()
        finally:
            running.close()
