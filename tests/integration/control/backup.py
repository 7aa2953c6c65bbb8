"""Copies of the test's whole database, taken and put back as an operator does: SQLite's file, PostgreSQL's template."""

import shutil
from pathlib import Path

from django.db import connection, connections


class Backups:
    """Backups by name, until `forget`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = str(connection.settings_dict["NAME"])
        self._names: set[str] = set()

    def take(self, name: str = "backup") -> None:
        """Copy the database."""
        self._names.add(name)
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                # Else the latest writes are in a file beside it.
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connections.close_all()
            shutil.copyfile(self._database, self._folder / name)
        else:
            self._copy(self._database, self._copy_of(name))

    def restore(self, name: str = "backup") -> None:
        """Put a copy in the database's place."""
        if connection.vendor == "sqlite":
            connections.close_all()
            for rest in ("-wal", "-shm"):
                Path(self._database + rest).unlink(missing_ok=True)
            shutil.copyfile(self._folder / name, self._database)
        else:
            self._copy(self._copy_of(name), self._database)

    def forget(self) -> None:
        """Drop the copies that the server keeps."""
        connections.close_all()
        for name in self._names if connection.vendor == "postgresql" else ():
            with connection._nodb_cursor() as cursor:
                cursor.execute(f'DROP DATABASE IF EXISTS "{self._copy_of(name)}"')

    def _copy_of(self, name: str) -> str:
        return f"{self._database}_{name}"

    @staticmethod
    def _copy(source: str, target: str) -> None:
        connections.close_all()
        with connection._nodb_cursor() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{target}"')
            cursor.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}"')
