"""Put committed figures into the pages that quote them: `python -m tests.bench.table`. A test holds them equal.

A page says where: between `<!-- figures: NAME -->` and `<!-- end of figures -->`, each on a line of its own, NAME being
one of `TABLES`.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bench.record import ROOT

PAGES = (ROOT / "README.md", ROOT / "docs/reliability.md")
_PLACE = re.compile(r"(<!-- figures: (\S+) -->\n).*?(<!-- end of figures -->\n)", re.DOTALL)


def reliability(figures: Mapping[str, Any]) -> list[str]:
    """Return the rows of what was measured beside what was promised."""
    rows = ["| | measured | at most |", "|---|---|---|"]
    for name, result in figures["results"].items():
        value = "none" if result["value"] is None else f"{result['value']:g}"
        limit = "" if result["limit"] is None else f"{result['limit']:g}"
        rows.append(f"| {name} | {value if result['kept'] else f'**{value}**'} | {limit} |")
    return [*rows, "", _where(figures)]


def chaos(figures: Mapping[str, Any]) -> list[str]:
    """Return the rows of a run of `./dev chaos`, the worst of each kind of fault."""
    rows = ["| fault | longest gap | resets | leaks |", "|---|---|---|---|"]
    for name in dict.fromkeys(fault["fault"] for fault in figures["faults"]):
        same = [fault for fault in figures["faults"] if fault["fault"] == name]
        gaps = [fault["gap_seconds"] for fault in same]
        longest = "no end" if None in gaps else f"{max(gaps):.2f} s"
        resets, leaks = (sum(fault[what] for fault in same) for what in ("resets", "leaks"))
        rows.append(f"| {name} | {longest} | {resets} | {leaks} |")
    return [*rows, "", f"SEED={figures['seed']}. {_where(figures)}"]


def _where(figures: Mapping[str, Any]) -> str:
    machine = figures["machine"]
    cores = f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel'].partition('-')[0]}"
    return f"Measured on {figures['at'][:10]}, {cores}, commit {figures['commit']}."


TABLES: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {"reliability": reliability, "chaos": chaos}


def quoted(page: str, folder: Path = ROOT / "docs/bench") -> str:
    """Return `page` with each table made anew from the figures in `folder`. Raises KeyError for an unknown table."""

    def table(match: re.Match[str]) -> str:
        name = match[2]
        rows = TABLES[name](json.loads((folder / f"{name}.json").read_text()))
        return "".join([match[1], *(f"{row}\n" for row in rows), match[3]])

    return _PLACE.sub(table, page)


def main() -> None:
    """Write all pages anew."""
    for page in PAGES:
        page.write_text(quoted(page.read_text()))


if __name__ == "__main__":
    main()
