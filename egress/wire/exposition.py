"""Write metrics in Prometheus' text format, version 0.0.4: what agents and control plane show at /metrics.

Standard library only, since gateways have nothing else. The format is at
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of docs/metrics.md. Names and units follow https://prometheus.io/docs/practices/naming/."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many observations fell into each bucket: (upper bound, count in it alone), without the last, endless one."""

    buckets: tuple[tuple[float, int], ...]
    count: int
    sum: float


#: By the values of the metric's labels, in their order.
Values: TypeAlias = Mapping[tuple[str, ...], float | Distribution]
Page: TypeAlias = Mapping[Metric, Values]
#: The one sample of a metric without labels.
PLAIN: tuple[str, ...] = ()


class Histogram:
    """Counts observations by size. For one thread at a time; a reader in another may see a count without its sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def distribution(self) -> Distribution:
        """Return what was counted so far."""
        counts = tuple(self._counts)
        return Distribution(tuple(zip(self._bounds, counts, strict=False)), sum(counts), self._sum)


def render(page: Page) -> str:
    """Return `page` as text. A metric without samples shows its help and type all the same."""
    return "".join(f"{line}\n" for metric, values in page.items() for line in _family(metric, values))


def _family(metric: Metric, values: Values) -> Iterable[str]:
    yield f"# HELP {metric.name} {_escaped(metric.help)}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, value in values.items():
        named = tuple(zip(metric.labels, labels, strict=True))
        if isinstance(value, Distribution):
            yield from _histogram(metric.name, named, value)
        else:
            yield _sample(metric.name, named, value)


def _histogram(name: str, labels: tuple[tuple[str, str], ...], value: Distribution) -> Iterable[str]:
    below = 0
    for bound, count in value.buckets:
        below += count
        yield _sample(f"{name}_bucket", (*labels, ("le", _number(bound))), below)
    yield _sample(f"{name}_bucket", (*labels, ("le", "+Inf")), value.count)
    yield _sample(f"{name}_sum", labels, value.sum)
    yield _sample(f"{name}_count", labels, value.count)


def _sample(name: str, labels: Sequence[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{label}="{_quoted(text)}"' for label, text in labels)
    return f"{name}{{{inside}}} {_number(value)}" if inside else f"{name} {_number(value)}"


def _number(value: float) -> str:
    # repr loses nothing; whole numbers without a point read better, and stay exact beyond 2**53.
    return str(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
