"""A required kind that was skipped must fail the run: else a green run could have proved nothing."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.kinds import Kinds


def report(outcome: str, *kinds: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=f"{kinds[0]}-{outcome}",
        location=("", None, ""),
        keywords={},
        outcome=outcome,  # type: ignore[arg-type]
        longrepr=("file", 1, "Skipped: no root") if outcome == "skipped" else None,
        when="setup" if outcome == "skipped" else "call",
        user_properties=[("kinds", list(kinds))],
    )


def finish(required: set[str], *reports: pytest.TestReport, args: list[str] | None = None) -> int:
    counted = Kinds(required)
    for each in reports:
        counted.pytest_runtest_logreport(each)
    config = SimpleNamespace(
        args=args or ["tests"], getini=lambda _: ["tests"], option=SimpleNamespace(collectonly=False)
    )
    session: Any = SimpleNamespace(config=config, exitstatus=0)
    counted.pytest_sessionfinish(session)
    return int(session.exitstatus)


def test_a_skip_in_a_required_kind_fails_the_run() -> None:
    assert finish({"netns"}, report("skipped", "browser", "netns")) == pytest.ExitCode.TESTS_FAILED


def test_a_skip_in_another_kind_does_not() -> None:
    assert finish({"netns"}, report("passed", "netns"), report("skipped", "browser")) == pytest.ExitCode.OK


def test_a_required_kind_without_any_test_fails_a_whole_run_only() -> None:
    assert finish({"netns"}, report("passed", "unit")) == pytest.ExitCode.TESTS_FAILED
    assert finish({"netns"}, report("passed", "unit"), args=["tests/unit"]) == pytest.ExitCode.OK
