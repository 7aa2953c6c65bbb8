"""The short form of `./dev chaos`, and proof that its judges see: a planted leak makes it fail.

shop-api, mail-worker (enabled), docs-site (not) ── 2 nodes (ptp, bridge) ── 4 gateways ── observer
a fresh connection every 10 ms, and some that last, from each container
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.faults import KINDS, PLANTED
from tests.chaos.suite import Suite
from tests.e2e.conftest import missing
from tests.e2e.system import System

pytestmark = [pytest.mark.netns, pytest.mark.cni]

DEADLY = [kind for kind in KINDS if kind.short and kind.resets == "must"]
OTHERS = [kind for kind in KINDS if kind.short and kind.resets != "must"]
#: What a machine that is this much slower takes.
SLACK = 8


def suite_of(seed: int) -> Iterator[Suite]:
    if reason := missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="sgt-chaos-", ignore_cleanup_errors=True) as folder:
        system = System(Path(folder))
        try:
            yield Suite(system, seed, print, slack=SLACK)
        finally:
            system.stack.stop()


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    yield from suite_of(seed=0)


@pytest.mark.timeout(900)
def test_random_faults_leak_nothing_and_leave_two_gateways_each(suite: Suite, seed: int) -> None:
    suite.dice.seed(seed)
    result = suite.run([*suite.choose(DEADLY, 1), *suite.choose(OTHERS, 3)])
    assert report.wrong(result) == []
    # The load isn't blind: no node can know so soon.
    assert result["faults"][0]["gap_seconds"] > 0.1
    assert result["faults"][0]["resets"] > 0


@pytest.mark.timeout(900)
def test_a_planted_leak_is_found(suite: Suite) -> None:
    outcome = suite.strike(PLANTED)
    assert outcome.leaks > 0
    assert any("198.51.100.2" in what for what in outcome.wrong), outcome.wrong
    result = {"faults": [{"fault": outcome.fault, "target": outcome.target, "wrong": outcome.wrong}], "ending": []}
    assert report.wrong(result) != []


@pytest.mark.full
@pytest.mark.timeout(3_600)
def test_every_kind_of_fault(seed: int) -> None:
    """The long form."""
    for each in suite_of(seed):
        result = each.run(each.choose(KINDS, len(KINDS)))
        assert {fault["fault"] for fault in result["faults"]} == {kind.name for kind in KINDS}
        assert report.wrong(result) == []
