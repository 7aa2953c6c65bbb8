"""The control plane's one clock: the database's, for leases and deadlines must mean the same on every machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic

from django.conf import settings
from django.db import connection
from django.utils import timezone

#: How long a reading of the database's clock is carried on by this machine's monotonic one.
READING_SECONDS = 60.0


class CarriedClock:
    """A clock that is slow to read, read rarely, and carried on meanwhile by `steady`, in seconds.

    Steps of this machine's own time change nothing. Threads that read at the same time do no harm.
    """

    def __init__(self, read: Callable[[], datetime], steady: Callable[[], float] = monotonic) -> None:
        self._read = read
        self._steady = steady
        self._reading: tuple[datetime, float] | None = None

    def now(self, *, readable: bool = True) -> datetime | None:
        """Return the time; None where it was never read and isn't `readable` now."""
        reading = self._reading
        if readable and (reading is None or self._steady() - reading[1] > READING_SECONDS):
            before = self._steady()
            time = self._read()
            # As if it was read half way through the call.
            reading = self._reading = (time, (before + self._steady()) / 2)
        return reading[0] + timedelta(seconds=self._steady() - reading[1]) if reading else None


def _read_database() -> datetime:
    with connection.cursor() as cursor:
        # Not now(): that is when the transaction began.
        cursor.execute("SELECT clock_timestamp()")
        time: datetime = cursor.fetchone()[0]
    return time


_database = CarriedClock(_read_database)
_played: ContextVar[datetime | None] = ContextVar("played", default=None)


@contextmanager
def playing(at: datetime) -> Iterator[None]:
    """Let the clock show `at`, and stand: for history that is made up in a lab, and for nothing else.

    In this process and context only. Unlike the offset it moves both readings, so that nothing that is written waits.
    """
    token = _played.set(at)
    try:
        yield
    finally:
        _played.reset(token)


def now() -> datetime:
    """Return the present time of the database, moved by what a lab wants."""
    return unmoved() + offset()


def offset() -> timedelta:
    """Return by how much a lab moved the time, by `CLOCK_OFFSET_SECONDS` and by what is in `CLOCK_OFFSET_FILE`.

    The file is read each time, so that all processes of a lab move at once. Raises ValueError for one without a number.
    """
    seconds = settings.CLOCK_OFFSET_SECONDS
    if settings.CLOCK_OFFSET_FILE and (file := Path(settings.CLOCK_OFFSET_FILE)).exists():
        seconds += int(file.read_text())
    return timedelta(seconds=seconds)


def unmoved() -> datetime:
    """Return the present time of the database, for what a lab's jump of months must not make old.

    On SQLite, whose users share one machine, that machine's. In a transaction that failed the database can't be asked:
    the last reading goes on. Raises OperationalError when the database is away.
    """
    played = _played.get()
    if played is not None:
        return played - timedelta(seconds=settings.CLOCK_OFFSET_SECONDS)
    time = None
    if connection.vendor == "postgresql":
        time = _database.now(readable=not connection.needs_rollback)
    return time or timezone.now()
