"""Enabling and disabling under load: no request fails, no connection is cut, and "active" means what it says."""

import threading
import time
from collections.abc import Iterator

import pytest

from tests.e2e.system import NODE_NAMES, SHARED, System, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.cni, pytest.mark.timeout(300)]

APP = "mail-worker"
#: What one process asks for: starting one costs more than all of its requests.
BATCH = 150


class Load:
    """Requests from one container, one after the other, until it is stopped.

    Each has a source port of its own: a datagram whose addresses and ports were all used before belongs to that
    earlier flow, for every router and for us.
    """

    def __init__(self, system: System, node: str, kind: str, *, app: str = APP) -> None:
        self._system, self._node, self._kind, self._app = system, node, kind, app
        self._stopped = threading.Event()
        self.answers: list[dict[str, object]] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for first_port in range(2_000, 32_000, BATCH):
            if self._stopped.is_set():
                return
            self.answers += self._system.lab.requests(
                self._app, node=self._node, kind=self._kind, count=BATCH, interval_seconds=0.02, first_port=first_port
            )

    @staticmethod
    def stop(loads: "list[Load]") -> None:
        """Let the requests under way finish, of all `loads` at once."""
        for load in loads:
            load._stopped.set()
        for load in loads:
            load._thread.join(120)

    def failures(self) -> list[object]:
        """Return the errors of requests that failed."""
        return [answer["error"] for answer in self.answers if answer["error"]]

    def addresses(self, since: float, until: float) -> set[object]:
        """Return the addresses of requests that began after `since` and were answered before `until`."""
        times = [float(str(answer["at"])) for answer in self.answers]
        # A request began after its predecessor's answer.
        return {
            answer["address"]
            for before, at, answer in zip([0.0, *times], times, self.answers, strict=False)
            if before >= since and at <= until
        }


@pytest.fixture
def loads(system: System) -> Iterator[list[Load]]:
    """Load from the app's containers on both nodes, TCP and UDP."""
    running = [Load(system, node, kind) for node in NODE_NAMES for kind in ("tcp", "udp")]
    yield running
    Load.stop(running)


def test_toggling_under_load_cuts_and_loses_nothing(system: System, loads: list[Load]) -> None:
    with system.holding(APP, node=NODE_NAMES[0], seconds=30) as shared:
        addresses = system.enable(APP)
        active_at = time.time()
        with system.holding(APP, node=NODE_NAMES[1], seconds=8) as dedicated:
            time.sleep(2)
            disabled_at = time.time()
            system.disable(APP)
        released_at = time.time()
    Load.stop(loads)
    assert [failure for load in loads for failure in load.failures()] == []
    assert shared.address in SHARED
    assert dedicated.address in addresses
    assert set().union(*(load.addresses(active_at, disabled_at) for load in loads)) == addresses
    assert set().union(*(load.addresses(released_at, time.time()) for load in loads)) <= SHARED


def test_disabling_waits_for_connections_that_are_open(system: System) -> None:
    addresses = system.enable(APP)
    with system.holding(APP, node=NODE_NAMES[0], seconds=15) as held:
        status, body = system.switch(APP, "AUTOASSIGN")
        assert status in {200, 202}, body
        wait_for("new connections are shared", lambda: system.seen(APP, "tcp", 1, node=NODE_NAMES[0]) <= SHARED)
        assert system.egress(APP)["state"] == "draining"
    assert held.address in addresses
    system.disable(APP)
