"""The picture of the packets' way: which boxes and lines there are. Pure; a template draws it as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from egress.control.condition import State as PairState
from egress.control.models import AssignmentStatus
from egress.control.models_told import OnOutage
from egress.control.selectors import DedicatedIp, EgressView, NodeView

from .layout import Box, Layout
from .states import State, Tone, gateway_state, serves

#: More nodes than these are counted, not drawn.
MAX_NODES = 4
#: More containers than these are counted, not drawn.
MAX_PODS = 5
POD_STEP = 18
#: A box of at most this width holds nothing but an address in a line.
NARROW = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBox:
    """A node and its containers: squares at `pods` (x of each), `more` where not all are drawn, and all in words."""

    box: Box
    name: str
    pods: tuple[int, ...]
    more: str
    counted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayBox:
    """A gateway; a ghost is one that isn't there yet."""

    box: Box
    name: str
    address: str
    state: State
    ghost: bool

    @property
    def inset(self) -> int:
        """How far from the left edge the address stands: a narrow box has no room to align it with the name."""
        return 30 if self.box.w > NARROW else 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A way for packets. `kind` is live, standby, shared or leaving, and the CSS class."""

    kind: str
    d: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One drawing."""

    width: int
    height: int
    nodes: tuple[NodeBox, ...]
    gateways: tuple[GatewayBox, ...]
    lines: tuple[Line, ...]
    world: Box

    @property
    def kinds(self) -> frozenset[str]:
        """Which kinds of line occur: the legend explains only these."""
        return frozenset(line.kind for line in self.lines)

    @property
    def all_shared(self) -> bool:
        """Whether nothing leaves from the app's own addresses."""
        return "live" not in self.kinds


def draw(view: EgressView, layout: Layout) -> Picture:
    """Lay the view out: nodes with containers, both gateways or their ghosts, and who sends where."""
    nodes = drawn_nodes(view)
    node_boxes, gateway_boxes, world, height = layout.place(max(len(nodes), 1))
    placed = list(zip(nodes, node_boxes, strict=False))
    sending = [(node, box) for node, box in placed if node.containers]
    lines = [line for node, box in sending for line in _inward(view, layout, node, box, gateway_boxes)]
    lines += [_passing(layout, box, gateway_boxes, world) for node, box in sending if _shared(view, node)]
    lines += _outward(view, layout, gateway_boxes, world)
    return Picture(
        width=layout.width,
        height=height,
        nodes=tuple(_node(layout, node, box) for node, box in placed),
        gateways=tuple(_gateway(view, slot, box) for slot, box in enumerate(gateway_boxes)),
        # What is in use lies above what isn't.
        lines=tuple(sorted(lines, key=lambda line: line.kind == "live")),
        world=world,
    )


def drawn_nodes(view: EgressView) -> list[NodeView]:
    """Return the nodes that are drawn: those that run the app's containers, else just one.

    Once all have their gateway they stand by it, so that no lines cross; until then they keep their order.
    """
    busy = [node for node in view.nodes if node.containers]
    drawn = (busy or list(view.nodes[:1]))[:MAX_NODES]
    return sorted(drawn, key=lambda node: node.slot or 0) if all(node.slot is not None for node in drawn) else drawn


def in_use(view: EgressView, node: NodeView) -> int | None:
    """Return the slot of the gateway that a node's new connections take; None is the shared path, or none at all.

    A node whose own gateway is down has moved to the other one.
    """
    usable = [ip.slot for ip in view.ips if serves(view, ip)]
    if node.slot is None or not usable:
        return None
    return node.slot if node.slot in usable else usable[0]


def in_words(view: EgressView) -> str:
    """Say what the picture shows, for those who don't see it."""
    sentences = [_gateway_in_words(view, slot) for slot in (0, 1)] if view.ips else []
    nodes = [node for node in drawn_nodes(view) if node.containers]
    for node in nodes:
        slot = in_use(view, node)
        way = f"gateway {'AB'[slot]}" if slot is not None else "no gateway" if blocked(view) else "shared addresses"
        sentences.append(f"{_counted(node.containers)} on node {node.name} reach the internet through {way}.")
    if not nodes:
        sentences.append("No containers of this app run at the moment.")
    return " ".join([*sentences, hidden_nodes(view)]).strip()


def hidden_nodes(view: EgressView) -> str:
    """Say what the picture leaves out; "" is nothing."""
    hidden = sum(1 for node in view.nodes if node.containers) - MAX_NODES
    return f"{hidden} more node{'' if hidden == 1 else 's'} not drawn." if hidden > 0 else ""


def blocked(view: EgressView) -> bool:
    """Say whether nothing gets out: traffic belongs to the pair, neither gateway can carry it, and that was chosen."""
    out = view.condition is not None and view.condition.state == PairState.OUTAGE
    return out and view.app.on_outage == OnOutage.REJECT


def _gateway_in_words(view: EgressView, slot: int) -> str:
    ip = _at(view.ips, slot)
    if ip is None:
        return ""
    return f"Gateway {ip.gateway}, {ip.ip or 'address not known yet'}: {gateway_state(ip).label.lower()}."


def _counted(containers: int) -> str:
    return f"{containers} container{'' if containers == 1 else 's'}"


def _at(ips: Sequence[DedicatedIp], slot: int) -> DedicatedIp | None:
    return next((ip for ip in ips if ip.slot == slot), None)


def _node(layout: Layout, node: NodeView, box: Box) -> NodeBox:
    drawn = min(node.containers, MAX_PODS)
    name = node.name if len(node.name) <= layout.name_length else node.name[: layout.name_length - 1] + "…"
    return NodeBox(
        box=box,
        name=name,
        pods=tuple(box.x + 12 + POD_STEP * i for i in range(drawn)),
        more="…" if node.containers > drawn else "",
        counted=_counted(node.containers) if node.containers else "no containers",
    )


def _gateway(view: EgressView, slot: int, box: Box) -> GatewayBox:
    ip = _at(view.ips, slot)
    name = f"Gateway {'AB'[slot]}"
    if ip is None:
        return GatewayBox(box=box, name=name, address="", state=State(tone=Tone.OFF, label="Off"), ghost=True)
    return GatewayBox(box=box, name=name, address=ip.ip or "", state=gateway_state(ip), ghost=ip.ip is None)


def _inward(view: EgressView, layout: Layout, node: NodeView, box: Box, gateways: Sequence[Box]) -> list[Line]:
    """Return a node's lines to gateways: the one that it uses, and those that it could or still does."""
    slot = in_use(view, node)
    kinds = ((ip.slot, "live" if ip.slot == slot else _idle_kind(view, ip)) for ip in view.ips)
    return [Line(kind=kind, d=layout.to_gateway(box, gateways[at])) for at, kind in kinds if kind]


def _outward(view: EgressView, layout: Layout, gateways: Sequence[Box], world: Box) -> list[Line]:
    """Return the gateways' lines to the internet: solid where some node uses the gateway."""
    used = {in_use(view, node) for node in view.nodes if node.containers}
    kinds = ((ip.slot, "live" if ip.slot in used else _idle_kind(view, ip)) for ip in view.ips)
    return [Line(kind=kind, d=layout.to_world(gateways[at], world)) for at, kind in kinds if kind]


def _passing(layout: Layout, box: Box, gateways: Sequence[Box], world: Box) -> Line:
    return Line(kind="shared", d=layout.shared(box, gateways, world))


def _shared(view: EgressView, node: NodeView) -> bool:
    return in_use(view, node) is None and not blocked(view)


def _idle_kind(view: EgressView, ip: DedicatedIp) -> str:
    """Return how the line through a gateway that isn't chosen is drawn; "" is not at all."""
    tone = gateway_state(ip).tone
    if ip.ip is None or ip.status == "REMOVED":
        return ""
    if tone == Tone.WARN or (tone == Tone.OK and view.status == AssignmentStatus.DRAINING):
        return "leaving"
    return "standby" if tone == Tone.OK else ""
