"""Judge a gateway's way out from what each look and each round of questions brought: pure, and slow to change its mind.

Rounds are counted, not seconds: an agent that was kept from running, or a VM that stood still, missed one round only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: A look is taken every 100 ms: see `lookout`. A lost carrier counts at once, a next hop that misses so many questions
#: in a row is lost, and either counts as back only after 2 s without fault.
NEXT_HOP_MISSES = 5
STEADY_LOOKS = 20
#: Rounds of questions to the targets, one a second: lost when none answered in so many, back when one did in each of
#: so many.
INTERNET_ROUNDS = 3
#: So many packets received since the last look prove the next hop as well as its answer does: on a line that busy,
#: questions get lost. Broadcasts among neighbours don't come in such numbers.
BUSY_PACKETS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a gateway sees of its way out; `targets` has the latest round's answers."""

    link: bool = True
    internet: bool = True
    targets: Mapping[str, bool] = field(default_factory=dict)


class Streak:
    """Good until `bad_after` rounds in a row went wrong; then bad until `good_after` in a row went well."""

    def __init__(self, *, bad_after: int, good_after: int) -> None:
        self._bad_after = bad_after
        self._good_after = good_after
        self._against = 0
        self.good = True

    def count(self, *, well: bool) -> None:
        """Take in one round."""
        self._against = self._against + 1 if well != self.good else 0
        if self._against >= (self._bad_after if self.good else self._good_after):
            self.good, self._against = well, 0


class Outlook:
    """One way out, from the first look at it on. What was never heard, or isn't asked, speaks against nothing."""

    def __init__(self) -> None:
        self._carrier = Streak(bad_after=1, good_after=STEADY_LOOKS)
        self._next_hop = Streak(bad_after=NEXT_HOP_MISSES, good_after=STEADY_LOOKS)
        self._next_hop_known = False
        self.forget_targets()

    def forget_targets(self) -> None:
        """Begin anew with the internet, as others are asked from now on."""
        self._internet = Streak(bad_after=INTERNET_ROUNDS, good_after=INTERNET_ROUNDS)
        self._targets: Mapping[str, bool] = {}

    @property
    def view(self) -> View:
        """Return the judgement so far."""
        link = self._carrier.good and self._next_hop.good
        return View(link=link, internet=self._internet.good, targets=self._targets)

    def looked(self, *, carrier: bool) -> None:
        """Take in whether the public interface is up and has a carrier."""
        self._carrier.count(well=carrier)

    def asked_next_hop(self, *, answered: bool, packets: int) -> None:
        """Take in whether the next hop answered since the last look, and how many packets came in.

        One that never answered isn't judged: not every network has a next hop that does.
        """
        self._next_hop_known = self._next_hop_known or answered
        if self._next_hop_known:
            self._next_hop.count(well=answered or packets >= BUSY_PACKETS)

    def asked_targets(self, answers: Mapping[str, bool]) -> None:
        """Take in which targets answered in a round: one is enough. No targets, no opinion."""
        self._targets = dict(answers)
        if answers:
            self._internet.count(well=any(answers.values()))
