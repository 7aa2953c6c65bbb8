"""Spread a line's money over the hours that it is for, so that every grain adds up to it. Pure, whole numbers only."""

from collections.abc import Iterable, Iterator

#: Amounts in exports have six decimals: a ten-thousandth of a cent, so that an hour shows what it cost.
DECIMALS = 6
PER_UNIT = 10**DECIMALS
PER_CENT = PER_UNIT // 100


def spread(amount: int, weights: Iterable[int]) -> Iterator[int]:
    """Yield each weight's share of `amount`; `weights` aren't negative and have a positive sum.

    After each share what was given so far is the amount's part for the weight so far, rounded down. So a share is less
    than 1 away from the exact one, all shares together are the amount, and the share of a day is the sum of its hours'.
    """
    weights = tuple(weights)
    whole, passed, given = sum(weights), 0, 0
    for weight in weights:
        passed += weight
        due = amount * passed // whole
        yield due - given
        given = due
