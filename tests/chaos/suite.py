"""Strike a loaded system with one fault after the other, and judge it by what was seen outside."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tests.chaos import rows
from tests.chaos.faults import KINDS, Begun, Kind
from tests.chaos.gaps import Record, gaps, longest, on_gateway, resets, silence
from tests.chaos.load import Load, Measured
from tests.e2e.system import NODE_NAMES, SHARED, System, wait_for

ENABLED = ("shop-api", "mail-worker")
NEIGHBOUR = "docs-site"
#: Seconds between two attempts.
RATES = {**dict.fromkeys(ENABLED, 0.01), NEIGHBOUR: 0.05}
#: From the end of a fault until everything is as it should be.
RECOVERY_SECONDS = 240
#: The internet's own: it tells the observer when it can't deliver.
ROUTER = "192.0.2.1"
LASTING = ("active", "idle")
EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Outcome:
    """What one fault did. `gap_seconds`: None where new connections found no way again before everything was well.

    `reset_seconds` is when the last connection of what was struck was reset, counted from the fault.
    """

    fault: str
    target: str
    gap_seconds: float | None
    resets: int
    reset_seconds: float | None
    udp_silence_seconds: float
    leaks: int
    recovery_seconds: float
    #: When it began, in seconds of the epoch.
    began_at: float
    #: When each lasting connection that ended did, counted from the fault.
    ended: dict[str, float]
    #: The longest gap of each container.
    gaps: dict[str, float | None]
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Window:
    """One fault's times, by the machine's monotonic clock, and the addresses of the gateways that it struck."""

    at: float
    healed_at: float
    over_at: float
    struck: frozenset[str]


class Suite:
    """A system with two apps enabled and one that isn't, all of them under load.

    Where speed must not matter, everything may take `slack` times as long.
    """

    def __init__(self, system: System, seed: int, say: Callable[[str], None], *, slack: float = 1) -> None:
        self.system = system
        self._slack = slack
        self._state = system.stack.state
        self.dice = random.Random(seed)  # noqa: S311 - no secret hangs on it
        self._say = say
        #: All addresses that each enabled app ever had.
        self.addresses = {app: system.enable(app) for app in ENABLED}
        self.load = Load(system, RATES, NODE_NAMES)

    def choose(self, kinds: Sequence[Kind], count: int) -> list[Kind]:
        """Return so many faults in the dice's order; no kind comes twice before each came once."""
        return draw(self.dice, kinds, count)

    def strike(self, kind: Kind) -> Outcome:
        """Let one fault befall the system, heal it, wait until all is well, and judge."""
        self.load.wait_steady()
        targets, struck = self._targets(kind)
        self.load.renew()
        mark = self.system.lab.mark()
        begun: list[Begun] = []
        try:
            begun = [kind.begin(self.system, target) for target in targets]
            self._stand(kind, begun[-1].at, struck)
        finally:
            for one in reversed(begun):
                one.undo()
        healed_at, now = time.monotonic(), datetime.now(UTC)
        self.wait_well(now if kind.control_plane else EVER)
        window = Window(begun[-1].at, healed_at, time.monotonic(), struck)
        outcome = judge(kind, " ".join(targets), window, self.load.of(frozenset(ENABLED)), slack=self._slack)
        # One tenant's trouble is its own.
        untouched = replace(kind, gap_seconds=KINDS[0].gap_seconds, resets="none")
        outcome.wrong += judge(untouched, "", window, self.load.of(frozenset({NEIGHBOUR})), slack=self._slack).wrong
        leaks = self.leaks(mark)
        outcome.leaks = sum(leaks.values())
        outcome.wrong += [f"{packets} packets: {what}" for what, packets in leaks.items()]
        return outcome

    def _stand(self, kind: Kind, at: float, struck: frozenset[str]) -> None:
        """Let a fault stand for its time; longer where the machine is too slow for what must come of it."""
        time.sleep(max(0.0, at + kind.seconds - time.monotonic()))
        ends_at = at + kind.seconds * self._slack
        window = Window(at, ends_at, ends_at, struck)
        while kind.resets == "must" and time.monotonic() < ends_at:
            records = [one.read() for one in self.load.of(frozenset(ENABLED))]
            if not any(_lasting(kind, window, record, one)[1] for record in records for one in LASTING):
                return
            time.sleep(0.1)

    def _targets(self, kind: Kind) -> tuple[list[str], frozenset[str]]:
        """Choose what to strike: what it is called in the lab, and its public addresses if it is a gateway."""
        if kind.where == "control":
            return [""], frozenset()
        if kind.where == "node":
            return [self.dice.choice(NODE_NAMES)], frozenset()
        # One that is in use, or nothing would come of it.
        victim = self.dice.choice(self.load.of(frozenset(ENABLED)))
        address = victim.address()
        droplets = {one["public_address"]: f"droplet-{one['id']}" for one in self.system.lab.status()["droplets"]}
        pair = {gateway["public_address"] for gateway in rows.pairs(self._state, ENABLED)[victim.app]}
        chosen = [address] if kind.where == "gateway" else [address, *sorted(pair - {address})]
        return [droplets[one] for one in chosen], frozenset(chosen)

    def wait_well(self, reported_after: datetime = EVER) -> None:
        """Wait until each pair has two gateways, ready, and healthy to everybody, and all traffic gets through."""
        wrong: list[str] = []

        def well() -> bool:
            wrong[:] = rows.unwell(self._state, ENABLED, reported_after=reported_after)
            return not wrong

        try:
            wait_for("all is well", well, RECOVERY_SECONDS)
        except AssertionError:
            raise AssertionError(f"after {RECOVERY_SECONDS} s still: {'; '.join(wrong)}") from None
        for app, gateways in rows.pairs(self._state, ENABLED).items():
            self.addresses[app] |= {gateway["public_address"] for gateway in gateways}
        self.load.wait_steady()

    def leaks(self, mark: str) -> dict[str, int]:
        """Return what left by an address that isn't its app's since `mark`: packets, by what they did."""
        observed = self.system.lab.observed(mark)
        allowed = {**self.addresses, NEIGHBOUR: SHARED}
        owner = {destination: app for app, destination in self.load.destinations.items()}
        found: dict[str, int] = {"packets that couldn't be told apart": observed.missed} if observed.missed else {}
        for flow in observed.flows:
            app = owner.get(flow.destination)
            if app and flow.source not in {*allowed[app], ROUTER}:
                found[f"{app} {flow.direction} as {flow.source} ({flow.protocol})"] = flow.packets
        return found

    def ending(self) -> list[str]:
        """Return what is wrong at the end: anything but two gateways for each enabled app."""
        wait_for("nothing stands any more", lambda: not self.system.lab.struck(), 30)
        self.wait_well()
        droplets = {one["public_address"] for one in self.system.lab.status()["droplets"]}
        pairs = [one["public_address"] for pair in rows.pairs(self._state, ENABLED).values() for one in pair]
        wrong = [f"an orphan at the provider: {address}" for address in sorted(droplets - set(pairs))]
        wrong += [f"no Droplet has the address {address}" for address in sorted(set(pairs) - droplets)]
        return wrong if len(pairs) == 2 * len(ENABLED) else [*wrong, f"{len(pairs)} gateways: {pairs}"]

    def run(self, kinds: Sequence[Kind]) -> dict[str, Any]:
        """Strike with these, one after the other; returns the outcomes and what is wrong at the end."""
        outcomes = []
        for number, kind in enumerate(kinds, 1):
            outcome = self.strike(kind)
            outcomes.append(outcome)
            self._say(f"{number}/{len(kinds)} {kind.name}: " + ("; ".join(outcome.wrong) or "as it should be"))
        return {"faults": [asdict(outcome) for outcome in outcomes], "ending": self.ending()}


def draw(dice: random.Random, kinds: Sequence[Kind], count: int) -> list[Kind]:
    """Return `count` of `kinds`, reshuffled whenever all are used up."""
    chosen: list[Kind] = []
    while len(chosen) < count:
        chosen += dice.sample(kinds, min(len(kinds), count - len(chosen)))
    return chosen


def judge(kind: Kind, target: str, window: Window, measured: Sequence[Measured], *, slack: float = 1) -> Outcome:
    """Say what became of the load while a fault stood, and what should not have."""
    records = {one.where: one.read() for one in measured}
    each = {where: longest(gaps(_attempts(record, window), window.at)) for where, record in records.items()}
    gap = longest((window.at, length) for length in each.values())
    wrong: list[str] = []
    for where, length in each.items():
        if length is None:
            wrong.append(f"{where}: new connections had found no way again when all was said to be well")
        elif kind.gap_seconds is not None and length > kind.gap_seconds * slack:
            wrong.append(f"{where}: new connections found no way for {length:.1f} s")
    ends: dict[str, float] = {}
    count = 0
    for where, record in records.items():
        for one in LASTING:
            ended, said = _lasting(kind, window, record, one)
            wrong += [f"{where}, {one} connection: {what}" for what in said]
            count += len(ended)
            ends |= {f"{where}, {one}": round(ended[0], 3)} if ended else {}
    return Outcome(
        fault=kind.name,
        target=target,
        gap_seconds=None if gap is None else round(gap, 3),
        resets=count,
        reset_seconds=max(ends.values(), default=None),
        udp_silence_seconds=round(
            max(silence(record.signs, "udp", window.at, window.over_at) for record in records.values()), 3
        ),
        leaks=0,
        recovery_seconds=round(window.over_at - window.healed_at, 1),
        began_at=round(time.time() - time.monotonic() + window.at, 3),
        ended=ends,
        gaps={where: None if length is None else round(length, 3) for where, length in each.items()},
        wrong=wrong,
    )


def _attempts(record: Record, window: Window) -> list[Any]:
    return [attempt for attempt in record.attempts if attempt.at <= window.over_at]


def _lasting(kind: Kind, window: Window, record: Record, which: str) -> tuple[list[float], list[str]]:
    """Return when a lasting connection was reset, counted from the fault, and what is wrong with that."""
    signs = [sign for sign in record.signs if sign.kind == which and sign.at <= window.over_at]
    over_struck = on_gateway(signs, which, window.at) in window.struck
    ended = resets(signs, window.at)
    after = [sign.at - window.at for sign in ended]
    wrong = []
    if ended and not (over_struck and kind.resets != "none"):
        wrong.append(f"ended ({ended[0].reason}) after {after[0]:.1f} s, and had no reason to")
    if over_struck and kind.resets == "must" and not (ended and ended[0].at < window.healed_at):
        wrong.append("was left hanging over a dead gateway")
    return after, wrong


__all__ = ["KINDS", "Outcome", "Suite", "Window", "judge"]
