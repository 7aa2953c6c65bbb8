"""A pytest plugin: the longer forms of crash and load tests, and the seed that their dice are thrown from.

`./dev test --full` runs tests marked `full` as well. SEED=N in the environment repeats a run's dice.
"""

import os
import secrets

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --full."""
    parser.addoption("--full", action="store_true", help="also the longer, seeded forms of crash and load tests")


def pytest_configure() -> None:
    """Settle on a seed; pytest-xdist's processes inherit it."""
    text = os.environ.setdefault("SEED", str(secrets.randbelow(10**9)))
    if not text.isdecimal():
        raise pytest.UsageError(f"SEED must be a whole number, not {text!r}")


def pytest_report_header() -> str:
    """Say how to repeat this run."""
    return f"dice: SEED={os.environ['SEED']}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it again where it is looked for, also with -q."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"dice: SEED={os.environ['SEED']} repeats them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the longer forms unless they are wanted."""
    if config.getoption("full"):
        return
    longer = [item for item in items if item.get_closest_marker("full")]
    if longer:
        config.hook.pytest_deselected(items=longer)
        items[:] = [item for item in items if item not in longer]


@pytest.fixture
def seed() -> int:
    """Return the run's seed."""
    return int(os.environ["SEED"])
