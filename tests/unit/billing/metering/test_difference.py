"""What a ledger lacks."""

from datetime import UTC, datetime
from uuid import UUID

from billing.metering.difference import Booked, Key, differences

HOUR = datetime(2026, 3, 1, 10, tzinfo=UTC)


def key(slot: int) -> Key:
    return Key(UUID(int=1), slot, HOUR)


def test_what_is_booked_as_wanted_is_left_alone() -> None:
    assert differences({key(0): (5, 1)}, {key(0): Booked((5, 1), 3)}, 2) == []
    assert differences({key(0): (0, 0)}, {}, 2) == [], "nothing needs no row"
    assert differences({}, {key(0): Booked((0, 0), 2)}, 2) == []


def test_a_difference_is_signed_and_has_the_next_sequence() -> None:
    wanted = {key(0): (3600, 0), key(1): (10, 5)}
    found = differences(wanted, {key(1): Booked((12, 0), 4)}, 2)
    assert [(one.key.slot, one.amounts, one.next_sequence) for one in found] == [(0, (3600, 0), 0), (1, (-2, 5), 4)]


def test_what_is_booked_and_not_wanted_is_taken_off() -> None:
    (found,) = differences({}, {key(0): Booked((7,), 1)}, 1)
    assert (found.amounts, found.next_sequence) == ((-7,), 1)
