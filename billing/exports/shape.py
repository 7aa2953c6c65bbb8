"""What a format is."""

from collections.abc import Iterable
from typing import Protocol

from .bills import Charge
from .pieces import Piece


class Shape(Protocol):
    """A way to write charges down; `name` and `suffix` are for files."""

    name: str
    suffix: str
    content_type: str

    def header(self) -> str:
        """Return what comes before all rows."""

    def rows(self, charge: Charge, pieces: Iterable[Piece]) -> str:
        """Return a charge's rows."""
