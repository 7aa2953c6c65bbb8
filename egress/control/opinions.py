"""Merge what a gateway says of itself with what nodes say of it, into one finding in words. Pure.

One node's word changes nothing for others: against a gateway that says it is well it takes two nodes, and more than
`share` percent of those that say anything; for one that is silent, more than one where three others contradict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from .models import Health
from .models_health import Finding

#: For a single node's word to count for nothing it takes so many against it.
CONTRADICTING: Final = 3
UNHEALTHY: Final = frozenset({Finding.DEAD, Finding.SILENT, Finding.SICK, Finding.CUT_OFF})
#: How nodes' reasons read, in `egress.wire.messages.Reason`.
_WORDS: Final = {
    "silent": "hear nothing from it",
    "dead": "reset its connections",
    "not_forwarding": "were told that it doesn't forward",
    "no_link": "were told that its link is down",
    "no_internet": "were told that it has no internet",
    "leaving": "were told that it shuts down",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What a gateway says of itself."""

    #: It reported since its system was laid; before, nobody knows anything.
    heard: bool
    #: Its last report is no older than the silence that is allowed.
    fresh: bool
    forwarding: bool = True
    link: bool = True
    internet: bool = True
    detail: str = ""
    #: When it reported last, in words.
    last: str = "it started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """What the live nodes with fresh reports say of one gateway; those that say nothing aren't counted."""

    good: int = 0
    bad: int = 0
    #: {reason: how many of the bad}
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def all(self) -> int:
        """How many say anything."""
        return self.good + self.bad

    @property
    def see_it_work(self) -> bool:
        """Say whether any node sees it work; one alone isn't believed where several contradict."""
        return self.good > 1 or (self.good == 1 and self.bad < CONTRADICTING)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is the matter, and why we think so."""

    finding: Finding
    reason: str = ""

    @property
    def health(self) -> Health:
        """The health that the finding makes."""
        if self.finding is Finding.UNKNOWN:
            return Health.UNKNOWN
        return Health.UNHEALTHY if self.finding in UNHEALTHY else Health.HEALTHY


def merge(own: Own, nodes: Nodes, *, share: int, targets_at_fault: bool = False) -> Opinion:
    """Return the one finding. `targets_at_fault`: its peer, or many in its cluster, have lost the internet as well."""
    if not own.heard:
        return Opinion(Finding.UNKNOWN)
    if not own.fresh:
        return _of_a_silent_one(own, nodes, share)
    trouble = _own_trouble(own, targets_at_fault=targets_at_fault)
    if trouble:
        return Opinion(Finding.SICK, _joined(f"by its own word, {trouble}", own.detail))
    # What they have from itself they don't know better.
    against = nodes.bad - (0 if own.internet else nodes.reasons.get("no_internet", 0))
    if against > 1 and against * 100 > share * nodes.all:
        return Opinion(Finding.CUT_OFF, f"{_counted(nodes)}, though it says itself that it works")
    if not own.internet:
        words = "no target in the internet answers it, nor others: the targets or the region are at fault"
        return Opinion(Finding.TARGETS, _joined(words, own.detail))
    if nodes.bad:
        return Opinion(Finding.NETWORK, f"{_counted(nodes)}: a fault of the network or of nodes, not of the gateway")
    return Opinion(Finding.WELL)


def _of_a_silent_one(own: Own, nodes: Nodes, share: int) -> Opinion:
    since = f"no report since {own.last}"
    if not nodes.all:
        return Opinion(Finding.SILENT, since)
    if not nodes.see_it_work:
        return Opinion(Finding.DEAD, f"{since}; {_counted(nodes)}")
    if nodes.bad * 100 >= share * nodes.all:
        return Opinion(Finding.CUT_OFF, f"{since}; {_counted(nodes)}")
    told = f"{nodes.good} of {nodes.all} nodes say that it works: the fault is on our way to it"
    return Opinion(Finding.UNHEARD, f"{since}, but {told}")


def _own_trouble(own: Own, *, targets_at_fault: bool) -> str:
    if not own.forwarding:
        return "it doesn't forward"
    if not own.link:
        return "its public link is down"
    return "" if own.internet or targets_at_fault else "no target in the internet answers it"


def _joined(words: str, detail: str) -> str:
    return f"{words}: {detail}" if detail else words


def _counted(nodes: Nodes) -> str:
    """Say how many nodes have trouble, and which: "3 of 40 nodes can't use it (2 hear nothing from it …)"."""
    told = (f"{count} {_WORDS.get(reason, reason)}" for reason, count in sorted(nodes.reasons.items()))
    why = ", ".join(told)
    return f"{nodes.bad} of {nodes.all} nodes can't use it" + (f" ({why})" if why else "")
