from datetime import timedelta

import pytest

from billing.collecting.pauses import MAX_ATTEMPTS, pause_after


@pytest.mark.parametrize(("attempts", "asked", "seconds"), [
    (1, 0, 30), (2, 0, 60), (3, 0, 120), (7, 0, 1_920), (8, 0, 3_600), (200, 0, 3_600),
    (1, 12.5, 30), (1, 90, 90), (200, 5_000, 5_000),
])  # fmt: skip
def test_pauses_double_up_to_an_hour_and_are_as_long_as_stripe_asks(
    attempts: int, asked: float, seconds: float
) -> None:
    assert pause_after(attempts, asked_seconds=asked) == timedelta(seconds=seconds)


def test_all_tries_last_longer_than_a_week() -> None:
    assert sum((pause_after(attempt) for attempt in range(1, MAX_ATTEMPTS + 1)), timedelta()) > timedelta(days=7)
