import pytest

from tests.chaos.gaps import IN_A_ROW, Attempt, Record, Sign, gaps, longest, on_gateway, resets, silence

A, B = "203.0.113.10", "203.0.113.11"


def attempts(*runs: tuple[str, int], begin: float = 0) -> list[Attempt]:
    """Return attempts every 10 ms: so many with each address, "" for failures."""
    addresses = [address for address, count in runs for _ in range(count)]
    return [Attempt(round(begin + number / 100, 4), 0.001, address) for number, address in enumerate(addresses)]


def test_a_gap_lasts_from_the_fault_to_the_first_of_twenty_successes_in_a_row() -> None:
    found = gaps(attempts((A, 100), ("", 30), (B, 60)), 1.0)
    assert found == [(1.0, pytest.approx(0.3))]


def test_successes_that_are_too_few_do_not_end_it() -> None:
    found = gaps(attempts(("", 10), (B, IN_A_ROW - 1), ("", 1), (B, IN_A_ROW)), 0)
    assert found == [(0, pytest.approx(0.3))]


def test_what_was_before_the_fault_does_not_count() -> None:
    found = gaps(attempts(("", 100), (A, 50)), 1.0)
    assert longest(found) == 0


def test_a_second_gap_is_found_and_counts_from_its_first_failure() -> None:
    found = gaps(attempts((A, 50), ("", 40), (B, 30)), 0)
    assert found == [(0, 0), (0.5, pytest.approx(0.4))]
    assert longest(found) == pytest.approx(0.4)


def test_a_gap_that_does_not_end_is_told() -> None:
    assert longest(gaps(attempts((A, 30), ("", 40), (B, 5)), 0)) is None
    assert longest(gaps([], 0)) is None


def test_a_failure_that_takes_its_time_is_sorted_where_it_began() -> None:
    tried = attempts(("", 5), (B, 30))
    assert gaps(tried[5:] + tried[:5], 0) == [(0, pytest.approx(0.05))]


def test_the_lines_are_understood() -> None:
    record = Record()
    for line in ("i 7", f"a 1.5 0.002 {A}", "a 1.6 0.05 -", f"o active 1.0 {A}", f"e active 2.0 {A} ECONNRESET"):
        record.take(line)
    assert record.pid == 7
    assert [attempt.address for attempt in record.attempts] == [A, ""]
    assert record.signs[-1] == Sign("e", "active", 2.0, A, "ECONNRESET")
    assert record.since(1.55).attempts == record.attempts[1:]
    for line in ("", "a 1.5", "x active 1.0 y", "a one 0.1 -"):
        with pytest.raises(ValueError, match=r"load's|could not convert"):
            record.take(line)


def test_lasting_connections_are_followed() -> None:
    signs = [Sign("o", "idle", 1, A), Sign("o", "active", 1, B), Sign("e", "idle", 3, A, "ECONNRESET"),
             Sign("o", "idle", 3.2, B)]  # fmt: skip
    assert [on_gateway(signs, "idle", at) for at in (0.5, 2, 3.1, 4)] == ["", A, "", B]
    assert on_gateway(signs, "active", 9) == B
    assert resets(signs, 2) == [signs[2]]
    assert resets(signs, 3.1) == []


def test_silence_is_the_longest_time_between_answers() -> None:
    signs = [Sign("p", "udp", at, A) for at in (0, 1, 1.1, 4)]
    assert silence(signs, "udp", 1, 5) == pytest.approx(2.9)
    assert silence([], "udp", 1, 5) == 4
