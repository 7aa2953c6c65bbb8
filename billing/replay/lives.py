"""Throw one app's history: when it is enabled and disabled, what goes wrong, what it sends. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from .scenes import Kind, Scene, Turn

GIB = 2**30
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
#: All is over so long before a history's end, at least.
_BEFORE_THE_END = 3 * _HOUR
_SHORTEST = 2 * _HOUR


@dataclass
class AppHistory:
    """What happens to one app; `turns` are told later, by their nodes."""

    app: int
    dice: Random
    nodes: int
    scenes: list[Scene] = field(default_factory=list)
    #: By node.
    turns: dict[int, list[Turn]] = field(default_factory=dict)
    _life: int = 0

    def throw(self, begin: datetime, end: datetime) -> None:
        """Throw all lives between the two."""
        latest = end - _BEFORE_THE_END
        at = begin + self._between(_MINUTE, 6 * _DAY)
        while at + _SHORTEST < latest:
            at = self._live(at, latest) + self._between(_HOUR, 6 * _DAY)
            self._life += 1

    def _live(self, begin: datetime, latest: datetime) -> datetime:
        """Throw one life, which is over before `latest`; returns when its addresses were released."""
        self._add(begin, Kind.ENABLE)
        if self._happens(0.05):
            given_up = begin + self._between(_SECOND, 5 * _MINUTE)
            self._add(given_up, Kind.DISABLE)
            return self._release(given_up)
        ready = self._provision(begin)
        stays = latest if self._happens(0.4) else ready + self._between(5 * _MINUTE, 40 * _DAY)
        disabled = min(stays, latest - self._between(20 * _MINUTE, _HOUR))
        self._add(ready, Kind.READY)
        active = self._cut_over(ready, disabled)
        self._change_their_minds(active, disabled)
        self._add(disabled, Kind.DISABLE)
        drained = disabled + self._between(_SECOND / 10, 5 * _SECOND)
        self._add(drained, Kind.DRAIN)
        released = self._release(drained)
        self._suffer(ready, disabled, released)
        self._send(ready, drained)
        return released

    def _provision(self, begin: datetime) -> datetime:
        """Return when both gateways are ready; some have to be tried again."""
        if self._happens(0.1):
            failed = begin + self._between(10 * _MINUTE, 11 * _MINUTE)
            begin = failed + self._between(_SECOND, 30 * _MINUTE)
            self._add(failed, Kind.FAIL)
            self._add(begin, Kind.RETRY)
        return begin + self._between(20 * _SECOND, 5 * _MINUTE)

    def _cut_over(self, ready: datetime, disabled: datetime) -> datetime:
        """Wait for the nodes, and some for their customer's word: seven days at most."""
        waits = self._between(_HOUR, 7 * _DAY) if self._happens(0.15) else self._between(_SECOND, 20 * _SECOND)
        active = min(ready + waits, disabled - _SECOND)
        self._add(active, Kind.ACTIVATE)
        return active

    def _change_their_minds(self, active: datetime, disabled: datetime) -> None:
        """Disable, and take that back: before the nodes are told, or after."""
        while self._happens(0.3) and disabled - active > 3 * _HOUR:
            held = active + self._between(_SECOND, (disabled - active) / 2)
            resumed = held + self._between(10 * _SECOND, min(3 * _DAY, (disabled - held) / 2))
            self._add(held, Kind.HOLD)
            if self._happens(0.5):
                self._add(held + (resumed - held) / 3, Kind.DRAIN)
                self._add(resumed + (disabled - resumed) / 20, Kind.REROUTE)
                self._add(resumed + (disabled - resumed) / 10, Kind.ACTIVATE)
            self._add(resumed, Kind.RESUME)
            active = resumed + (disabled - resumed) / 9

    def _release(self, begin: datetime) -> datetime:
        releasing = begin + self._between(_SECOND, 5 * _MINUTE)
        released = releasing + self._between(2 * _SECOND, _MINUTE)
        self._add(releasing, Kind.RELEASE)
        self._add(released, Kind.RELEASED)
        return released

    # --- containers, outages ---------------------------------------------------------------------------------------

    def _suffer(self, ready: datetime, disabled: datetime, released: datetime) -> None:
        """Run on some nodes, and let both gateways be down for some of them, or all."""
        carrying = self.dice.sample(range(self.nodes), self.dice.choice([0, 1, 2, 2]))
        for node in carrying:
            begun = ready + self._between(timedelta(), (disabled - ready) / 3)
            ended = self._between((disabled - ready) / 2, released - ready) + ready
            self._add(begun, Kind.CARRY, node=node)
            self._add(ended, Kind.REST, node=node)
        days = (disabled - ready) / _DAY
        for _ in range(min(20, int(days / 8) + self.dice.choice([0, 0, 1]))):
            begun = ready + self._between(_SECOND, disabled - ready)
            ended = begun + self.dice.choice([_SECOND, 5 * _MINUTE, _HOUR, _DAY]) * self.dice.random() * 2
            hit = carrying if self._happens(0.7) else carrying[:1]
            for node in hit:
                self._turn(node, begun + self._between(timedelta(), _SECOND * 40), released, out=True)
                self._turn(node, ended + self._between(timedelta(), _SECOND * 40), released, out=False)

    def _turn(self, node: int, at: datetime, released: datetime, *, out: bool) -> None:
        turn = Turn(min(_in_milliseconds(at), _in_milliseconds(released)), self.app, self._life, out)
        self.turns.setdefault(node, []).append(turn)

    # --- gateways ----------------------------------------------------------------------------------------------------

    def _send(self, ready: datetime, drained: datetime) -> None:
        """Let both gateways tell their counters now and then; one may be replaced by another meanwhile."""
        replaced = self.dice.choice([0, 1]) if self._happens(0.3) else None
        for slot in (0, 1):
            boots = self._boots(ready, drained, slot, replaced=slot == replaced)
            for boot, begin, end in boots:
                self._count(slot, boot, begin, end)

    def _boots(
        self, ready: datetime, drained: datetime, slot: int, *, replaced: bool
    ) -> Iterator[tuple[str, datetime, datetime]]:
        """Yield a slot's boots: a reboot begins a counter anew, and so does another gateway."""
        turn = ready + (drained - ready) * (0.2 + self.dice.random() / 2)
        if replaced and drained - ready > _HOUR:
            begun = turn - (turn - ready) / 10
            self._add(begun, Kind.REPLACE, slot=slot)
            self._add(turn, Kind.REPLACED, slot=slot)
        name = f"{self.app}-{self._life}-{slot}"
        yield f"{name}-0", ready, turn
        yield f"{name}-1", turn, drained

    def _count(self, slot: int, boot: str, begin: datetime, end: datetime) -> None:
        at, reading = begin + self._between(_SECOND, _DAY), 0
        while at < end:
            # Some reports overtake others.
            overtaken = reading - self.dice.randrange(reading) if reading and self._happens(0.1) else 0
            reading += 0 if overtaken else self.dice.randrange(20 * GIB)
            self._add(at, Kind.COUNT, slot=slot, boot=boot, sent=overtaken or reading)
            at += self._between(_HOUR, 5 * _DAY)

    # --- dice --------------------------------------------------------------------------------------------------------

    def _add(self, at: datetime, kind: Kind, *, slot: int = -1, node: int = -1, boot: str = "", sent: int = 0) -> None:
        self.scenes.append(
            Scene(at=at, kind=kind, app=self.app, life=self._life, slot=slot, node=node, boot=boot, bytes=sent)
        )

    def _happens(self, share: float) -> bool:
        return self.dice.random() < share

    def _between(self, shortest: timedelta, longest: timedelta) -> timedelta:
        """Return a time between the two; some are short."""
        share = self.dice.random()
        return shortest + (longest - shortest) * self.dice.choice([share, share, share * share * share])


def _in_milliseconds(at: datetime) -> datetime:
    """Return `at` as nodes tell it."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
