"""Empty the database after a test that commits: Django's own way takes half a second for that, on PostgreSQL.

It truncates each table, and then makes content types and permissions anew, which migrations have made. Here rows are
deleted, and those are left alone.
"""

from django.db import connections, transaction
from django.test import TransactionTestCase

#: What migrations fill and nobody changes.
FILLED = frozenset({"django_content_type", "auth_permission"})


def empty(using: str) -> None:
    """Delete all rows of database `using` but those that migrations made; numbers go on where they are."""
    connection = connections[using]
    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - FILLED
    quoted = sorted(map(connection.ops.quote_name, tables))
    with transaction.atomic(using=using), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Neither foreign keys nor ledgers' triggers stand in the way.
            cursor.execute("SET LOCAL session_replication_role = replica")
        for table in quoted:
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - Django's own names, quoted by it


def after_each_test(case: TransactionTestCase) -> None:
    """Stand in for Django's own end of a test that commits."""
    for using in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]  # as what it replaces
        empty(using)
