"""The Prometheus series of a process, each named once, here. ``docs/metrics.md`` explains them to the operator.

Labels are bounded: model, version, route, reason; never a session's id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

_MODEL = ("model", "version")
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

COUNTERS: dict[str, tuple[str, Sequence[str]]] = {
    "steps_total": ("Steps that the graphs computed for sessions and predictions.", _MODEL),
    "sessions_total": ("Events in sessions' lives.", (*_MODEL, "event")),
    "rejected_total": ("Requests refused before anything was applied, by the error's code.", ("reason",)),
    "seq_conflicts_total": ("Chunks refused because seq was not the session's step count.", _MODEL),
    "duplicates_total": ("Chunks sent again and answered from memory.", _MODEL),
    "run_failures_total": ("Iterations that failed, or gave a row that is not finite.", _MODEL),
    "cancelled_total": ("Work dropped before it ran because its caller had gone.", _MODEL),
}
GAUGES: dict[str, tuple[str, Sequence[str]]] = {
    "sessions_live": ("Sessions in memory.", _MODEL),
    "queue_depth": ("Rows accepted and not yet answered.", _MODEL),
    "state_bytes": ("Bytes of recurrent state of the sessions in memory.", _MODEL),
    "model_info": ("1 for each model version that is served.", (*_MODEL, "task", "batch_invariant")),
    "models_failed": ("Model versions that failed a check at load and are not served.", ()),
}
HISTOGRAMS: dict[str, tuple[str, Sequence[str], Sequence[float]]] = {
    "iteration_batch_size": ("Rows in an iteration.", _MODEL, _POWERS),
    "iteration_steps": ("Steps of each row in an iteration.", _MODEL, _POWERS),
    "queue_seconds": ("Time from a request's acceptance to its first iteration.", _MODEL, _SECONDS),
    "run_seconds": ("Time of an iteration: gather, run, check, scatter.", _MODEL, _SECONDS),
    "commit_seconds": ("Time of the commit of an iteration.", _MODEL, _SECONDS),
    "request_seconds": ("Time from a request's last byte to its answer.", ("route", "code_class"), _SECONDS),
}
# A series' time of creation would double what is scraped, and nobody asked for it.
disable_created_metrics()  # type: ignore[no-untyped-call]

SERIES = tuple(f"ostinato_{name}" for table in (COUNTERS, GAUGES, HISTOGRAMS) for name in table)


class ModelMetrics:
    """The series of one model version, each already bound to its labels."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        labels = {"model": model, "version": version}

        def bound(name: str, **more: str) -> Any:
            return metrics.family(name).labels(**labels, **more)

        self.steps = bound("steps_total")
        self.opened = bound("sessions_total", event="opened")
        self.closed = bound("sessions_total", event="closed")
        self.expired = bound("sessions_total", event="expired")
        self.seq_conflicts = bound("seq_conflicts_total")
        self.duplicates = bound("duplicates_total")
        self.run_failures = bound("run_failures_total")
        self.cancelled = bound("cancelled_total")
        self.batch_size = bound("iteration_batch_size")
        self.iteration_steps = bound("iteration_steps")
        self.queue_seconds = bound("queue_seconds")
        self.run_seconds = bound("run_seconds")
        self.commit_seconds = bound("commit_seconds")
        self._bound = bound

    def observe(self, gauge: str, read: Callable[[], float]) -> None:
        """Let ``gauge`` be read whenever the metrics are asked for."""
        self._bound(gauge).set_function(read)


class Metrics:
    """A registry with every series of ``SERIES``."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._families: dict[str, Any] = {}
        for name, (text, labels) in COUNTERS.items():
            self._families[name] = Counter(f"ostinato_{name}", text, labels, registry=self._registry)
        for name, (text, labels) in GAUGES.items():
            self._families[name] = Gauge(f"ostinato_{name}", text, labels, registry=self._registry)
        for name, (text, labels, buckets) in HISTOGRAMS.items():
            self._families[name] = Histogram(f"ostinato_{name}", text, labels, buckets=buckets, registry=self._registry)

    def family(self, name: str) -> Any:
        """The series ``ostinato_<name>`` before its labels are given."""
        return self._families[name]

    def of_model(self, model: str, version: str) -> ModelMetrics:
        """The series of a model version."""
        return ModelMetrics(self, model, version)

    def render(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self._registry)
