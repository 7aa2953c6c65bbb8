"""How the bits of the packet mark that are ours are laid out, and who gets which value.

Inside `mark_mask`: 0 is "not looked at", 1 .. `last` are gateways, `shared` says "looked at, takes the shared path",
`unrouted` marks IPv6 packets that came from a pod with dedicated egress.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .errors import DataplaneError

#: Policy rules and route tables come in ranges of 4096; the last few places are kept for the guard.
_LAST_PLACE = 4_090
_LEAST_BITS = 3


@dataclass(frozen=True, slots=True)
class MarkLayout:
    """The values that fit under `mask`, a contiguous run of bits in a 32-bit mark."""

    mask: int

    def __post_init__(self) -> None:
        top = self.mask // (self.mask & -self.mask or 1)
        if not 0 < self.mask < 1 << 32 or top & (top + 1) or self.mask.bit_count() < _LEAST_BITS:
            raise DataplaneError(
                f"mark mask {self.mask:#x} is no contiguous run of at least {_LEAST_BITS} bits: "
                "correct the cluster's settings"
            )

    @property
    def keep(self) -> int:
        """The bits that are other programs'."""
        return ~self.mask & 0xFFFFFFFF

    @property
    def unrouted(self) -> int:
        """The mark of IPv6 packets that pods with dedicated egress sent."""
        return self.mask

    @property
    def shared(self) -> int:
        """The mark of packets that take the shared path rightly."""
        return self.mask - (self.mask & -self.mask)

    @property
    def last(self) -> int:
        """The highest number that a gateway can have."""
        return min(self.mask // (self.mask & -self.mask) - 2, _LAST_PLACE)

    def value(self, number: int) -> int:
        """Return the mark of gateway `number`."""
        return number * (self.mask & -self.mask)

    def number(self, mark: int) -> int:
        """Return the gateway's number in `mark`, 0 for none."""
        return (mark & self.mask) // (self.mask & -self.mask)


def allocate(
    held: Mapping[str, int], wanted: Collection[str], bearing: Collection[int], layout: MarkLayout
) -> dict[str, int]:
    """Return `held` plus a number for each gateway of `wanted`: the lowest that no gateway has and no connection bears.

    Raises DataplaneError when there are none left.
    """
    numbers = dict(held)
    taken = set(held.values()) | set(bearing)
    free = (number for number in range(1, layout.last + 1) if number not in taken)
    for gateway in sorted(set(wanted) - set(held)):
        number = next(free, None)
        if number is None:
            raise DataplaneError(
                f"no mark left for gateway {gateway}: {layout.last} fit under {layout.mask:#x}; "
                "widen the cluster's mark mask"
            )
        numbers[gateway] = number
    return numbers
