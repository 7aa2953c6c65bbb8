"""Rows that are added and never changed, nor taken away: what a ledger is made of.

The database refuses too, by triggers (`billing.triggers`): also what goes past this code.
"""

from collections.abc import Iterable
from typing import Any, NoReturn

from django.db import models


class AppendOnlyError(Exception):
    """A row of a ledger can't be changed or deleted: add a row that corrects it."""

    def __init__(self) -> None:
        super().__init__((type(self).__doc__ or "").strip())


class AppendOnlyRows(models.QuerySet[Any]):
    """A query that can't change what it finds."""

    def update(self, **_: Any) -> NoReturn:
        """Refuse. Raises AppendOnlyError."""
        raise AppendOnlyError

    def bulk_update(self, objs: Iterable[Any], fields: Iterable[str], batch_size: int | None = None) -> NoReturn:
        """Refuse. Raises AppendOnlyError."""
        del objs, fields, batch_size
        raise AppendOnlyError

    def delete(self) -> NoReturn:
        """Refuse. Raises AppendOnlyError."""
        raise AppendOnlyError


class AppendOnly(models.Model):
    """A row that is saved once."""

    objects = AppendOnlyRows.as_manager()

    class Meta:
        abstract = True

    def save(self, **options: Any) -> None:
        """Add the row. Raises AppendOnlyError for one that is there."""
        if not self._state.adding:
            raise AppendOnlyError
        super().save(**{**options, "force_insert": True})

    def delete(self, using: Any = None, keep_parents: bool = False) -> NoReturn:  # noqa: FBT001, FBT002 - Django's signature
        """Refuse. Raises AppendOnlyError."""
        del using, keep_parents
        raise AppendOnlyError
