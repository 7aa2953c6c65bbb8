"""What a ledger lacks: the difference between what should be in it and what its rows add up to. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class Key(NamedTuple):
    """One slot's hour."""

    assignment_id: UUID
    slot: int
    hour: datetime


class Booked(NamedTuple):
    """What the rows of one key add up to, and the sequence that the next one gets."""

    amounts: tuple[int, ...]
    next_sequence: int


class Difference(NamedTuple):
    """One key whose rows don't add up to what was used."""

    key: Key
    wanted: tuple[int, ...]
    booked: tuple[int, ...]
    next_sequence: int

    @property
    def amounts(self) -> tuple[int, ...]:
        """What a row must add."""
        return tuple(wanted - booked for wanted, booked in zip(self.wanted, self.booked, strict=True))


def differences(wanted: Mapping[Key, tuple[int, ...]], booked: Mapping[Key, Booked], width: int) -> list[Difference]:
    """Return where `booked` differs from `wanted`; a missing key stands for `width` zeros."""
    nothing = (0,) * width
    unbooked = Booked(nothing, 0)
    found = []
    for key in {**wanted, **booked}:
        due, there = wanted.get(key, nothing), booked.get(key, unbooked)
        if due != there.amounts:
            found.append(Difference(key, due, there.amounts, there.next_sequence))
    return found
