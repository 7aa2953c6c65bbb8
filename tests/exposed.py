"""Read metrics as Prometheus would: by its own client's parser, and by promtool where it is installed."""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from egress.wire.exposition import Metric

ROOT = Path(__file__).resolve().parents[1]
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool isn't installed (Debian: prometheus)"
)


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """Run promtool; returns what it said, and fails unless it is content."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


class Exposed:
    """What a page shows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float | None:
        """Return the one sample's value; None when there is none."""
        found = [
            sample.value
            for family in self._families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) < 2, f"{name}{labels} is ambiguous: {found}"
        return found[0] if found else None

    def labels(self, name: str, label: str) -> set[str]:
        """Return a label's values."""
        samples = [sample for family in self._families.values() for sample in family.samples if sample.name == name]
        return {sample.labels[label] for sample in samples}

    def samples(self) -> int:
        """Return how many series there are."""
        return sum(len(family.samples) for family in self._families.values())

    def is_exactly(self, metrics: Sequence[Metric]) -> None:
        """Fail unless the page shows these metrics, with their help, types and labels, and no others."""
        # The parser takes the end of a counter's name for a part of its samples' names.
        shown = {
            (family.name + ("_total" if family.type == "counter" else ""), family.type, family.documentation)
            for family in self._families.values()
        }
        assert shown == {(metric.name, metric.kind, metric.help) for metric in metrics}
        by_name = {metric.name: set(metric.labels) for metric in metrics}
        for family in self._families.values():
            for sample in family.samples:
                full = family.name + ("_total" if family.type == "counter" else "")
                assert set(sample.labels) - {"le"} == by_name[full], sample


def names(metrics: Iterable[Metric]) -> set[str]:
    """Return the names by which samples of these metrics are asked for."""
    found = set()
    for metric in metrics:
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        found |= {metric.name + end for end in ends}
    return found
