"""A ledger's rows are added and never changed: by the model, and by the database for who goes past it."""

from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction

from billing.models import AppendOnlyError, TrafficRecord, UsageRecord
from tests.integration.billing.metering.history import at, make_assignment

LEDGERS = ("billing_usagerecord", "billing_trafficrecord")


@pytest.fixture
def usage(db: None) -> UsageRecord:
    assignment = make_assignment()
    TrafficRecord.objects.create(assignment=assignment, slot=0, hour=at("10:00"), sent_bytes=5)
    return UsageRecord.objects.create(assignment=assignment, slot=0, hour=at("10:00"), seconds=5)


def save_again(row: UsageRecord) -> None:
    row.seconds = 6
    row.save()


@pytest.mark.parametrize(
    "change",
    [
        save_again,
        lambda row: UsageRecord.objects.get(pk=row.pk).save(),
        lambda row: row.delete(),
        lambda _: UsageRecord.objects.update(seconds=6),
        lambda _: UsageRecord.objects.filter(slot=0).delete(),
        lambda row: UsageRecord.objects.bulk_update([row], ["seconds"]),
        lambda row: UsageRecord.objects.update_or_create(pk=row.pk, defaults={"seconds": 6}),
    ],
)
def test_the_model_refuses_to_change_or_delete(usage: UsageRecord, change: Callable[[UsageRecord], object]) -> None:
    with pytest.raises(AppendOnlyError, match="add a row that corrects it"):
        change(usage)
    assert list(UsageRecord.objects.values_list("seconds", flat=True)) == [5]


def refused(statement: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError as error:
        return "add a row that corrects it" in str(error)
    return False


@pytest.mark.parametrize("table", LEDGERS)
def test_the_database_refuses_too(usage: UsageRecord, table: str) -> None:
    assert refused(f"UPDATE {table} SET reason = 'x'")  # noqa: S608 - a name of ours
    on_postgresql = connection.vendor == "postgresql"
    assert refused(f"DELETE FROM {table}") == on_postgresql  # noqa: S608 - a name of ours


def test_the_triggers_come_back_with_the_next_migrate(usage: UsageRecord) -> None:
    """SQLite loses them where a migration makes the table anew."""
    with connection.cursor() as cursor:
        on = " ON billing_usagerecord" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER billing_usagerecord_append_only{on}")
    assert not refused("UPDATE billing_usagerecord SET reason = 'x'")
    call_command("migrate", verbosity=0)
    assert refused("UPDATE billing_usagerecord SET reason = 'y'")


@pytest.mark.parametrize(
    "wrong",
    [
        {"slot": 2, "seconds": 1},
        {"slot": 0, "seconds": 1},
        {"slot": 1, "seconds": -1},
        {"slot": 1, "seconds": 3601},
        {"slot": 1, "seconds": 3600, "outage_seconds": 1},
        {"slot": 1, "seconds": -3601, "sequence": 1},
    ],
    ids=["third slot", "twice", "negative", "too long", "too long with outage", "correction too long"],
)
def test_impossible_rows_are_refused(usage: UsageRecord, wrong: dict[str, int]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        UsageRecord.objects.create(assignment=usage.assignment, hour=at("10:00"), **wrong)
