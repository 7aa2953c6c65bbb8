"""Months in UTC, named by their first day."""

from datetime import UTC, date, datetime, time, timedelta

#: Longer than what is left of any month on its 28th.
_INTO_THE_NEXT = timedelta(days=4)


def month_of(at: datetime) -> date:
    """Return the month that `at` lies in."""
    return at.astimezone(UTC).date().replace(day=1)


def following(month: date) -> date:
    """Return the next month."""
    return (month.replace(day=28) + _INTO_THE_NEXT).replace(day=1)


def begin_of(month: date) -> datetime:
    """Return the month's first moment."""
    return datetime.combine(month.replace(day=1), time(), UTC)


def end_of(month: date) -> datetime:
    """Return the first moment after the month."""
    return begin_of(following(month))


def seconds_of(month: date) -> int:
    """Return how long the month is: UTC has no summer time, and leap seconds aren't counted."""
    return round((end_of(month) - begin_of(month)).total_seconds())
