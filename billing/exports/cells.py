"""Text of cells: times, amounts, and CSV whose cells no spreadsheet executes. Pure."""

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from .spread import DECIMALS, PER_UNIT

#: What a spreadsheet may take for the beginning of a formula; the wide forms are Japanese keyboards'.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  # see above
#: Months have 744 hours at most, and whoever exports several months does so one after the other.
_MOMENTS = 4096


def safe(text: str) -> str:
    """Return `text` so that a spreadsheet shows it: an apostrophe goes before what could be a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_row(cells: Iterable[str | None]) -> str:
    """Return texts as one row of CSV (RFC 4180), made safe; None is an empty cell."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(["" if cell is None else safe(cell) for cell in cells])
    return out.getvalue()


@lru_cache(_MOMENTS)
def stamp(moment: datetime) -> str:
    """Return a moment in UTC as ISO 8601, to the second."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@lru_cache(_MOMENTS)
def money(amount: int) -> str:
    """Return millionths of a unit as a decimal number."""
    sign = "-" if amount < 0 else ""
    units, rest = divmod(abs(amount), PER_UNIT)
    return f"{sign}{units}.{rest:0{DECIMALS}}"


def plain(number: Decimal) -> str:
    """Return a decimal number without an exponent, with a decimal even if that is 0: readers guess types from it."""
    whole, _, decimals = f"{number:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}"
