"""Judge gateways by rounds of probes: which are suspect, which are dead, which rest. Pure; time is what rounds bring.

Time counts only while this node really listens: a round that came late brings none, nor does one in which all
gateways fell silent at once, for then it is the node that hears nothing.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from egress.wire.messages import Probing, Reason
from egress.wire.probe import Answer

log = logging.getLogger(__name__)
Health = Literal["healthy", "unhealthy", "unknown"]
ANSWERS_TO_RETURN = 5
#: The internet is lost for all, not for a gateway, when so many say so and they are a quarter of those known.
MANY, SHARE = 3, 4


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway to probe; `peer` is its pair's other one, "" for none, and `down` says that it is known to be off."""

    address: str
    peer: str = ""
    down: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the data plane must know of gateways, by id: see `netkit.desired.Wish`."""

    suspect: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    resting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an agent that starts anew must know of a gateway; `boot` is hex, "" before its first answer."""

    reason: Reason | None = None
    dead: bool = False
    boot: str = ""


@dataclass(slots=True)
class Sight:
    """What was seen of one gateway; counts are rounds in a row, times are the judge's own."""

    target: Target
    #: When it was last of use: a good answer, or packets that came back through it.
    sign_at: float
    reason: Reason | None = None
    dead: bool = False
    #: The kernel was told that it is dead; only then may it come back, with another mark.
    buried: bool = False
    judged: bool = False
    boot: str = ""
    missed: int = 0
    answered: int = 0
    #: The round in which the present silence began.
    silent_since: int | None = None
    #: What it says of itself, as of its last answer.
    says: Reason | None = None
    rebooted: bool = False
    #: Until when it rests.
    rests_until: float = 0.0
    #: Packets returned since it is suspect, as last counted.
    returned: int = 0

    @property
    def verdict(self) -> Verdict:
        """Return what is to be kept of it."""
        return Verdict(reason=self.reason, dead=self.dead, boot=self.boot)


def word(answer: Answer) -> Reason | None:
    """Return what keeps new connections off a gateway by its own word, None when it is good."""
    if answer.leaving:
        return "leaving"
    if not answer.forwarding:
        return "not_forwarding"
    if not answer.link:
        return "no_link"
    return None if answer.internet else "no_internet"


def at_fault(sights: Mapping[str, Sight], at_once_rounds: int) -> frozenset[str]:
    """Return the gateways that fell silent at once while no other is heard: it is this node that hears nothing.

    At once: before the first of them was suspect. One that was silent before isn't among them, and one alone only where
    the node knows no other.
    """
    since = {gateway: sight.silent_since for gateway, sight in sights.items()}
    rounds = [number for number in since.values() if number is not None]
    if not rounds or len(rounds) < len(sights):
        return frozenset()
    last = max(rounds)
    group = frozenset(
        gateway for gateway, number in since.items() if number is not None and last - number <= at_once_rounds
    )
    return group if len(group) > 1 or len(sights) == 1 else frozenset()


def spared(sights: Mapping[str, Sight]) -> frozenset[str]:
    """Return the gateways that say they lost the internet, and go on all the same: their targets are at fault.

    So it is when the peer says so too, or a quarter of all.
    """
    lost = frozenset(gateway for gateway, sight in sights.items() if sight.says == "no_internet")
    if len(lost) >= MANY and len(lost) * SHARE >= len(sights):
        return lost
    return frozenset(gateway for gateway in lost if sights[gateway].target.peer in lost)


@dataclass(slots=True)
class Judge:
    """All that a node knows of the gateways that it probes."""

    probing: Probing = field(default_factory=Probing)
    sights: dict[str, Sight] = field(default_factory=dict)
    #: What a former process knew; taken over when the gateway first becomes a target.
    remembered: dict[str, Verdict] = field(default_factory=dict)
    _clock: float = 0.0
    _round: int = 0
    _excused: frozenset[str] = frozenset()

    def follow(self, targets: Mapping[str, Target], probing: Probing) -> None:
        """Judge these gateways, by id, and no others; what is known of one that stays is kept."""
        self.probing = probing
        known, self.sights = self.sights, {}
        for gateway, target in targets.items():
            sight = known.get(gateway)
            if sight is None or sight.target.address != target.address:
                kept = self.remembered.pop(gateway, Verdict())
                sight = Sight(
                    target, self._clock, kept.reason, kept.dead, judged=kept.reason is not None, boot=kept.boot
                )
            sight.target = target
            self.sights[gateway] = sight
            self._settle(gateway, sight)

    def end_round(self, seconds: float, answers: Mapping[str, Answer]) -> None:
        """Judge by the answers of a round that took so long, by gateway."""
        self._round += 1
        self._clock += seconds
        for gateway, sight in self.sights.items():
            _hear(sight, answers.get(gateway), self._round)
        self._excused = at_fault(self.sights, self.probing.misses_to_suspect - 1)
        forgiven = spared(self.sights)
        for gateway, sight in self.sights.items():
            if gateway in self._excused:
                sight.sign_at += seconds
            else:
                self._count(sight, gateway in answers, spared=gateway in forgiven)
                self._settle(gateway, sight)

    def sign_of_life(self, gateway: str) -> None:
        """Take in that the kernel of a silent gateway answers: what it forwards, it may forward still."""
        sight = self.sights[gateway]
        if sight.says != "not_forwarding":
            sight.sign_at = self._clock

    def uneasy(self) -> bool:
        """Tell whether a gateway has missed rounds, and not yet as many as make it suspect."""
        return any(0 < sight.missed < self.probing.misses_to_suspect for sight in self.sights.values())

    def idle(self) -> frozenset[str]:
        """Return the gateways that are of no use and not dead yet: what they return shows whether they live."""
        return frozenset(
            gateway
            for gateway, sight in self.sights.items()
            if gateway not in self._excused and not sight.dead and sight.reason in {"silent", "not_forwarding"}
        )

    def doubted(self) -> frozenset[str]:
        """Return the gateways that are dead unless packets come back through them."""
        return frozenset(gateway for gateway in self.idle() if self._is_due(self.sights[gateway]))

    def take_returned(self, packets: Mapping[str, int]) -> None:
        """Take in how many packets each gateway has returned since it is suspect; who is missing stays in doubt."""
        doubted = self.doubted()
        for gateway in self.idle() & packets.keys():
            sight, count = self.sights[gateway], packets[gateway]
            alive = count not in {0, sight.returned}
            sight.returned = count
            if alive:
                sight.sign_at = self._clock
            elif gateway in doubted:
                self._die(gateway, sight, "nothing came from it or through it any more")

    def take_buried(self, gateways: Collection[str]) -> None:
        """Take in that the connections of these dead gateways were seen to: once well, they may be used again."""
        for gateway in self.dead() & frozenset(gateways):
            self.sights[gateway].buried = True

    # --- what follows from it

    def health(self) -> dict[str, Health]:
        """Return what is to be told of each gateway."""
        known = {
            gateway: sight
            for gateway, sight in self.sights.items()
            if sight.reason or (sight.judged and gateway not in self._excused)
        }
        told: dict[str, Health] = dict.fromkeys(self.sights, "unknown")
        told.update({gateway: "unhealthy" if sight.reason else "healthy" for gateway, sight in known.items()})
        return told

    def reasons(self) -> dict[str, Reason]:
        """Return why, for each gateway that gets no new connections."""
        return {gateway: sight.reason for gateway, sight in self.sights.items() if sight.reason}

    def judgement(self) -> Judgement:
        """Return which gateways get no new connections, whose connections can't go on, and who came back lately.

        The dead are suspect too; of those that rest the first to come back is the first.
        """
        rest = [
            (sight.rests_until, gateway)
            for gateway, sight in self.sights.items()
            if sight.rests_until > self._clock and not sight.reason
        ]
        return Judgement(
            suspect=frozenset(self.reasons()), dead=self.dead(), resting=tuple(gateway for _, gateway in sorted(rest))
        )

    def dead(self) -> frozenset[str]:
        """Return the gateways whose connections can't go on."""
        return frozenset(gateway for gateway, sight in self.sights.items() if sight.dead)

    def verdicts(self) -> dict[str, Verdict]:
        """Return what an agent that starts anew must know."""
        return {gateway: sight.verdict for gateway, sight in self.sights.items()}

    # --- inside a round

    def _count(self, sight: Sight, heard: bool, *, spared: bool) -> None:  # noqa: FBT001 - of two, the plain one
        if not heard:
            sight.missed, sight.answered = sight.missed + 1, 0
            return
        good = sight.says is None or spared
        sight.missed, sight.answered = 0, sight.answered + 1 if good else 0
        if sight.says not in {"not_forwarding", "leaving"}:
            sight.sign_at = self._clock

    def _settle(self, gateway: str, sight: Sight) -> None:
        if sight.target.down and not sight.dead:
            self._die(gateway, sight, "the control plane knows that it is off")
        elif sight.rebooted and not sight.dead:
            self._die(gateway, sight, "it has booted anew")
        sight.rebooted = False
        if sight.missed >= self.probing.misses_to_suspect:
            self._withdraw(gateway, sight, "silent")
        elif sight.silent_since is None and sight.says and not sight.answered and sight.boot:
            self._withdraw(gateway, sight, sight.says)
        elif self._is_well(sight) and (sight.buried or not sight.dead):
            self._welcome(gateway, sight)

    def _is_well(self, sight: Sight) -> bool:
        return not sight.target.down and sight.answered >= (ANSWERS_TO_RETURN if sight.reason else 1)

    def _is_due(self, sight: Sight) -> bool:
        """Tell whether it was of no use for so long that only packets that come back through it speak for it."""
        probing = self.probing
        told = sight.says == "leaving" and sight.missed >= probing.misses_to_suspect
        patience_ms = probing.misses_to_suspect * probing.interval_ms if told else probing.dead_after_ms
        return self._clock - sight.sign_at >= patience_ms / 1000

    def _withdraw(self, gateway: str, sight: Sight, reason: Reason) -> None:
        sight.judged = True
        if sight.dead or sight.reason == reason:
            return
        if sight.reason is None:
            log.warning("gateway %s gets no new connections: %s", gateway, reason)
            sight.returned = 0
        sight.reason = reason

    def _die(self, gateway: str, sight: Sight, why: str) -> None:
        log.warning("gateway %s is dead, its connections are reset: %s", gateway, why)
        sight.judged = sight.dead = True
        sight.reason, sight.answered, sight.buried = "dead", 0, False

    def _welcome(self, gateway: str, sight: Sight) -> None:
        sight.judged = True
        if sight.reason is None:
            return
        log.warning("gateway %s is back", gateway)
        sight.reason, sight.dead = None, False
        sight.rests_until = self._clock + self.probing.hold_down_seconds


def _hear(sight: Sight, answer: Answer | None, number: int) -> None:
    """Take in the answer of round `number`, None for silence."""
    if answer is None:
        sight.silent_since = number if sight.silent_since is None else sight.silent_since
        return
    sight.silent_since, sight.says = None, word(answer)
    boot = answer.boot.hex()
    sight.rebooted = sight.boot not in {"", boot}
    sight.boot = boot
