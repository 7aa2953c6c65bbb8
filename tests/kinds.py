"""A pytest plugin: tests by kind, a summary by kind, and kinds that must not be skipped.

A test's kind is its marker (netns, browser, cni, contract, postgres, redis) or else its folder (unit, integration,
e2e).
`REQUIRE=netns,browser` in the environment turns a skip of these kinds into a failure of the run.
"""

import collections
import os
import sys
import tempfile
from pathlib import Path

import pytest

MARKED = ("browser", "netns", "cni", "contract", "postgres", "redis")
ORDER = ("unit", "integration", "postgres", "redis", "contract", "cni", "netns", "browser", "e2e")
ROOT = Path(__file__).parent

# Tests never meet the state of a demo that runs in this checkout.
_STATE = tempfile.TemporaryDirectory(prefix="sgt-", ignore_cleanup_errors=True)
os.environ["SLUICEGATE_STATE_DIR"] = _STATE.name
# Each process counts for itself: no Redis is there.
os.environ["CACHE_URL"] = "locmem://"
os.environ["SECRET_KEY"] = "a-key-for-tests-only"
# What tests run as `python3` is this one itself: a version manager's is a script, which costs more than most requests.
os.environ["PATH"] = f"{Path(sys.executable).resolve().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def kinds_of(item: pytest.Item) -> list[str]:
    """Return all kinds that `item` belongs to; the first is the one it is counted under."""
    marked = [name for name in MARKED if item.get_closest_marker(name)]
    return marked or [item.path.relative_to(ROOT).parts[0]]


def _length(item: pytest.Item) -> int:
    """Return a rough measure of how long the file of `item` takes."""
    whole_system = item.path.parent in {ROOT / "e2e", ROOT / "storm", ROOT / "chaos"}
    return len(ORDER) if whole_system else ORDER.index(kinds_of(item)[0])


class Kinds:
    """Counts outcomes by kind."""

    def __init__(self, required: set[str]) -> None:
        self.required = required
        self.kinds: dict[str, list[str]] = {}
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    @pytest.hookimpl(trylast=True)  # pytest orders by session-wide parameters before
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note every test's kinds; the longest files come first, so that all processes end at about the same time.

        That is the order in which xdist deals files out with `--no-loadscope-reorder`; else those with the most tests
        come first, which are the shortest.
        """
        for item in items:
            item.user_properties.append(("kinds", kinds_of(item)))
        items.sort(key=_length, reverse=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst that happened to a test."""
        self.kinds[report.nodeid] = dict(report.user_properties)["kinds"]
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
        elif report.skipped and not hasattr(report, "wasxfail"):
            self.outcomes.setdefault(report.nodeid, "skipped")
            self.reasons[report.nodeid] = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        elif report.when == "call":
            self.outcomes.setdefault(report.nodeid, "passed")

    def missing(self) -> list[str]:
        """Return the tests of required kinds that were skipped, with their reasons."""
        return [
            f"{nodeid}: {self.reasons[nodeid]}"
            for nodeid, outcome in self.outcomes.items()
            if outcome == "skipped" and self.required & set(self.kinds.get(nodeid, ()))
        ]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run in which a required kind was skipped, or a required kind has no test at all."""
        seen = {kind for kinds in self.kinds.values() for kind in kinds}
        if self.missing() or (self._whole_run(session) and self.required - seen):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @staticmethod
    def _whole_run(session: pytest.Session) -> bool:
        return not session.config.option.collectonly and session.config.args == session.config.getini("testpaths")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print one line per kind, and why tests were skipped."""
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for nodeid, outcome in self.outcomes.items():
            counts[self.kinds[nodeid][0]][outcome] += 1
        terminalreporter.section("by kind")
        for kind in sorted(counts, key=ORDER.index):
            line = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts[kind].items()))
            terminalreporter.write_line(f"{kind:12} {line}")
        for reason, number in collections.Counter(self.reasons.values()).most_common():
            terminalreporter.write_line(f"{number} skipped: {reason}")
        for line in self.missing():
            terminalreporter.write_line(f"required, but skipped: {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Register the counting."""
    required = {name.strip() for name in os.environ.get("REQUIRE", "").split(",") if name.strip()}
    if unknown := required - set(ORDER):
        raise pytest.UsageError(f"REQUIRE knows {', '.join(ORDER)}, but not {', '.join(sorted(unknown))}")
    config.pluginmanager.register(Kinds(required), "sluicegate-kinds")
