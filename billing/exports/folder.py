"""Finished months as files in a folder, for finance's own programs: each file is there whole or not at all.

A month's manifest is written last: who finds it finds all that it names. What is written depends only on statements and
ledger, which don't change: written again, by another worker or after a crash, the same bytes come out.
"""

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db.models import Sum

from billing.models import Statement

from .errors import ExportMismatch
from .selection import Format, Grain, Selection, format_of, grain_of
from .spread import PER_CENT
from .stream import FORMATS, Tally, sums, write

MANIFEST = "manifest.json"
#: A file that isn't whole yet; what a killed worker left of one goes when the next begins.
PART = ".part"
_LOCK = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One file of a manifest; `amounts` are by currency, in its unit."""

    name: str
    format: str
    grain: str
    rows: int
    bytes: int
    sha256: str
    amounts: dict[str, str]


def files_wanted() -> list[tuple[Format, Grain]]:
    """Return what BILLING_EXPORT_FILES lists, such as focus:day. Raises FormatUnknown and GrainUnknown."""
    pairs = [text.strip().partition(":") for text in settings.BILLING_EXPORT_FILES]
    return [(format_of(form), grain_of(grain)) for form, _, grain in pairs]


def is_written(folder: Path, wanted: list[tuple[Format, Grain]]) -> bool:
    """Say whether a month's folder has a manifest of all these files."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return {_name(folder.name, *each) for each in wanted} <= {file["name"] for file in manifest["files"]}


def month_write(selection: Selection, folder: Path, wanted: list[tuple[Format, Grain]]) -> dict[str, Any]:
    """Write a finished month and its manifest into `folder`; returns the manifest.

    Whoever writes must hold the folder's lock. Raises ExportMismatch, and leaves no new file then, when rows
    don't add up to the statements.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"*{PART}"):
        left.unlink()
    owed = _owed(selection)
    files = [_part(selection, folder, form, grain, owed) for form, grain in wanted]
    for file in files:
        put(folder / f"{file.name}{PART}")
    manifest = {
        "month": f"{selection.month:%Y-%m}",
        "statements": Statement.objects.filter(month=selection.month).count(),
        "amounts": sums(owed),
        "files": [asdict(file) for file in files],
    }
    with (folder / f"{MANIFEST}{PART}").open("w") as out:
        out.write(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        settle(out)
    put(folder / f"{MANIFEST}{PART}")
    return manifest


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock until the end of the block; yields False where another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _name(month: str, form: Format, grain: Grain) -> str:
    return f"{FORMATS[form].name}-{month}-{grain.value}.{FORMATS[form].suffix}"


def _owed(selection: Selection) -> Counter[str]:
    """Return the sum of the month's statements by currency, in millionths."""
    totals = Statement.objects.filter(month=selection.month).order_by().values_list("currency")
    return Counter({currency: cents * PER_CENT for currency, cents in totals.annotate(Sum("total_cents"))})


def _part(selection: Selection, folder: Path, form: Format, grain: Grain, owed: Counter[str]) -> Written:
    """Write one file under its passing name."""
    name, tally, digest, size = _name(folder.name, form, grain), Tally(), hashlib.sha256(), 0
    with (folder / f"{name}{PART}").open("wb") as out:
        for chunk in write(selection, form, grain, tally):
            out.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        settle(out)
    if tally.amounts != owed:
        raise ExportMismatch(
            f"{name} would hold {sums(tally.amounts)}, but the month's statements are {sums(owed)}."
            " It wasn't written; compare the statements' totals with their lines."
        )
    return Written(
        name=name,
        format=form.value,
        grain=grain.value,
        rows=tally.rows,
        bytes=size,
        sha256=digest.hexdigest(),
        amounts=sums(tally.amounts),
    )


def settle(out: IO[Any]) -> None:
    """Bring a file to the disk."""
    out.flush()
    os.fsync(out.fileno())


def put(part: Path) -> None:
    """Give a whole file its name, and bring that to the disk."""
    part.replace(part.with_name(part.name.removesuffix(PART)))
    folder = os.open(part.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
