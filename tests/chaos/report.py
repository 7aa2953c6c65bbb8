"""The table that a run of `./dev chaos` ends with."""

from collections.abc import Sequence
from typing import Any


def table(faults: Sequence[dict[str, Any]]) -> list[str]:
    """Return fault | longest gap | resets | leaks, the worst of each kind, as lines to read."""
    rows = [("fault", "times", "longest gap", "resets", "leaks")]
    for name in dict.fromkeys(fault["fault"] for fault in faults):
        same = [fault for fault in faults if fault["fault"] == name]
        rows.append(
            (
                name,
                str(len(same)),
                _longest([fault["gap_seconds"] for fault in same]),
                str(sum(fault["resets"] for fault in same)),
                str(sum(fault["leaks"] for fault in same)),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _longest(gaps: Sequence[float | None]) -> str:
    known = [gap for gap in gaps if gap is not None]
    return "no end" if len(known) < len(gaps) else f"{max(known):.3f} s"


def wrong(result: dict[str, Any]) -> list[str]:
    """Return everything that was wrong, with what it happened at."""
    found = [
        f"{fault['fault']} at {fault['target'] or 'all'}: {what}"
        for fault in result["faults"]
        for what in fault["wrong"]
    ]
    return found + [f"at the end: {what}" for what in result["ending"]]
