"""The judge, on made-up loads: it must find what is wrong, and nothing else."""

from pathlib import Path
from random import Random

import pytest

from tests.chaos import report
from tests.chaos.faults import KINDS, Begun, Kind
from tests.chaos.gaps import Record, Sign
from tests.chaos.load import Measured
from tests.chaos.suite import Window, draw, judge

from .test_gaps import A, B, attempts


def kind(**more: object) -> Kind:
    options = {"name": "a fault", "where": "gateway", "begin": lambda *_: Begun(0, lambda: None), **more}
    return Kind(**options)  # type: ignore[arg-type]


WINDOW = Window(at=1, healed_at=6, over_at=8, struck=frozenset({A}))


def measured(*runs: tuple[str, int], signs: tuple[Sign, ...] = ()) -> list[Measured]:
    record = Record(attempts(*runs), list(signs))
    one = Measured("shop-api", "node-1", "shop-api-1", Path("/dev/null"), record)
    return [one]


def test_a_pivot_in_time_is_as_it_should_be() -> None:
    outcome = judge(kind(), "droplet-7", WINDOW, measured((A, 100), ("", 35), (B, 600)))
    assert (outcome.gap_seconds, outcome.resets, outcome.wrong) == (pytest.approx(0.35), 0, [])


def test_a_gap_that_is_too_long_is_wrong_unless_nothing_else_can_be_had() -> None:
    load = measured((A, 100), ("", 500), (B, 150))
    assert judge(kind(), "", WINDOW, load).wrong == ["shop-api on node-1: new connections found no way for 5.0 s"]
    assert judge(kind(gap_seconds=None), "", WINDOW, load).wrong == []


def test_a_gap_without_an_end_is_wrong_in_any_case() -> None:
    outcome = judge(kind(gap_seconds=None), "", WINDOW, measured((A, 100), ("", 650)))
    assert outcome.gap_seconds is None
    assert len(outcome.wrong) == 1


def test_a_reset_is_wrong_where_the_connection_could_have_lived() -> None:
    load = measured((A, 800), signs=(Sign("o", "idle", 0.5, A), Sign("e", "idle", 3.0, A, "ECONNRESET")))
    outcome = judge(kind(), "", WINDOW, load)
    assert (outcome.resets, outcome.reset_seconds) == (1, pytest.approx(2.0))
    assert outcome.wrong == [
        "shop-api on node-1, idle connection: ended (ECONNRESET) after 2.0 s, and had no reason to"
    ]
    assert judge(kind(resets="may"), "", WINDOW, load).wrong == []
    assert judge(kind(resets="must"), "", WINDOW, load).wrong == []


def test_a_reset_over_another_gateway_is_always_wrong() -> None:
    load = measured((A, 800), signs=(Sign("o", "idle", 0.5, B), Sign("e", "idle", 3.0, B, "ECONNRESET")))
    assert judge(kind(resets="must"), "", WINDOW, load).wrong


def test_a_connection_left_hanging_over_a_dead_gateway_is_wrong() -> None:
    for end in ((), (Sign("e", "active", 7.0, A, "ETIMEDOUT"),)):
        load = measured((A, 800), signs=(Sign("o", "active", 0.5, A), *end))
        assert judge(kind(resets="must"), "", WINDOW, load).wrong == [
            "shop-api on node-1, active connection: was left hanging over a dead gateway"
        ]


def test_kinds_have_names_of_their_own_and_a_short_form() -> None:
    names = [each.name for each in KINDS]
    assert len(set(names)) == len(names)
    assert {"gateway", "node", "control"} == {each.where for each in KINDS if each.short}


def test_every_kind_comes_before_one_comes_twice_and_a_seed_repeats_the_order() -> None:
    chosen, again, other = (draw(Random(seed), KINDS, len(KINDS) + 5) for seed in (7, 7, 8))  # noqa: S311  # no secret
    assert {each.name for each in chosen[: len(KINDS)]} == {each.name for each in KINDS}
    assert chosen == again
    assert chosen != other


def test_the_table_has_the_worst_of_each_kind() -> None:
    def fault(name: str, gap: float | None, leaks: int = 0) -> dict[str, object]:
        return {"fault": name, "target": "x", "gap_seconds": gap, "resets": 1, "leaks": leaks, "wrong": ["bad"] * leaks}

    faults = [fault("hang", 0.3), fault("blip", None), fault("hang", 0.4123, 1)]
    cells = [[cell.strip() for cell in line.split("|")] for line in report.table(faults)]
    assert cells == [
        ["fault", "times", "longest gap", "resets", "leaks"],
        ["hang", "2", "0.412 s", "2", "1"],
        ["blip", "1", "no end", "1", "0"],
    ]
    assert report.wrong({"faults": faults, "ending": ["worse"]}) == ["hang at x: bad", "at the end: worse"]
