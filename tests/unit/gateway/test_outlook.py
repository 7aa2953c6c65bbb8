"""How a gateway judges its own way out: by rounds; the worse may count at once, the better never does."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress.gateway.outlook import BUSY_PACKETS, INTERNET_ROUNDS, NEXT_HOP_MISSES, STEADY_LOOKS, Outlook, Streak

HEARD, MISSED = {"1.1.1.1": True, "9.9.9.9": False}, {"1.1.1.1": False, "9.9.9.9": False}


def next_hop(outlook: Outlook, answers: str, *, packets: int = 0) -> bool:
    """Take in answers ("+") and misses ("-"); returns whether the link counts as good then."""
    for answer in answers:
        outlook.asked_next_hop(answered=answer == "+", packets=packets)
    return outlook.view.link


def test_what_was_never_looked_at_is_well() -> None:
    view = Outlook().view
    assert (view.link, view.internet, dict(view.targets)) == (True, True, {})


def test_a_lost_carrier_counts_at_once_and_a_found_one_after_two_steady_seconds() -> None:
    outlook = Outlook()
    outlook.looked(carrier=False)
    assert not outlook.view.link
    for _ in range(STEADY_LOOKS - 1):
        outlook.looked(carrier=True)
    assert not outlook.view.link
    outlook.looked(carrier=True)
    assert outlook.view.link


def test_a_next_hop_is_lost_after_some_misses_in_a_row_and_back_after_many_answers() -> None:
    outlook = Outlook()
    assert next_hop(outlook, "+" + "-" * (NEXT_HOP_MISSES - 1) + "+" + "-" * (NEXT_HOP_MISSES - 1))
    assert not next_hop(outlook, "-")
    assert not next_hop(outlook, "+" * (STEADY_LOOKS - 1) + "-" + "+" * (STEADY_LOOKS - 1))
    assert next_hop(outlook, "+")


def test_a_next_hop_that_never_answered_isnt_judged() -> None:
    assert next_hop(Outlook(), "-" * 100)


def test_a_busy_line_proves_the_next_hop_and_a_calm_one_doesnt() -> None:
    outlook = Outlook()
    assert next_hop(outlook, "+" + "-" * 50, packets=BUSY_PACKETS)
    assert not next_hop(outlook, "-" * NEXT_HOP_MISSES, packets=BUSY_PACKETS - 1)


def test_a_good_next_hop_doesnt_make_up_for_a_lost_carrier_nor_the_other_way_round() -> None:
    outlook = Outlook()
    outlook.looked(carrier=False)
    assert not next_hop(outlook, "+" * 100)
    outlook = Outlook()
    next_hop(outlook, "+" + "-" * NEXT_HOP_MISSES)
    for _ in range(100):
        outlook.looked(carrier=True)
    assert not outlook.view.link


def test_one_target_is_enough_and_none_in_three_rounds_is_the_internet_lost() -> None:
    outlook = Outlook()
    for _ in range(10):
        outlook.asked_targets(HEARD)
    assert outlook.view.targets == HEARD
    for _ in range(INTERNET_ROUNDS - 1):
        outlook.asked_targets(MISSED)
    assert outlook.view.internet
    outlook.asked_targets(MISSED)
    assert not outlook.view.internet
    assert outlook.view.targets == MISSED


def test_no_targets_no_opinion() -> None:
    outlook = Outlook()
    for _ in range(10):
        outlook.asked_targets({})
    assert outlook.view.internet


def test_other_targets_begin_anew_and_leave_what_is_known_of_the_link() -> None:
    outlook = Outlook()
    next_hop(outlook, "+" + "-" * NEXT_HOP_MISSES)
    for _ in range(INTERNET_ROUNDS):
        outlook.asked_targets(MISSED)
    outlook.forget_targets()
    assert (outlook.view.link, outlook.view.internet, dict(outlook.view.targets)) == (False, True, {})


@pytest.mark.parametrize("pattern", ["+-", "++-", "--+", "+--"])
def test_a_target_that_comes_and_goes_changes_nothing(pattern: str) -> None:
    for before in (True, False):
        outlook = Outlook()
        for _ in range(INTERNET_ROUNDS):
            outlook.asked_targets(HEARD if before else MISSED)
        for answer in itertools.islice(itertools.cycle(pattern), 60):
            outlook.asked_targets(HEARD if answer == "+" else MISSED)
            assert outlook.view.internet == before


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 6), st.integers(1, 6))
def test_a_streak_turns_only_after_as_many_rounds_in_a_row_as_asked_for(
    rounds: list[bool], bad_after: int, good_after: int
) -> None:
    streak = Streak(bad_after=bad_after, good_after=good_after)
    for number, well in enumerate(rounds):
        before = streak.good
        streak.count(well=well)
        if streak.good != before:
            needed = good_after if streak.good else bad_after
            assert rounds[: number + 1][-needed:] == [streak.good] * needed
