"""What was written about money is never changed: by the model, and by the database for who goes past it."""

from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Model

from billing.models import AppendOnlyError, Credit, Price, Terms, TrafficRecord, UsageRecord
from billing.triggers import GUARDS
from tests.factories import make_user
from tests.integration.billing.metering.history import at, make_assignment
from tests.integration.portal.billing_rows import statement, usage_line


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


@pytest.fixture
def money(usage: UsageRecord) -> None:
    """Leave a row in every table that is guarded."""
    assignment = usage.assignment
    team = assignment.app.team
    month = statement(team, at("10:00").date().replace(day=1), [usage_line(assignment, 0, at("10:00").date())])
    assert month.lines.exists()
    person = make_user()
    Credit.objects.create(team=team, cents=5, reason="sorry", granted_by=person)
    Price.objects.create(per_slot_hour="0.02", starts_at=at("10:00"), reason="dearer", created_by=person)
    Terms.objects.create(team=team, discount_percent=5, starts_at=at("10:00"), reason="a pilot", created_by=person)


FIXED = [
    (model, column)
    for model, guard in GUARDS.items()
    for column in sorted({field.column for field in model._meta.concrete_fields if field.name not in guard.may_change})
]


@pytest.mark.parametrize(("model", "column"), FIXED, ids=[f"{model.__name__}.{column}" for model, column in FIXED])
def test_the_database_refuses_to_change_what_was_written(money: None, model: type[Model], column: str) -> None:
    table = model._meta.db_table
    assert model._default_manager.exists()
    assert refused(f'UPDATE {table} SET "{column}" = "{column}"')  # noqa: S608 - names of ours


@pytest.mark.parametrize("model", [model for model, guard in GUARDS.items() if not guard.may_delete])
def test_the_database_refuses_to_delete_it(money: None, model: type[Model]) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("tests empty tables there by DELETE")
    assert refused(f"DELETE FROM {model._meta.db_table}")  # noqa: S608 - a name of ours


def test_an_end_may_move_and_a_price_that_has_not_begun_be_withdrawn(money: None) -> None:
    for model in (Price, Terms):
        assert model._default_manager.update(ends_at=at("12:00")) == 1
        assert model._default_manager.all().delete()[0] == 1


def test_a_person_can_be_forgotten_who_set_prices_and_granted_credits(money: None) -> None:
    person = Credit.objects.get().granted_by
    assert person
    person.delete()
    assert {Credit.objects.get().granted_by, Price.objects.get().created_by, Terms.objects.get().created_by} == {None}


@pytest.mark.parametrize("table", ["billing_usagerecord", "billing_statementline"])
def test_the_triggers_come_back_with_the_next_migrate(money: None, table: str) -> None:
    """SQLite loses them where a migration makes the table anew."""
    change = f"UPDATE {table} SET id = id"  # noqa: S608 - a name of ours
    with connection.cursor() as cursor:
        cursor.execute(
            f"DROP TRIGGER {table}_append_only" + (f" ON {table}" if connection.vendor == "postgresql" else "")
        )
    assert not refused(change)
    call_command("migrate", verbosity=0)
    assert refused(change)


@pytest.mark.parametrize(("ledger", "columns"), [("usage", "seconds, outage_seconds"), ("traffic", "sent_bytes")])
def test_rating_adds_a_ledger_up_from_its_index_alone(usage: UsageRecord, ledger: str, columns: str) -> None:
    """A month of 10,000 apps has 14 million rows: none of them is read itself."""
    sums = ", ".join(f"SUM({column})" for column in columns.split(", "))
    query = (
        f"SELECT assignment_id, slot, MIN(hour), {sums} FROM billing_{ledger}record WHERE assignment_id = %s"  # noqa: S608 - names of ours
        " AND slot IN (0, 1) AND hour >= '2020-01-01' AND hour < '2040-01-01' GROUP BY assignment_id, slot"
    )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # So that it needn't be worth it for a handful of rows.
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        explain = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
        cursor.execute(
            explain + query, [usage.assignment_id.hex if connection.vendor == "sqlite" else usage.assignment_id]
        )
        plan = str(cursor.fetchall())
    how = "Index Only Scan using" if connection.vendor == "postgresql" else "USING COVERING INDEX"
    assert f"{how} {ledger}_by_slot" in plan


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
