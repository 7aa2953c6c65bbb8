"""The longer forms of tests run when they are asked for, from a seed that can be given again."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from tests import full


def left_of(*marked: bool, wanted: bool) -> tuple[list[Any], list[Any]]:
    """Return what is left of a collection, and what was left out."""
    deselected: list[Any] = []
    items: list[Any] = [
        SimpleNamespace(get_closest_marker=lambda name, longer=longer: longer and name == "full") for longer in marked
    ]
    hook = SimpleNamespace(pytest_deselected=lambda *, items: deselected.extend(items))
    config: Any = SimpleNamespace(getoption=lambda name: wanted and name == "full", hook=hook)
    full.pytest_collection_modifyitems(config, items)
    return items, deselected


def test_longer_forms_are_left_out_and_counted_as_such() -> None:
    items, deselected = left_of(True, False, True, wanted=False)
    assert (len(items), len(deselected)) == (1, 2)


def test_full_runs_everything() -> None:
    items, deselected = left_of(True, False, True, wanted=True)
    assert (len(items), len(deselected)) == (3, 0)


def test_a_run_has_a_seed_and_says_how_to_repeat_it(seed: int) -> None:
    assert full.pytest_report_header() == f"dice: SEED={seed}"


@pytest.mark.parametrize("text", ["", "-1", "one"])
def test_a_seed_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setitem(os.environ, "SEED", text)
    with pytest.raises(pytest.UsageError, match="SEED must be a whole number"):
        full.pytest_configure()
