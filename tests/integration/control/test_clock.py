"""`clock.now()` against the database's own clock."""

from datetime import timedelta
from pathlib import Path

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


def test_a_labs_file_moves_it_for_all_processes_at_once(db: None, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "offset"
    settings.CLOCK_OFFSET_FILE = str(file)
    assert clock.offset() == timedelta()
    for days in (1, 40):
        file.write_text(str(days * 86_400))
        assert clock.offset() == timedelta(days=days)
        assert abs(clock.now() - clock.unmoved() - timedelta(days=days)) < timedelta(minutes=1)


def test_what_is_no_number_stops_instead_of_being_taken_for_the_real_time(
    db: None, settings: Settings, tmp_path: Path
) -> None:
    settings.CLOCK_OFFSET_FILE = str(tmp_path / "offset")
    (tmp_path / "offset").write_text("soon")
    with pytest.raises(ValueError, match="soon"):
        clock.now()
