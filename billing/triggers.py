"""Let the database itself refuse to change what was written about money, also to who goes past this code.

Ledgers, statements, their lines and credits are never changed nor deleted; of a price or terms that were agreed only
the end moves. Who did it may be forgotten: a person's row is deleted with their account.

Made after every migration, since SQLite drops a table's triggers when a migration makes it anew. On SQLite only changes
are refused, not deletions: tests empty tables there by DELETE, and whoever can open the file could drop the trigger,
too. On PostgreSQL TRUNCATE isn't held up: it needs the table's owner.
"""

from typing import Any, Final, NamedTuple

from django.db import connections
from django.db.models import Model

from billing.models import Credit, Price, Statement, StatementLine, Terms, TrafficRecord, UsageRecord


class Guard(NamedTuple):
    """What is refused about a table."""

    #: The fields that may change; all others may not.
    may_change: tuple[str, ...] = ()
    may_delete: bool = False


GUARDS: Final[dict[type[Model], Guard]] = {
    UsageRecord: Guard(),
    TrafficRecord: Guard(),
    Statement: Guard(),
    StatementLine: Guard(),
    Credit: Guard(may_change=("granted_by",)),
    # One that hasn't begun can be withdrawn.
    Price: Guard(may_change=("ends_at", "created_by"), may_delete=True),
    Terms: Guard(may_change=("ends_at", "created_by"), may_delete=True),
}
_SAYS: Final = "this row can't be changed or deleted: add a row that corrects it"
_SQLITE: Final = (
    'DROP TRIGGER IF EXISTS "{table}_append_only"',
    """
CREATE TRIGGER "{table}_append_only" BEFORE UPDATE OF {columns} ON "{table}"
BEGIN SELECT RAISE(ABORT, '{says}'); END
""",
)
_POSTGRESQL: Final = (
    """
CREATE OR REPLACE FUNCTION billing_append_only() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION '{says}'; END $$
""",
    """
CREATE OR REPLACE TRIGGER "{table}_append_only" BEFORE UPDATE OF {columns}{or_delete} ON "{table}"
FOR EACH ROW EXECUTE FUNCTION billing_append_only()
""",
)


def make_triggers(using: str, **_: Any) -> None:
    """Make the triggers of database `using` anew: called after each migrate."""
    connection = connections[using]
    statements = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}.get(connection.vendor, ())
    with connection.cursor() as cursor:
        there = connection.introspection.table_names(cursor)
        for model, guard in GUARDS.items():
            # A migration that is taken back leaves older columns, or no table at all.
            table = model._meta.db_table  # noqa: SLF001  # public, for all its underscore
            if table not in there:
                continue
            present = {column.name for column in connection.introspection.get_table_description(cursor, table)}
            fixed = [
                field.column
                for field in model._meta.concrete_fields  # noqa: SLF001  # as above
                if field.name not in guard.may_change and field.column in present
            ]
            for statement in statements:
                cursor.execute(
                    statement.format(
                        table=table,
                        columns=", ".join(f'"{column}"' for column in fixed),
                        or_delete="" if guard.may_delete else " OR DELETE",
                        says=_SAYS.replace("'", "''"),
                    )
                )
