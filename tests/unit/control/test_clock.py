"""The database's clock, carried on between two readings."""

from datetime import UTC, datetime, timedelta

from egress.control.clock import READING_SECONDS, CarriedClock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clocks:
    """A database's clock, `lag` seconds behind the steady one; reading it takes `trip_seconds`."""

    def __init__(self, *, trip_seconds: float = 0) -> None:
        self.steady_seconds = 1_000.0
        self.lag_seconds = 1_000.0
        self.trip_seconds = trip_seconds
        self.readings = 0
        self.carried = CarriedClock(self._read, lambda: self.steady_seconds)

    def true(self) -> datetime:
        return NOON + timedelta(seconds=self.steady_seconds - self.lag_seconds)

    def _read(self) -> datetime:
        self.readings += 1
        self.steady_seconds += self.trip_seconds / 2
        time = self.true()
        self.steady_seconds += self.trip_seconds / 2
        return time


def test_it_is_read_once_and_carried_on() -> None:
    clocks = Clocks()
    for _ in range(6):
        assert clocks.carried.now() == clocks.true()
        clocks.steady_seconds += 10
    assert clocks.readings == 1


def test_it_is_read_again_after_a_minute_and_follows() -> None:
    clocks = Clocks()
    clocks.carried.now()
    clocks.lag_seconds += 5
    clocks.steady_seconds += READING_SECONDS
    assert clocks.carried.now() == clocks.true() + timedelta(seconds=5)
    clocks.steady_seconds += 1
    assert clocks.carried.now() == clocks.true()
    assert clocks.readings == 2


def test_the_way_to_the_database_and_back_is_no_error() -> None:
    clocks = Clocks(trip_seconds=0.2)
    assert clocks.carried.now() == clocks.true()


def test_a_transaction_that_failed_goes_on_with_the_last_reading() -> None:
    clocks = Clocks()
    assert clocks.carried.now(readable=False) is None
    clocks.carried.now()
    clocks.steady_seconds += 2 * READING_SECONDS
    assert clocks.carried.now(readable=False) == clocks.true()
    assert clocks.readings == 1
