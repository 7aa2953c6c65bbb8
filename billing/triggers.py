"""Let the database itself refuse to change a ledger's rows, also to who goes past this code.

Made after every migration, since SQLite drops a table's triggers when a migration makes it anew. On SQLite only changes
are refused, not deletions: tests empty tables there by DELETE, and whoever can open the file could drop the trigger,
too. On PostgreSQL TRUNCATE isn't held up: it needs the table's owner.
"""

from typing import Any

from django.db import connections

LEDGERS = ("billing_usagerecord", "billing_trafficrecord")
_SAYS = "rows of a ledger can't be changed or deleted: add a row that corrects it"
_SQLITE = """
CREATE TRIGGER IF NOT EXISTS "{table}_append_only" BEFORE UPDATE ON "{table}"
BEGIN SELECT RAISE(ABORT, '{says}'); END
"""
_POSTGRESQL = (
    """
CREATE OR REPLACE FUNCTION billing_append_only() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION '{says}'; END $$
""",
    """
CREATE OR REPLACE TRIGGER "{table}_append_only" BEFORE UPDATE OR DELETE ON "{table}"
FOR EACH ROW EXECUTE FUNCTION billing_append_only()
""",
)


def make_triggers(using: str, **_: Any) -> None:
    """Make the triggers of database `using`, where they are missing: called after each migrate."""
    connection = connections[using]
    statements = {"sqlite": (_SQLITE,), "postgresql": _POSTGRESQL}.get(connection.vendor, ())
    says = _SAYS.replace("'", "''")
    with connection.cursor() as cursor:
        there = connection.introspection.table_names(cursor)
        for table in LEDGERS:
            if table in there:
                for statement in statements:
                    cursor.execute(statement.format(table=table, says=says))
