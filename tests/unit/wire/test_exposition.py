"""The text format: what one of Prometheus' own parsers reads is what was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from egress.wire.exposition import PLAIN, Histogram, Metric, render
from tests.exposed import Exposed, needs_promtool, promtool

GAUGE = Metric("sluicegate_test_things", "gauge", "Things, with a \\ and\na new line.", ("name",))
SIZES = Metric("sluicegate_test_seconds", "histogram", "Sizes.")


@given(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False) | st.integers())
def test_any_label_and_value_come_back(label: str, value: float) -> None:
    (family,) = text_string_to_metric_families(render({GAUGE: {(label,): value}}).replace("\r", "\\r"))
    (sample,) = family.samples
    assert sample.value == float(value)
    assert sample.labels == {"name": label.replace("\r", "\\r")}


def test_a_metric_without_samples_shows_help_and_type() -> None:
    assert render({GAUGE: {}}) == (
        "# HELP sluicegate_test_things Things, with a \\\\ and\\na new line.\n# TYPE sluicegate_test_things gauge\n"
    )


def test_whole_numbers_stay_exact() -> None:
    assert render({GAUGE: {("a",): 2**63 - 1}}).endswith('{name="a"} 9223372036854775807\n')


def test_a_histogram_counts_up_its_buckets() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 5.0):
        histogram.observe(value)
    shown = Exposed(render({SIZES: {PLAIN: histogram.distribution()}}))
    assert [shown.value("sluicegate_test_seconds_bucket", le=le) for le in ("0.1", "1", "+Inf")] == [2, 3, 4]
    assert shown.value("sluicegate_test_seconds_count") == 4
    assert shown.value("sluicegate_test_seconds_sum") == pytest.approx(5.65)


def test_labels_that_do_not_fit_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        render({GAUGE: {("a", "b"): 1}})


@needs_promtool
def test_promtool_takes_it() -> None:
    histogram = Histogram((0.1,))
    histogram.observe(0.5)
    promtool("check", "metrics", text=render({GAUGE: {('ü"\n\\',): 0.5}, SIZES: {PLAIN: histogram.distribution()}}))
