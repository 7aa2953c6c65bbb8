"""The constant load: measurers in containers, the answerer on the internet, and what they have written so far."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from egress.lab.client import LabError
from tests.chaos import answerer, measurer
from tests.chaos.gaps import IN_A_ROW, Record
from tests.e2e.system import System, wait_for

#: Each app has an address of its own on the internet, so that a packet tells there whose it is, whatever its source.
FIRST_ADDRESS = 101
STEADY_SECONDS = 120
#: What measures must not be what is late. In a user namespace it can't be helped, and `nice` says so.
PROMPT = ("nice", "-n", "-10")
#: Attempts that succeed while nothing stands: the last so many, all of them.
STEADY_ATTEMPTS = 2 * IN_A_ROW


@dataclass
class Measured:
    """One container under load."""

    app: str
    node: str
    name: str
    out: Path
    record: Record = field(default_factory=Record)
    _offset: int = 0
    _tail: str = ""

    @property
    def where(self) -> str:
        """Its app and node, for people."""
        return f"{self.app} on {self.node}"

    def read(self) -> Record:
        """Take in what was written since, and return all of it."""
        with self.out.open() as file:
            file.seek(self._offset)
            content = file.read()
            self._offset = file.tell()
        *lines, self._tail = (self._tail + content).split("\n")
        for line in lines:
            self.record.take(line)
        return self.record

    def address(self) -> str:
        """Return the address that its latest successful attempt was seen from; "" before the first."""
        return next((one.address for one in reversed(self.read().attempts) if one.address), "")

    def steady(self) -> bool:
        """Say whether it gets through all the time, up to now."""
        last = self.read().attempts[-STEADY_ATTEMPTS:]
        fresh = last and time.monotonic() - last[-1].at < 1
        return bool(fresh) and len(last) == STEADY_ATTEMPTS and all(one.address for one in last)


class Load:
    """Load from one container of each app on each node; `apps` has the seconds between attempts, `more` are options."""

    def __init__(
        self, system: System, apps: Mapping[str, float], nodes: Sequence[str], *, more: Sequence[str] = ()
    ) -> None:
        self._system = system
        self._more = more
        self._folder = system.stack.state / "chaos"
        self._folder.mkdir(exist_ok=True)
        self.destinations = {app: f"192.0.2.{FIRST_ADDRESS + number}" for number, app in enumerate(apps)}
        threading.Thread(target=self._answer, daemon=True).start()
        self.measured = [self._start(app, node, interval) for app, interval in apps.items() for node in nodes]
        self.wait_steady()

    def _answer(self) -> None:
        argv = [*PROMPT, "python3", "-I", answerer.__file__, *self.destinations.values()]
        try:
            self._system.lab.exec("observer", argv, timeout_seconds=3_500)
        except LabError:
            return  # the lab has ended, and the answerer with it

    def _start(self, app: str, node: str, interval: float) -> Measured:
        out = self._folder / f"{app}-{node}"
        out.touch()
        words = [self.destinations[app], str(answerer.PORT), str(out), "--interval", str(interval), *self._more]
        name = self._system.start_container(app, node, [*PROMPT, "python3", "-I", measurer.__file__, *words])
        return Measured(app, node, name, out)

    def of(self, apps: frozenset[str]) -> list[Measured]:
        """Return what is measured of some apps."""
        return [one for one in self.measured if one.app in apps]

    def wait_steady(self) -> None:
        """Wait until everything gets through all the time."""
        wait_for("the load gets through", lambda: all(one.steady() for one in self.measured), STEADY_SECONDS)

    def renew(self) -> float:
        """Have all lasting connections begun anew, by today's paths; return since when they are."""
        at = time.monotonic()
        for one in self.measured:
            done = self._system.lab.exec(one.name, ["kill", "-USR1", str(one.record.pid)])
            assert done.code == 0, done.stderr
        wait_for("all lasting connections are open", lambda: all(_open(one.read(), at) for one in self.measured))
        return at


def _open(record: Record, at: float) -> bool:
    """Say whether each lasting connection was begun at `at` or later and got an answer."""
    return {(sign.what, sign.kind) for sign in record.since(at).signs} >= {
        ("o", "active"),
        ("p", "active"),
        ("o", "idle"),
        ("p", "udp"),
    }
