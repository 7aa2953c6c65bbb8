"""Watch the gateway's way out: public link and next hop ten times a second, targets in the internet once a second.

A thread of its own; what it finds goes into the answers to probes and into reports.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from . import kernel
from .echo import Echoes
from .keeper import Keeper, Status
from .nexthop import NextHop
from .outlook import Outlook, View

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
#: In looks: a round of questions to the targets lasts so many, and an answer later than so many is none.
ROUND_LOOKS = 10
ANSWER_LOOKS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    interface: str
    address: str
    next_hop: str
    targets: tuple[str, ...]


class Lookout:
    """The one who looks; `view` is what was found, and may be read by any thread."""

    def __init__(self, keeper: Keeper, on_change: Callable[[], None]) -> None:
        self._keeper = keeper
        self._on_change = on_change
        self._way: _Way | None = None
        self._outlook = Outlook()
        self._next_hop: NextHop | None = None
        self._echoes: Echoes | None = None
        self._received = 0
        self._trouble = ""
        self.view = View()

    def run(self) -> NoReturn:
        """Look for ever. Looks that come late aren't made up for."""
        at = time.monotonic()
        phase = 0
        while True:
            self._look(phase)
            phase = (phase + 1) % ROUND_LOOKS
            at = max(at + LOOK_SECONDS, time.monotonic())
            time.sleep(max(0.0, at - time.monotonic()))

    def _look(self, phase: int) -> None:
        way = _way_of(self._keeper.status)
        if way is None:
            return
        if way != self._way:
            self._take(way)
        elif phase == 0 and not (self.view.link and self.view.internet and self._echoes):
            # The interface may be another one by now, under the same name.
            self._open(way)
        link = kernel.link(way.interface)
        self._outlook.looked(carrier=link.up)
        self._ask_next_hop(link.packets - self._received)
        self._received = link.packets
        self._ask_targets(phase)
        self._tell(self._outlook.view)

    def _take(self, way: _Way) -> None:
        """Watch `way` from now on; what is known of a link that stays is kept over other targets."""
        if self._way is None or replace(self._way, targets=way.targets) != way:
            self._outlook = Outlook()
        self._outlook.forget_targets()
        self._way = way
        self._open(way)

    def _ask_next_hop(self, packets: int) -> None:
        if self._next_hop:
            answered = self._next_hop.answered()
            if answered is not None:
                self._outlook.asked_next_hop(answered=answered, packets=packets)
            self._next_hop.ask()

    def _ask_targets(self, phase: int) -> None:
        if self._echoes and phase == 0:
            self._echoes.ask()
        if self._echoes and phase == ANSWER_LOOKS:
            self._outlook.asked_targets(self._echoes.answers())

    def _tell(self, view: View) -> None:
        before, self.view = self.view, view
        if _summary(before) != _summary(view):
            link, internet = ("good" if each else "lost" for each in (view.link, view.internet))
            level = logging.INFO if view.link and view.internet else logging.WARNING
            log.log(level, "the way out: link %s, internet %s", link, internet)
            self._on_change()

    def _open(self, way: _Way) -> None:
        """Open the sockets anew. Without them there is no opinion, only the carrier's."""
        for each in (self._next_hop, self._echoes):
            if each:
                each.close()
        self._next_hop = self._echoes = None
        trouble = ""
        try:
            self._echoes = Echoes(
                interface=way.interface, address=way.address, token=self._keeper.echo_token, targets=way.targets
            )
            if way.next_hop:
                self._next_hop = NextHop(interface=way.interface, address=way.address, next_hop=way.next_hop)
        except OSError as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            log.warning("the way out over %s can't be asked: %s", way.interface, trouble)
        self._trouble = trouble


def _summary(view: View) -> tuple[bool, bool, bool]:
    """Return what is worth a report at once: one target that comes and goes isn't, but the first round is."""
    return view.link, view.internet, bool(view.targets)


def _way_of(status: Status) -> _Way | None:
    if not status.public_interface:
        return None
    return _Way(
        interface=status.public_interface,
        address=status.public_address,
        next_hop=status.next_hop,
        targets=status.targets,
    )
