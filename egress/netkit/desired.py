"""What the agent asks of the data plane: plain values, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from egress.wire.messages import ClusterSettings, Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One container's place on this node, as CNI's result tells it."""

    address: str
    namespace: str
    container_id: str
    #: The host's end of its veth: its own on ptp, the bridge's port on a bridge network; "" where there is none.
    interface: str
    #: The bridge that `interface` is a port of; "" on ptp.
    bridge: str = ""
    mac: str = ""
    netns: str = ""

    @property
    def steerable(self) -> bool:
        """Whether its packets can be told from others'."""
        return bool(self.address and self.interface)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """All that should hold on this node. `routes` go by namespace, `pods` by address."""

    settings: ClusterSettings
    private_interface: str
    private_address: str
    ordinal: int
    routes: Mapping[str, Route]
    pods: Mapping[str, Pod]
    #: Gateways (by id) that the prober holds for unusable: no new connections go there.
    suspect: frozenset[str] = frozenset()
    #: Those of them whose connections can't go on: they lose their mark, and all that bears it is ended or moved.
    dead: frozenset[str] = frozenset()
    #: Gateways that came back lately, the one that did first before the others: taken only where no other can be.
    resting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the data plane found when it had done its work."""

    #: Connections that haven't ended on each gateway, by the gateway's id. Counted anew whenever their end is waited
    #: for, and at every full look.
    flows: Mapping[str, int] = field(default_factory=dict)
    #: What was found altered from outside and was put right, in words.
    repaired: tuple[str, ...] = ()
    #: What an operator should see to: this data plane works round it, or can't, in words.
    warnings: tuple[str, ...] = ()
    #: When the data plane must be called again, for something falls due: in so many seconds. None: nothing does.
    again_seconds: float | None = None
