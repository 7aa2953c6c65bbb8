"""When an app was out, from what its nodes said: a minute is a number here."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egress.control.told.outages import Account, Span, outages

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def node(*turns: tuple[int, bool], carried: tuple[tuple[int, int], ...] = ((0, 100),)) -> Account:
    return Account(
        carried=[Span(at(begin), at(end)) for begin, end in carried], turns=[(at(when), out) for when, out in turns]
    )


def out(*accounts: Account, begin: int = 0, end: int = 100) -> list[tuple[int, int]]:
    spans = outages(accounts, at(begin), at(end))
    return [((a - BEGIN) // timedelta(minutes=1), (b - BEGIN) // timedelta(minutes=1)) for a, b in spans]


def test_a_node_that_says_nothing_had_its_gateway() -> None:
    assert out(node()) == []
    assert out() == [], "nor is there an outage where nobody carries the app"


def test_the_only_node_is_out_between_its_turns() -> None:
    assert out(node((10, True), (20, False), (50, True), (60, False))) == [(10, 20), (50, 60)]


def test_turns_from_none_to_none_are_one_outage() -> None:
    assert out(node((10, True), (12, True), (20, False))) == [(10, 20)]


def test_one_that_has_not_ended_lasts_as_far_as_the_node_was_heard() -> None:
    assert out(node((10, True), carried=((0, 40),))) == [(10, 40)]


def test_one_node_cut_off_alone_is_no_outage_of_the_app() -> None:
    assert out(node((10, True), (20, False)), node()) == []
    assert out(node((10, True), (20, False)), node((15, True), (30, False))) == [(15, 20)]


def test_a_node_without_containers_of_the_app_has_no_say() -> None:
    elsewhere = node((0, False), carried=((60, 100),))
    assert out(node((10, True), (20, False)), elsewhere) == [(10, 20)]
    assert out(node((10, True), (20, False), (70, True), (80, False)), elsewhere) == [(10, 20)]


def test_a_node_that_fell_silent_is_neither_out_nor_served() -> None:
    silent = node(carried=((0, 15),))
    assert out(node((10, True), (30, False)), silent) == [(15, 30)]
    assert out(silent) == []


def test_what_is_asked_for_bounds_what_is_told() -> None:
    assert out(node((10, True), (30, False)), begin=15, end=20) == [(15, 20)]
    assert out(node((10, True), (30, False)), begin=30, end=40) == []


minutes = st.integers(0, 60)
accounts = st.lists(
    st.builds(
        lambda turns, spans: node(
            *[(when, lost) for when, lost in sorted(turns.items())],
            carried=tuple((min(a, b), max(a, b)) for a, b in spans),
        ),
        st.dictionaries(minutes, st.booleans(), max_size=6),
        st.lists(st.tuples(minutes, minutes), max_size=3),
    ),
    max_size=4,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(accounts)
def test_minute_by_minute_it_is_what_the_definition_says(several: list[Account]) -> None:
    expected = set()
    for minute in range(60):
        moment = at(minute)
        carrying = [each for each in several if any(a <= moment < b for a, b in each.carried)]
        states = [([lost for when, lost in each.turns if when <= moment] or [False])[-1] for each in carrying]
        if states and all(states):
            expected.add(minute)
    found = out(*several, end=60)
    assert {minute for begin, end in found for minute in range(begin, end)} == expected
    assert all(first[1] < second[0] for first, second in itertools.pairwise(found)), "apart, in order"
