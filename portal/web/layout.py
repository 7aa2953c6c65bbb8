"""Where the boxes of the picture stand, and how lines run between them. Pure geometry.

Lengths are SVG user units, which are CSS pixels at the drawing's natural width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle."""

    x: int
    y: int
    w: int
    h: int

    @property
    def middle(self) -> int:
        """Its horizontal middle."""
        return self.x + self.w // 2

    @property
    def centre(self) -> int:
        """Its vertical middle."""
        return self.y + self.h // 2

    @property
    def half_height(self) -> int:
        """What rounds its ends fully."""
        return self.h // 2

    @property
    def right(self) -> int:
        """Its right edge."""
        return self.x + self.w

    @property
    def bottom(self) -> int:
        """Its lower edge."""
        return self.y + self.h


class Layout(Protocol):
    """Where things stand, and how lines run between them."""

    @property
    def width(self) -> int:
        """The drawing's width."""
        ...

    @property
    def name_length(self) -> int:
        """How many characters of a node's name fit."""
        ...

    def place(self, nodes: int) -> tuple[list[Box], list[Box], Box, int]:
        """Return the boxes of the nodes, of the two gateways and of the internet, and the drawing's height."""
        ...

    def to_gateway(self, node: Box, gateway: Box) -> str:
        """Return the path from a node to a gateway."""
        ...

    def to_world(self, gateway: Box, world: Box) -> str:
        """Return the path from a gateway to the internet."""
        ...

    def shared(self, node: Box, gateways: Sequence[Box], world: Box) -> str:
        """Return the path from a node to the internet that passes by the gateways."""
        ...


@dataclass(frozen=True, slots=True)
class Wide:
    """Left to right."""

    width: int = 680
    name_length: int = 20

    def place(self, nodes: int) -> tuple[list[Box], list[Box], Box, int]:
        """Put nodes left, gateways in the middle, the internet right, each column centred; a lane runs below."""
        height = max(nodes, 2) * 88 + 24
        middle = (height - 24) // 2
        top = middle - (nodes * 88 - 16) // 2
        node_boxes = [Box(x=1, y=top + 88 * i, w=168, h=72) for i in range(nodes)]
        gateways = [Box(x=256, y=middle - 80 + 88 * slot, w=208, h=72) for slot in (0, 1)]
        return node_boxes, gateways, Box(x=567, y=middle - 56, w=112, h=112), height

    def to_gateway(self, node: Box, gateway: Box) -> str:
        """Curve between facing edges."""
        x, y, u, v = node.right, node.centre, gateway.x, gateway.centre
        bend = (u - x) // 2
        return f"M{x} {y}C{x + bend} {y} {u - bend} {v} {u} {v}"

    def to_world(self, gateway: Box, world: Box) -> str:
        """Curve into the circle's left edge, a little apart from the other."""
        x, y = gateway.right, gateway.centre
        v = world.centre + (-6 if y < world.centre else 6)
        bend = (world.x - x) // 2
        return f"M{x} {y}C{x + bend} {y} {world.x - bend} {v} {world.x} {v}"

    def shared(self, node: Box, gateways: Sequence[Box], world: Box) -> str:
        """Go down into the lane below the gateways, along it, and up into the circle."""
        x, y, lane = node.right, node.centre, gateways[-1].bottom + 20
        turn = x + 44
        return (
            f"M{x} {y}C{turn} {y} {turn - 20} {lane} {turn + 44} {lane}"
            f"H{world.x - 24}C{world.middle} {lane} {world.middle} {lane} {world.middle} {world.bottom}"
        )


@dataclass(frozen=True, slots=True)
class Upright:
    """Top to bottom."""

    width: int = 288
    name_length: int = 16

    def place(self, nodes: int) -> tuple[list[Box], list[Box], Box, int]:
        """Put nodes above in rows of two, the gateways below them side by side, the internet at the foot."""
        columns = (78,) if nodes == 1 else (1, 155)
        node_boxes = [Box(x=columns[i % 2], y=1 + 88 * (i // 2), w=132, h=72) for i in range(nodes)]
        top = node_boxes[-1].bottom + 56
        gateways = [Box(x=(1, 155)[slot], y=top, w=132, h=88) for slot in (0, 1)]
        world = Box(x=64, y=top + 88 + 56, w=160, h=44)
        return node_boxes, gateways, world, world.bottom + 1

    def to_gateway(self, node: Box, gateway: Box) -> str:
        """Curve between facing edges; what lies between is drawn over the line."""
        x, y, u, v = node.middle, node.bottom, gateway.middle, gateway.y
        bend = v - 28
        return f"M{x} {y}V{v - 56}C{x} {bend} {u} {bend} {u} {v}"

    def to_world(self, gateway: Box, world: Box) -> str:
        """Curve into the upper edge, a little apart from the other."""
        x, y = gateway.middle, gateway.bottom
        u = world.middle + (-24 if x < world.middle else 24)
        bend = (world.y - y) // 2
        return f"M{x} {y}C{x} {y + bend} {u} {world.y - bend} {u} {world.y}"

    def shared(self, node: Box, gateways: Sequence[Box], world: Box) -> str:
        """Go down through the gap between the gateways."""
        x, y, u, v = node.middle, node.bottom, world.middle, gateways[0].y
        return f"M{x} {y}V{v - 56}C{x} {v - 28} {u} {v - 28} {u} {v}V{world.y}"


WIDE, UPRIGHT = Wide(), Upright()
