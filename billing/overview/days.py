"""Which days of a month an amount is for. Pure."""

from collections.abc import Sequence


def chargeable_by_day(used: Sequence[int], free: int, charged: int) -> list[int]:
    """Return how many of each day's `used` seconds were charged: none of the first `free`, then `charged`, no more.

    [] where none was.
    """
    shares = []
    for seconds in used:
        gratis = min(seconds, free)
        paid = min(seconds - gratis, charged)
        free, charged = free - gratis, charged - paid
        shares.append(paid)
    return shares if any(shares) else []


def shared_out(amount: int, weights: Sequence[int]) -> list[int]:
    """Share `amount` out by `weights`, none negative: whole numbers that add up to it, each within 1 of the exact."""
    whole, passed, given = sum(weights), 0, 0
    shares = []
    for weight in weights:
        passed += weight
        due = amount * passed // whole if whole else 0
        shares.append(due - given)
        given = due
    return shares
