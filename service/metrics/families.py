"""Families of series: numbers that one thread changes, under each set of their labels' values, and how they are
written.

prometheus_client's own counters cost as much as a batch row, and its writer holds the event loop for 6 us a line.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import accumulate
from typing import Generic, Protocol, TypeVar

HALF_LIFE_SECONDS = 600.0
"""Of what a ``Distance`` remembers."""
MIN_WEIGHT = 30.0
"""Values below which a ``Distance`` would tell of chance more than of drift."""

SeriesNumbers = dict[str, dict[tuple[str, ...], list[float]]]
"""Series by their name without the prefix, then by their labels' values. A counter or gauge is one number, a histogram
the count of each bucket and then the total."""


Waited = TypeVar("Waited")


class Counter:
    """How often something happened."""

    __slots__ = ("value",)
    kind = "counter"

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count ``amount`` more."""
        self.value += amount

    def numbers(self) -> list[float]:
        """The value."""
        return [self.value]

    def load(self, numbers: Sequence[float]) -> None:
        """Be what ``numbers`` gave."""
        (self.value,) = numbers

    def lines(self, name: str, labels: str) -> list[str]:
        """The lines of the text format."""
        return [_line(name, labels, self.value)]


class Gauge:
    """How much there is now: a number that was set, or one that is asked for whenever it is read."""

    __slots__ = ("_source", "_value")
    kind = "gauge"

    def __init__(self) -> None:
        self._value = 0.0
        self._source: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        """Be ``value`` from now on."""
        self._value, self._source = value, None

    def follow(self, source: Callable[[], float]) -> None:
        """Be what ``source`` returns, from now on."""
        self._source = source

    def read(self) -> float:
        """The value now."""
        return self._value if self._source is None else self._source()

    def numbers(self) -> list[float]:
        """The value now."""
        return [self.read()]

    def load(self, numbers: Sequence[float]) -> None:
        """Be what ``numbers`` gave."""
        self.set(*numbers)

    def lines(self, name: str, labels: str) -> list[str]:
        """The lines of the text format."""
        return [_line(name, labels, self.read())]


class Histogram:
    """How observations are spread over buckets; a bucket's upper bound belongs to it."""

    __slots__ = ("bounds", "counts", "total")
    kind = "histogram"

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Count many observations; quick where most fall into one bucket."""
        if not values:
            return
        first, last = bisect_left(self.bounds, min(values)), bisect_left(self.bounds, max(values))
        if first == last:
            self.counts[first] += len(values)
        else:
            for value in values:
                self.counts[bisect_left(self.bounds, value)] += 1
        self.total += sum(values)

    async def observe_wait(self, waited_for: Awaitable[Waited]) -> Waited:
        """Count how long something is waited for, in seconds, whatever comes of it."""
        began_at = time.perf_counter()
        try:
            return await waited_for
        finally:
            self.observe(time.perf_counter() - began_at)

    def numbers(self) -> list[float]:
        """The count of each bucket, and then the total."""
        return [*self.counts, self.total]

    def load(self, numbers: Sequence[float]) -> None:
        """Be what ``numbers`` gave."""
        *counts, self.total = numbers
        self.counts = [int(count) for count in counts]

    def lines(self, name: str, labels: str) -> list[str]:
        """The lines of the text format."""
        comma = "," if labels else ""
        bounds = [*map(number, self.bounds), "+Inf"]
        counts = list(accumulate(self.counts))
        made = [
            f'{name}_bucket{{{labels}{comma}le="{bound}"}} {count}.0'
            for bound, count in zip(bounds, counts, strict=True)
        ]
        made += [_line(f"{name}_count", labels, counts[-1]), _line(f"{name}_sum", labels, self.total)]
        return made


class Distance:
    """How far recent values are from what they were in training: between two normal distributions, in standard
    deviations of the training (the 2-Wasserstein distance): ``sqrt((m - 0)^2 + (s - 1)^2)`` of values that have mean m
    and deviation s when those of the training have 0 and 1. What came ``HALF_LIFE_SECONDS`` ago counts half.

    Sums are kept, and the distance is taken of them when it is written, so that several workers' sums add up first.
    """

    __slots__ = ("_at", "_clock", "_sums")
    kind = "gauge"

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._sums = [0.0, 0.0, 0.0, 0.0]

    def see(self, num_values: float, total: float, total_of_squares: float, spread: float) -> None:
        """Take in values that were measured in standard deviations of the training.

        ``spread``: 1; or 0 of a feature that did not vary in training, which has none.
        """
        seen = (num_values, total, total_of_squares, num_values * spread)
        self._sums = [before + new for before, new in zip(self.numbers(), seen, strict=True)]
        self._at = self._clock()

    def numbers(self) -> list[float]:
        """The weight of all values, their sum, that of their squares, and the weight of those that varied."""
        fade = 0.5 ** ((self._clock() - self._at) / HALF_LIFE_SECONDS)
        return [each * fade for each in self._sums]

    def load(self, numbers: Sequence[float]) -> None:
        """Be what ``numbers`` gave."""
        self._sums, self._at = list(numbers), self._clock()

    def read(self) -> float:
        """The distance; 0 until there is enough to tell."""
        weight, total, total_of_squares, spread = self.numbers()
        if weight < MIN_WEIGHT:
            return 0.0
        mean = total / weight
        deviation = math.sqrt(max(total_of_squares / weight - mean * mean, 0.0))
        return math.hypot(mean, deviation - spread / weight)

    def lines(self, name: str, labels: str) -> list[str]:
        """The lines of the text format."""
        return [_line(name, labels, self.read())]


class LabelledSeries(Protocol):
    """One series: what a family asks of it."""

    kind: str

    def numbers(self) -> list[float]:
        """It as plain numbers, which add up over workers one by one."""

    def load(self, numbers: Sequence[float]) -> None:
        """Be what ``numbers`` gave."""

    def lines(self, name: str, labels: str) -> list[str]:
        """The lines of the text format; ``labels`` as in ``a="b",c="d"``."""


Value = TypeVar("Value", bound=LabelledSeries)
OverWorkers = Callable[[tuple[float, float]], float]


class Family(Generic[Value]):
    """A series under each set of its labels' values.

    Attributes:
        new: makes one of its series, at 0.
        over_workers: what the values of a server's workers make together: ``sum``, ``max`` or ``min``.
        is_lasting: whether a worker's value still counts when the worker has ended, as a counter's does.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        new: Callable[[], Value],
        over_workers: OverWorkers = sum,
        is_lasting: bool = True,
    ) -> None:
        self.name, self.text, self.label_names = name, text, tuple(labels)
        self.over_workers, self.is_lasting = over_workers, is_lasting
        self._values: dict[tuple[str, ...], Value] = {}
        self._written: dict[tuple[str, ...], str] = {}
        self.new = new

    def labels(self, **labels: str) -> Value:
        """The series with these labels, which begins at 0."""
        key = tuple(labels[name] for name in self.label_names)
        assert len(labels) == len(key)
        if key not in self._values:
            self._values[key] = self.new()
        return self._values[key]

    def numbers(self) -> dict[tuple[str, ...], list[float]]:
        """All of it as plain numbers, by the labels' values."""
        return {key: value.numbers() for key, value in self._values.items()}

    def load(self, numbers: Mapping[tuple[str, ...], Sequence[float]]) -> None:
        """Be what ``numbers`` gave."""
        for key, each in numbers.items():
            self.labels(**dict(zip(self.label_names, key, strict=True))).load(each)

    def lines(self, *, is_open: bool) -> list[str]:
        """All of it in Prometheus' text format, or as OpenMetrics."""
        name, kind = f"ostinato_{self.name}", self.new().kind
        # Of a counter OpenMetrics names the family without the end that its sample has.
        family = name.removesuffix("_total") if is_open and kind == "counter" else name
        made = [f"# HELP {family} {_escaped(self.text)}", f"# TYPE {family} {kind}"]
        for key, value in self._values.items():
            if key not in self._written:
                pairs = sorted(zip(self.label_names, key, strict=True))
                self._written[key] = ",".join(f'{label}="{_escaped(each)}"' for label, each in pairs)
            made += value.lines(name, self._written[key])
        return made


def number(value: float) -> str:
    """A number as both formats have it."""
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _line(name: str, labels: str, value: float) -> str:
    return f"{name}{{{labels}}} {number(value)}" if labels else f"{name} {number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def counter(name: str, text: str, *labels: str) -> Family[Counter]:
    """A counter of which each worker has its share."""
    return Family(name, text, labels, Counter)


def counter_of_all(name: str, text: str, *labels: str) -> Family[Counter]:
    """A counter that each worker has whole, and not a share of."""
    return Family(name, text, labels, Counter, max)


def gauge(name: str, text: str, *labels: str, over_workers: OverWorkers = sum) -> Family[Gauge]:
    """A gauge, which ends with its worker."""
    return Family(name, text, labels, Gauge, over_workers, is_lasting=False)


def histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> Family[Histogram]:
    """A histogram of these buckets."""
    return Family(name, text, labels, lambda: Histogram(bounds))


def distances(name: str, text: str, *labels: str) -> Family[Distance]:
    """Distances, of all workers' values together."""
    return Family(name, text, labels, Distance, is_lasting=False)
