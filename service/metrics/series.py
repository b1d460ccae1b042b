"""The Prometheus series of a process, each named once, here. ``docs/metrics.md`` explains them to the operator.

How those of several workers are put together is in ``service/metrics/workers.py``.

Labels are bounded: model, version, route, reason; never a session's id. The values are plain numbers that one thread
changes, and prometheus_client writes them out when they are asked for: its own counters cost as much as a batch row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

_MODEL = ("model", "version")
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

SeriesNumbers = dict[str, dict[tuple[str, ...], list[float]]]
"""Series by their name without the prefix, then by their labels' values. A counter or gauge is one number, a histogram
the count of each bucket and then the total."""


class Counter:
    """How often something happened."""

    __slots__ = ("value",)
    metric_family = CounterMetricFamily

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

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        """Write the value into a family of prometheus_client's."""
        family.add_metric(labels, self.value)


class Gauge:
    """How much there is now: a number that was set, or one that is asked for whenever it is read."""

    __slots__ = ("_source", "_value")
    metric_family = GaugeMetricFamily

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

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        """Write the value into a family of prometheus_client's."""
        family.add_metric(labels, self.read())


class Histogram:
    """How observations are spread over buckets; a bucket's upper bound belongs to it."""

    __slots__ = ("bounds", "counts", "total")
    metric_family = HistogramMetricFamily

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

    def numbers(self) -> list[float]:
        """The count of each bucket, and then the total."""
        return [*self.counts, self.total]

    def load(self, numbers: Sequence[float]) -> None:
        """Be what ``numbers`` gave."""
        *counts, self.total = numbers
        self.counts = [int(count) for count in counts]

    def add_to(self, family: Any, labels: Sequence[str]) -> None:
        """Write the buckets into a family of prometheus_client's."""
        bounds = [*map(floatToGoString, self.bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(self.counts), strict=True)), sum_value=self.total)


Value = TypeVar("Value", bound=Counter | Gauge | Histogram)
OverWorkers = Callable[[tuple[float, float]], float]


class Family(Generic[Value]):
    """A series under each set of its labels' values.

    Attributes:
        new: makes one of its series, at 0.
        over_workers: what the values of a server's workers make together, ``sum`` or ``max``.
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

    def collect(self) -> Metric:
        """All of it, as prometheus_client takes it."""
        family = self.new().metric_family(f"ostinato_{self.name}", self.text, labels=self.label_names)
        for key, value in self._values.items():
            value.add_to(family, key)
        return family


def _counter(name: str, text: str, *labels: str) -> Family[Counter]:
    return Family(name, text, labels, Counter)


def _counter_of_all(name: str, text: str) -> Family[Counter]:
    """A counter that each worker has whole, and not a share of."""
    return Family(name, text, (), Counter, max)


def _gauge(name: str, text: str, *labels: str, over_workers: OverWorkers = sum) -> Family[Gauge]:
    return Family(name, text, labels, Gauge, over_workers, is_lasting=False)


def _histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> Family[Histogram]:
    return Family(name, text, labels, lambda: Histogram(bounds))


class Metrics:
    """All series of a worker.

    Attributes:
        gather: gives the numbers of all workers of the server; None = this worker is the only one.
    """

    def __init__(self) -> None:
        self.gather: Callable[[], SeriesNumbers] | None = None
        self.steps = _counter("steps_total", "Steps that the graphs computed: rows x steps.", *_MODEL)
        self.padding_steps = _counter("padding_steps_total", "Steps computed beyond the ends of sequences.", *_MODEL)
        self.sessions = _counter("sessions_total", "Events in sessions' lives.", *_MODEL, "event")
        self.rejected = _counter("rejected_total", "Requests answered with an error, by its code.", "reason")
        self.seq_conflicts = _counter(
            "seq_conflicts_total", "Chunks refused because seq was not the session's step count.", *_MODEL
        )
        self.duplicates = _counter("duplicates_total", "Chunks sent again and answered from memory.", *_MODEL)
        self.run_failures = _counter(
            "run_failures_total", "Iterations that failed, or gave a row that is not finite.", *_MODEL
        )
        self.cancelled = _counter("cancelled_total", "Work dropped, its caller gone: outputs under way, too.", *_MODEL)
        self.commit_conflicts = _counter(
            "commit_conflicts_total", "Commits that another worker or replica was before; judged again.", *_MODEL
        )
        self.store_errors = _counter(
            "store_errors_total", "Requests, rows of messages, and tasks of its own that the store failed."
        )
        self.records_unreadable = _counter(
            "records_unreadable_total", "Sessions found whose record is damaged, or of a schema that is not read."
        )
        self.sessions_live = _gauge("sessions_live", "Sessions in memory.", *_MODEL)
        self.streams_live = _gauge("streams_live", "WebSocket streams that are open.")
        self.queue_depth = _gauge("queue_depth", "Rows accepted and not yet answered.", *_MODEL)
        self.state_bytes = _gauge(
            "state_bytes", "Bytes of the sessions in memory: recurrent state, and the answers kept.", *_MODEL
        )
        self.model_info = _gauge(
            "model_info",
            "1 for each model version that is served.",
            *_MODEL,
            "task",
            "batch_invariant",
            over_workers=max,
        )
        self.run_mode = _gauge(
            "run_mode",
            "Worker processes in which a graph of a served version runs on the event loop, or in a thread.",
            *_MODEL,
            "graph",
            "mode",
        )
        self.models_failed = _gauge(
            "models_failed", "Model versions that failed a check at load and are not served.", over_workers=max
        )
        self.worker_restarts = _counter_of_all(
            "worker_restarts_total", "Workers started in the place of one that ended, over the life of the server."
        )
        self.workers = _gauge("workers", "Worker processes that are running.")
        self.batch_size = _histogram("iteration_batch_size", "Rows in an iteration.", _POWERS, *_MODEL)
        self.iteration_steps = _histogram("iteration_steps", "Steps of each row in an iteration.", _POWERS, *_MODEL)
        self.queue_seconds = _histogram(
            "queue_seconds", "Time from a request's acceptance to its first iteration.", _SECONDS, *_MODEL
        )
        self.run_seconds = _histogram(
            "run_seconds", "Time of an iteration: gather, run, check, scatter.", _SECONDS, *_MODEL
        )
        self.commit_seconds = _histogram("commit_seconds", "Time of the commit of an iteration.", _SECONDS, *_MODEL)
        self.request_seconds = _histogram(
            "request_seconds", "Time from a request's last byte to its answer.", _SECONDS, "route", "code_class"
        )
        self.generated_steps = _counter("generated_steps_total", "Steps that decoders computed: one a lane.", *_MODEL)
        self.generation_lanes = _gauge("generation_lanes", "Lanes of the decoder in use: outputs, or beams.", *_MODEL)
        self.store_errors.labels()  # it is there before anything fails, so that its rate is known
        self.records_unreadable.labels()
        self.workers.labels().set(1)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    @property
    def families(self) -> list[Family[Any]]:
        """All series before their labels are given, in the order above."""
        return [family for family in vars(self).values() if isinstance(family, Family)]

    def collect(self) -> Iterator[Metric]:
        """All series as prometheus_client takes them."""
        for family in self.families:
            yield family.collect()

    def numbers(self) -> SeriesNumbers:
        """All series of this worker as plain numbers."""
        return {family.name: family.numbers() for family in self.families}

    def load(self, numbers: SeriesNumbers) -> None:
        """Be what ``numbers`` gave."""
        for family in self.families:
            family.load(numbers.get(family.name, {}))

    def of_all_workers(self) -> Metrics:
        """All series of all workers together."""
        together = self if self.gather is None else Metrics()
        if self.gather is not None:
            together.load(self.gather())
        return together

    def render(self) -> bytes:
        """All series in Prometheus' text format, those of all workers together."""
        return generate_latest(self.of_all_workers()._registry)


class ModelMetrics:
    """The series of one model version, each already bound to its labels."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        self.steps = metrics.steps.labels(**labels)
        self.opened = metrics.sessions.labels(**labels, event="opened")
        self.closed = metrics.sessions.labels(**labels, event="closed")
        self.expired = metrics.sessions.labels(**labels, event="expired")
        self.evicted = metrics.sessions.labels(**labels, event="evicted")
        self.loaded = metrics.sessions.labels(**labels, event="loaded")
        self.seq_conflicts = metrics.seq_conflicts.labels(**labels)
        self.duplicates = metrics.duplicates.labels(**labels)
        self.commit_conflicts = metrics.commit_conflicts.labels(**labels)
        self.run_failures = metrics.run_failures.labels(**labels)
        self.cancelled = metrics.cancelled.labels(**labels)
        self.sessions_live = metrics.sessions_live.labels(**labels)
        self.queue_depth = metrics.queue_depth.labels(**labels)
        self.state_bytes = metrics.state_bytes.labels(**labels)
        self.batch_size = metrics.batch_size.labels(**labels)
        self.iteration_steps = metrics.iteration_steps.labels(**labels)
        self.queue_seconds = metrics.queue_seconds.labels(**labels)
        self.run_seconds = metrics.run_seconds.labels(**labels)
        self.commit_seconds = metrics.commit_seconds.labels(**labels)


SERIES = tuple(f"ostinato_{family.name}" for family in Metrics().families)
