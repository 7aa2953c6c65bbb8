"""What a server costs in a month: computed by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.earnings.droplets import Cost, Server, cents_of, seconds_in

HOUR = 3600
JANUARY, FEBRUARY, MARCH = (datetime(2026, month, 1, tzinfo=UTC) for month in (1, 2, 3))
#: A cent an hour.
PLAIN = Decimal("6.72")


@pytest.mark.parametrize(
    ("monthly", "seconds", "cents"),
    [
        ("6", 0, 0),
        ("6", 672 * HOUR, 600),
        ("6", 744 * HOUR, 600),
        ("6", 336 * HOUR, 300),
        ("6", 100 * HOUR, 89),
        ("6", 10, 1),
        ("0", 10, 0),
        ("6.72", 5 * HOUR // 2, 2),
        ("6.72", 7 * HOUR // 2, 4),
        ("67200", 10, 167),
    ],
)
def test_a_month_of_a_server_is_charged_by_the_second_up_to_its_price(monthly: str, seconds: int, cents: int) -> None:
    assert cents_of(Decimal(monthly), seconds) == cents


@pytest.mark.parametrize(
    ("created", "deleted", "hours"),
    [
        (JANUARY, None, 28 * 24),
        (FEBRUARY + timedelta(hours=5), None, 28 * 24 - 5),
        (FEBRUARY, FEBRUARY + timedelta(hours=5), 5),
        (JANUARY, FEBRUARY, 0),
        (MARCH, None, 0),
        (JANUARY, MARCH + timedelta(hours=5), 28 * 24),
    ],
)
def test_only_the_time_inside_the_month_counts(created: datetime, deleted: datetime | None, hours: int) -> None:
    server = Server(size="s", created_at=created, deleted_at=deleted)
    assert seconds_in(server, FEBRUARY, MARCH) == hours * HOUR


def test_servers_are_added_up_and_sizes_without_a_price_are_named() -> None:
    cost = Cost()
    for size, hours in (("plain", 10), ("plain", 20), ("new", 1), ("gone", 0)):
        server = Server(size=size, created_at=FEBRUARY, deleted_at=FEBRUARY + timedelta(hours=hours))
        cost.add(server, FEBRUARY, MARCH, {"plain": PLAIN})
    assert (cost.seconds, cost.cents, cost.unpriced) == (31 * HOUR, 30, {"new"})
