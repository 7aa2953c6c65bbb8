import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.record import ROOT, verdict
from tests.bench.table import PAGES, TABLES, quoted

PLACE = "before\n<!-- figures: {} -->\nold\n<!-- end of figures -->\nafter\n"
MACHINE = {"at": "2026-11-23T09:38:47+00:00", "commit": "abc1234",
           "machine": {"cpu": "AMD EPYC", "cores": 2, "kernel": "6.18.44-x"}}  # fmt: skip
WHERE = "Measured on 2026-11-23, 2 cores of AMD EPYC, Linux 6.18.44, commit abc1234.\n"


def made(folder: Path, name: str, **figures: Any) -> str:
    (folder / f"{name}.json").write_text(json.dumps({**MACHINE, **figures}))
    return quoted(PLACE.format(name), folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_quotes_the_committed_figures(page: Path) -> None:
    text = page.read_text()
    assert quoted(text) == text, "run: python -m tests.bench.table"


def test_all_tables_are_quoted_somewhere() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    assert [name for name in TABLES if f"<!-- figures: {name} -->" not in pages] == []
    assert (ROOT / "docs/bench/reliability.json").exists()


def test_figures_stand_beside_their_limits_and_missed_ones_stand_out(tmp_path: Path) -> None:
    results = {"gap": verdict(0.35, 0.4), "worst": verdict(0.8, 0.7), "ratio": verdict(1.1, None),
               "none": verdict(None, 3)}  # fmt: skip
    assert made(tmp_path, "reliability", results=results) == (
        "before\n<!-- figures: reliability -->\n| | measured | at most |\n|---|---|---|\n| gap | 0.35 | 0.4 |\n"
        "| worst | **0.8** | 0.7 |\n| ratio | 1.1 |  |\n| none | **none** | 3 |\n\n"
        f"{WHERE}<!-- end of figures -->\nafter\n"
    )


def test_of_each_fault_the_worst_is_shown(tmp_path: Path) -> None:
    faults = [{"fault": "hang", "gap_seconds": gap, "resets": 2, "leaks": 0} for gap in (0.3111, 0.42)] + [
        {"fault": "both", "gap_seconds": None, "resets": 0, "leaks": 1}
    ]
    page = made(tmp_path, "chaos", faults=faults, seed=7)
    assert "| hang | 0.42 s | 4 | 0 |\n| both | no end | 0 | 1 |\n" in page
    assert f"SEED=7. {WHERE}" in page


def test_an_unknown_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="nothing"):
        quoted(PLACE.format("nothing"), tmp_path)
