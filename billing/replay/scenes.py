"""What a plot is made of: plain values, told in the order of time. No rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple


class Kind(Enum):
    """What happens in a scene."""

    ENABLE = "enable"
    FAIL = "fail"
    RETRY = "retry"
    #: Both gateways are ready: nodes are told. Who waits for a cut-over stays there until ACTIVATE.
    READY = "ready"
    ACTIVATE = "activate"
    #: Disabled; what is held may be taken back.
    DISABLE = "disable"
    HOLD = "hold"
    RESUME = "resume"
    DRAIN = "drain"
    #: Back from draining.
    REROUTE = "reroute"
    RELEASE = "release"
    RELEASED = "released"
    #: A new gateway is made beside the old one, then takes its slot.
    REPLACE = "replace"
    REPLACED = "replaced"
    #: A node begins, or ends, to have containers of an app.
    CARRY = "carry"
    REST = "rest"
    #: A node is heard, and tells of the pivots that it has buffered.
    REPORT = "report"
    #: A gateway tells its counter.
    COUNT = "count"
    PRICE = "price"
    TERMS = "terms"
    CREDIT = "credit"


class Turn(NamedTuple):
    """One pivot of a node: from `at` on the pair of an app's life had no gateway there, or had one again."""

    at: datetime
    app: int
    life: int
    out: bool
    #: The node's own count.
    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One thing that happens. What it isn't about is left at -1."""

    at: datetime
    kind: Kind
    app: int = -1
    #: The how many-th time that the app is enabled, from 0 on: an assignment.
    life: int = -1
    slot: int = -1
    node: int = -1
    team: int = -1
    turns: Sequence[Turn] = ()
    #: Of a counter: which boot it counts since, and how many bytes.
    boot: str = ""
    bytes: int = 0
    #: Of prices, terms and credits: what their services are given.
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A whole history: `nodes` nodes, and all scenes in order, from `begin` up to `end`."""

    begin: datetime
    end: datetime
    apps: int
    teams: int
    nodes: int
    scenes: Sequence[Scene]

    def team_of(self, app: int) -> int:
        """Return the team that an app belongs to."""
        return app % self.teams
