"""Copies of the test's database file, taken and put back as an operator does."""

import shutil
from pathlib import Path

from django.db import connection, connections


class Backups:
    """Backups in `folder`, by name. SQLite only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = Path(str(connection.settings_dict["NAME"]))

    def take(self, name: str = "backup") -> None:
        """Copy the database file, complete without its log."""
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connections.close_all()
        shutil.copyfile(self._database, self._folder / name)

    def restore(self, name: str = "backup") -> None:
        """Put a copy in the database's place."""
        connections.close_all()
        for rest in ("-wal", "-shm"):
            self._database.with_name(self._database.name + rest).unlink(missing_ok=True)
        shutil.copyfile(self._folder / name, self._database)
