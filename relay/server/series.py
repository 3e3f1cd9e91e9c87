"""What every family of numbers stands on: closed label sets, each series there from the first scrape, at 0."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Children(dict[tuple[str, ...], Any]):
    """The series of one metric by their labels, all of them made at once.

    A label that nobody foresaw makes a series of its own: a number is no reason for a call to fail.
    """

    def __init__(self, metric: Any, *labels: Iterable[str]) -> None:
        """Make the product of *labels*; none at all if no labels are given."""
        keys = itertools.product(*labels) if labels else ()
        super().__init__((key, metric.labels(*key)) for key in keys)
        self._metric = metric

    def __missing__(self, key: tuple[str, ...]) -> Any:
        """Make the series of other labels."""
        found = self[key] = self._metric.labels(*key)
        return found


class Family:
    """Numbers that belong together, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register nothing yet."""
        self.registry = registry

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(name, what, labels, registry=self.registry)

    def _times(self, name: str, what: str, edges: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, what, labels, buckets=edges, registry=self.registry)
