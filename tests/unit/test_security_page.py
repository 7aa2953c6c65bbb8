"""docs/security.md names a test for every threat, and each of these exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def threats() -> list[tuple[str, str]]:
    """Return (threat, the cell that names its tests) of every row of every table of threats."""
    part = PAGE.partition("## Threats")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in part.splitlines() if line[:1] == "|"]
    assert all(len(row) == 3 for row in rows if row[0] != "---|---|---"), rows
    return [(row[0], row[2]) for row in rows if row[0] not in {"threat", "---|---|---"}]


@cache
def functions_of(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("threat", "cell"), threats(), ids=[threat for threat, _ in threats()])
def test_each_threat_has_a_test_that_exists(threat: str, cell: str) -> None:
    named = TEST.findall(cell)
    assert named, f"no test for: {threat}"
    assert TEST.sub("", cell).strip(", ") == ""
    for file, name in named:
        assert name.startswith("test_")
        assert name in functions_of(ROOT / "tests" / file), f"{file} has no {name}"


def test_there_are_threats() -> None:
    """Else the other test shows nothing."""
    assert len(threats()) > 50
    assert set(re.findall(r"^### (.*)$", PAGE, re.MULTILINE)) >= {"Somebody on the internet"}
