"""`clock.now()` against the database's own clock."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from egress.control import clock


def database_now() -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def test_the_time_is_the_databases(db: None) -> None:
    tell = database_now if connection.vendor == "postgresql" else timezone.now
    before, now, after = tell(), clock.now(), tell()
    slack = timedelta(milliseconds=50)
    assert before - slack <= now <= after + slack  # type: ignore[operator]


def test_a_transaction_that_failed_has_the_time_too(db: None) -> None:
    before = clock.now()
    times = []

    def fail() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            try:
                cursor.execute("SELECT nonsense")
            finally:
                times.append(clock.now())

    with pytest.raises(DatabaseError):
        fail()
    assert times[0] >= before


def test_only_the_lab_moves_it(db: None, settings: Settings) -> None:
    settings.CLOCK_OFFSET_SECONDS = 3_600
    assert clock.now() - timezone.now() > timedelta(minutes=59)
