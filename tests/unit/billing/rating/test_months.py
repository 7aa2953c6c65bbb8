"""Months of every length, in UTC."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from billing.rating import months


@pytest.mark.parametrize(
    ("month", "days"),
    [(date(2026, 1, 1), 31), (date(2026, 2, 1), 28), (date(2028, 2, 1), 29), (date(2100, 2, 1), 28),
     (date(2026, 4, 1), 30), (date(2026, 12, 1), 31)],
)  # fmt: skip
def test_a_month_has_its_days_and_the_next_follows_on_it(month: date, days: int) -> None:
    assert months.seconds_of(month) == days * 86_400
    assert months.end_of(month) - months.begin_of(month) == timedelta(days=days)
    assert months.begin_of(months.following(month)) == months.end_of(month)
    assert months.month_of(months.end_of(month) - timedelta(microseconds=1)) == month
    assert months.month_of(months.end_of(month)) == months.following(month)


def test_a_month_is_that_of_utc() -> None:
    assert months.month_of(datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == date(2026, 2, 1)
    assert months.begin_of(date(2026, 2, 17)) == datetime(2026, 2, 1, tzinfo=UTC)
