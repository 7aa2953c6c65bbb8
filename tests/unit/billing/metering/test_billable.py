"""Which seconds are billed: vectors by hand, and an independent model that goes through every second."""

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.metering.billable import DISABLE, ENABLE, STATUS, Fact, Piece, Used, billable, by_hour, overlap, united
from egress.control.models import METERED, AssignmentStatus
from tests.unit.billing.metering.naive import History, Node, used

SECOND = 1_000_000
DAY = Piece(0, 86_400)


def status(at: float, old: str, new: str, number: int = 0) -> Fact:
    return Fact(int(at * SECOND), number or int(at * 1_000) + 1, STATUS, old, new)


def disable(at: float, number: int = 0) -> Fact:
    return Fact(int(at * SECOND), number or int(at * 1_000) + 500_000_000, DISABLE)


def enable(at: float, number: int = 0) -> Fact:
    return Fact(int(at * SECOND), number or int(at * 1_000) + 500_000_000, ENABLE)


def up(at: float) -> list[Fact]:
    """Return the moves of a pair that both gateways of are ready at a time."""
    return [
        status(at - 60, "", "provisioning"),
        status(at, "provisioning", "distributing"),
        status(at + 3, "distributing", "active"),
    ]


def down(at: float) -> list[Fact]:
    return [
        disable(at),
        status(at + 1, "active", "draining"),
        status(at + 90, "draining", "releasing"),
        status(at + 120, "releasing", "released"),
    ]


def within_a_day(facts: list[Fact]) -> list[tuple[int, int]]:
    return [tuple(piece) for piece in overlap(billable(facts), [DAY])]  # type: ignore[misc]


def test_the_facts_that_are_read_are_the_ones_that_count() -> None:
    assert set(METERED) == {STATUS, ENABLE, DISABLE}
    statuses = {str(one) for one in AssignmentStatus}
    assert {"distributing", "active", "draining"} <= statuses


def test_from_ready_to_disable() -> None:
    assert within_a_day([*up(1000), *down(5000)]) == [(1000, 5000)]
    assert within_a_day(up(1000)) == [(1000, 86_400)]
    assert within_a_day([]) == []
    assert within_a_day([*up(1000)[:1], *down(2000)[:1]]) == [], "provisioning is free"


def test_boundaries_are_floored_so_that_neighbours_add_up() -> None:
    first, second = [*up(1000.9), *down(2000.4)], [*up(2000.4), *down(3000.2)]
    assert within_a_day(first) == [(1000, 2000)]
    assert within_a_day(second) == [(2000, 3000)]


def test_a_status_that_leaves_first_ends_it() -> None:
    facts = [*up(1000), status(3000, "active", "draining"), disable(4000)]
    assert within_a_day(facts) == [(1000, 3000)]


def test_time_between_disable_and_undo_is_free() -> None:
    assert within_a_day([*up(1000), disable(2000), enable(2500), disable(4000)]) == [(1000, 2000), (2500, 4000)]
    drained = [status(2001, "active", "draining"), status(2600, "draining", "distributing")]
    assert within_a_day([*up(1000), disable(2000), *drained, enable(2500)]) == [(1000, 2000), (2600, 86_400)]


def test_order_and_repetition_change_nothing() -> None:
    facts = [*up(1000), *down(5000)]
    assert within_a_day([*reversed(facts), *facts, *facts[2:4]]) == [(1000, 5000)]


def test_an_enable_that_is_noted_after_the_adoption_changes_nothing() -> None:
    facts = [status(1000, "", "provisioning", 1), status(1000, "provisioning", "distributing", 2), enable(1000, 3)]
    assert within_a_day(facts) == [(1000, 86_400)]


def test_a_correction_that_dates_the_end_earlier_counts() -> None:
    corrected = status(3000, "active", "draining", 10**10)
    assert within_a_day([*up(1000), *down(5000), corrected]) == [(1000, 3000)]


def test_a_clock_put_back_by_an_hour_neither_bills_for_ever_nor_hides_what_came_after() -> None:
    moves = [
        status(40_000, "", "provisioning", 1),
        status(40_060, "provisioning", "distributing", 2),
        status(36_470, "distributing", "active", 3),
        status(38_000, "active", "draining", 4),
        status(38_090, "draining", "releasing", 5),
        status(38_100, "releasing", "released", 6),
    ]
    assert within_a_day(moves) == [(36_470, 38_000)]
    assert within_a_day(moves[::-1]) == within_a_day(moves)


def test_a_clock_put_forward_bills_by_the_times_that_are_written() -> None:
    moves = [*up(1000), status(9000, "active", "draining"), disable(8999)]
    assert within_a_day(moves) == [(1000, 8999)]


def test_hours_get_their_own_seconds() -> None:
    pieces = [Piece(3500, 7300)]
    assert by_hour(pieces, [], DAY) == {0: Used(100, 0), 3600: Used(3600, 0), 7200: Used(100, 0)}
    assert by_hour(pieces, [], Piece(3600, 7200)) == {3600: Used(3600, 0)}
    assert by_hour(pieces, [Piece(0, 3550), Piece(7000, 9000)], DAY) == {
        0: Used(50, 50),
        3600: Used(3400, 200),
        7200: Used(0, 100),
    }
    assert by_hour([Piece(0, 10), Piece(20, 30)], [Piece(5, 25)], DAY) == {0: Used(10, 10)}


def test_pieces_that_touch_are_one() -> None:
    assert united([Piece(5, 9), Piece(1, 5), Piece(9, 9), Piece(20, 30), Piece(22, 25)]) == [Piece(1, 9), Piece(20, 30)]


names = st.sampled_from(["provisioning", "distributing", "active", "draining", "released", "error"])
times = st.integers(0, 2 * 3600)


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(st.tuples(times, names, names), max_size=8),
    wishes=st.lists(st.tuples(times, st.booleans()), max_size=4),
    nodes=st.lists(st.builds(Node, times, times, st.lists(st.tuples(times, st.booleans()), max_size=4)), max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_every_second_is_billed_as_an_independent_model_says(
    moves: list[tuple[int, str, str]], wishes: list[tuple[int, bool]], nodes: list[Node], order: object
) -> None:
    for node in nodes:
        node.turns.sort(key=lambda turn: turn[0])
    history = History(
        [(at, number, old, new) for number, (at, old, new) in enumerate(moves, 1)],
        [(at, number, on) for number, (at, on) in enumerate(wishes, 100)],
        nodes,
    )
    facts = [Fact(at * SECOND + 7, number, STATUS, old, new) for at, number, old, new in history.moves]
    facts += [Fact(at * SECOND + 7, number, ENABLE if on else DISABLE) for at, number, on in history.wishes]
    facts += facts[::2]
    order.shuffle(facts)  # type: ignore[attr-defined]
    end = 2 * 3600
    out = united(Piece(second, second + 1) for second in range(end) if history.is_out(second)) if nodes else []
    found = by_hour(billable(facts), out, Piece(0, end))
    assert {hour: tuple(one) for hour, one in sorted(found.items())} == used(history, 0, end)
    assert all(one.seconds >= 0 and one.outage_seconds >= 0 and sum(one) <= 3600 for one in found.values())
