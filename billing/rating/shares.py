"""Share a whole number out by weights, so that the shares add up. Pure."""

from collections.abc import Sequence
from fractions import Fraction


def share_out(whole: int, weights: Sequence[int | Fraction]) -> list[int]:
    """Return `whole` in shares that are within one of their exact size. All of it is the last's where no weight is."""
    total = sum(weights)
    if not total:
        return [0] * (len(weights) - 1) + [whole] if weights else []
    shares: list[int] = []
    reached: int | Fraction = 0
    for weight in weights:
        reached += weight
        shares.append(whole * reached // total - sum(shares))
    return shares
