"""The stand-in's state: Stripe's objects as JSON in SQLite, with what must become lasting together with them.

A request is one transaction: its objects, its events and the answer under its idempotency key appear together or not at
all, whenever the process is killed.
"""

import contextlib
import json
import secrets
import sqlite3
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import full, missing

Json = dict[str, Any]

MAX_OBJECTS = 2_000_000
LOCK_TIMEOUT_SECONDS = 1
ID_LENGTH = 16
_ALPHABET = string.ascii_letters + string.digits
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, customer TEXT, invoice TEXT,
    changed_at REAL NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, number);
CREATE INDEX IF NOT EXISTS objects_customer ON objects (customer, kind, number);
CREATE INDEX IF NOT EXISTS objects_invoice ON objects (invoice, kind, number);
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, address TEXT NOT NULL, fingerprint TEXT NOT NULL, made_at INTEGER NOT NULL,
    status INTEGER NOT NULL, request_id TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS answers_made_at ON answers (made_at);
CREATE TABLE IF NOT EXISTS due (id TEXT PRIMARY KEY, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS due_at ON due (at);
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, endpoint TEXT NOT NULL, attempts INTEGER NOT NULL,
    due_at REAL, status TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due_at);
CREATE INDEX IF NOT EXISTS deliveries_event ON deliveries (event);
"""


def new_id(prefix: str) -> str:
    """Return a fresh id such as `cus_…`."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(ID_LENGTH))}"


class Store:
    """Objects by id and kind. One connection, used by one thread."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, for nobody else. Raises sqlite3.Error when it can't be used."""
        self._sql = sqlite3.connect(path, isolation_level=None, timeout=LOCK_TIMEOUT_SECONDS)
        # What a killed process committed is there; a power cut may cost the last moments.
        self._sql.executescript("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        self._sql.executescript(_SCHEMA)
        self._objects = int(self._one("SELECT COUNT(*) FROM objects"))

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    @property
    def sql(self) -> sqlite3.Connection:
        """The connection, for the tables that aren't objects."""
        return self._sql

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside lasting, or nothing of it when it raises."""
        before = self._objects
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._sql.execute("ROLLBACK")
            self._objects = before
            raise
        self._sql.execute("COMMIT")

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside a transaction: undo what happens inside when it raises an error that doesn't say `kept`."""
        before = self._objects
        self._sql.execute("SAVEPOINT attempt")
        try:
            yield
        except Exception as error:
            if not getattr(error, "kept", False):
                self._sql.execute("ROLLBACK TO attempt")
                self._objects = before
            raise
        finally:
            self._sql.execute("RELEASE attempt")

    def insert(self, row: Json) -> Json:
        """Add an object; return it. Raises ApiError when there are too many."""
        if self._objects >= MAX_OBJECTS:
            raise full(MAX_OBJECTS)
        self._sql.execute(
            "INSERT INTO objects (id, kind, customer, invoice, changed_at, body) VALUES (?, ?, ?, ?, ?, ?)",
            (row["id"], row["object"], *_keys(row), time.time(), json.dumps(row)),
        )
        self._objects += 1
        return row

    def save(self, row: Json) -> Json:
        """Write an object that exists; return it."""
        self._sql.execute(
            "UPDATE objects SET customer = ?, invoice = ?, changed_at = ?, body = ? WHERE id = ?",
            (*_keys(row), time.time(), json.dumps(row), row["id"]),
        )
        return row

    def delete(self, object_id: str) -> None:
        """Remove an object."""
        self._objects -= self._sql.execute("DELETE FROM objects WHERE id = ?", (object_id,)).rowcount

    def find(self, object_id: str) -> Json | None:
        """Return an object of any kind, or None."""
        found = self._sql.execute("SELECT body FROM objects WHERE id = ?", (object_id,)).fetchone()
        return json.loads(found[0]) if found else None

    def get(self, kind: str, object_id: str, *, param: str = "id") -> Json:
        """Return an object. Raises ApiError, naming `param`, when there is none of that kind."""
        row = self.find(object_id)
        if row is None or row["object"] != kind:
            raise missing(kind, object_id, param=param)
        return row

    def rows(
        self,
        kind: str,
        *,
        customer: str | None = None,
        invoice: str | None = None,
        above: int | None = None,
        below: int | None = None,
        oldest_first: bool = False,
    ) -> Iterator[Json]:
        """Yield objects of a kind, the newest first; by customer or invoice, or by place (see `number_of`) if given."""
        given = {"customer =": customer, "invoice =": invoice, "number >": above, "number <": below}
        conditions = {words: value for words, value in given.items() if value is not None}
        where = "".join(f" AND {words} ?" for words in conditions)
        order = "ASC" if oldest_first else "DESC"
        found = self._sql.execute(
            f"SELECT body FROM objects WHERE kind = ?{where} ORDER BY number {order}",  # noqa: S608 - words of our own
            (kind, *conditions.values()),
        )
        yield from (json.loads(body) for (body,) in found)

    def settled(self, kind: str, *, before: float) -> Iterator[Json]:
        """Yield objects of a kind, newest first, that weren't changed since `before` (the machine's epoch seconds)."""
        found = self._sql.execute(
            "SELECT body FROM objects WHERE kind = ? AND changed_at <= ? ORDER BY number DESC", (kind, before)
        )
        yield from (json.loads(body) for (body,) in found)

    def number_of(self, kind: str, object_id: str, *, param: str) -> int:
        """Return an object's place among all, for paging. Raises ApiError when there is none."""
        self.get(kind, object_id, param=param)
        return int(self._one("SELECT number FROM objects WHERE id = ?", object_id))

    def setting(self, key: str, default: str) -> str:
        """Return a lasting setting."""
        found = self._sql.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return str(found[0]) if found else default

    def set_setting(self, key: str, value: str) -> None:
        """Keep a lasting setting."""
        self._sql.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))

    def count(self, key: str) -> int:
        """Return the next of a series of whole numbers, from 1."""
        number = int(self.setting(f"count {key}", "0")) + 1
        self.set_setting(f"count {key}", str(number))
        return number

    def schedule(self, object_id: str, at: int | None) -> None:
        """Have an object looked at when the stand-in's clock is at `at`; None: never."""
        self._sql.execute("DELETE FROM due WHERE id = ?", (object_id,))
        if at is not None:
            self._sql.execute("INSERT INTO due VALUES (?, ?)", (object_id, at))

    def due(self, now: int) -> list[str]:
        """Return the objects to look at, the longest due first, at most 100."""
        found = self._sql.execute("SELECT id FROM due WHERE at <= ? ORDER BY at LIMIT 100", (now,))
        return [str(object_id) for (object_id,) in found]

    def _one(self, statement: str, *values: object) -> Any:
        return self._sql.execute(statement, values).fetchone()[0]


def _keys(row: Json) -> tuple[str | None, str | None]:
    customer, invoice = row.get("customer"), row.get("invoice")
    return customer if isinstance(customer, str) else None, invoice if isinstance(invoice, str) else None
