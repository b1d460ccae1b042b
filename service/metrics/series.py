"""The Prometheus series of a process, each named once, here. ``docs/metrics.md`` says when to look at them.

How those of several workers are put together is in ``service/metrics/workers.py``.

Labels are bounded: model, version, route, reason, feature; never a session's id. What is known beforehand is there at 0
from the start: of a counter that appears with its first event, no rate tells that event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ostinato.service.metrics.families import (
    Family,
    SeriesNumbers,
    counter,
    counter_of_all,
    distances,
    gauge,
    histogram,
)

OPEN_METRICS = "application/openmetrics-text"
_MODEL = ("model", "version")
_FEATURE = (*_MODEL, "feature")
_SHADOW, _OF_SHADOW = (*_MODEL, "shadow"), ("model", "shadow")
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DIFFERENCES = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
SHOWN_LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Levels of intervals of which coverage is told."""
_POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """All series of a worker.

    Attributes:
        gather: gives the numbers of all workers of the server; None = this worker is the only one.
    """

    def __init__(self) -> None:
        self.gather: Callable[[], SeriesNumbers] | None = None
        self.steps = counter(
            "steps_total",
            "Steps, or frames, that graphs computed: of sessions, predict, forecasts and shadows.",
            *_MODEL,
        )
        self.padding_steps = counter(
            "padding_steps_total",
            "Steps that runs of whole sequences computed after the ends of their shorter sequences.",
            *_MODEL,
        )
        self.sessions = counter("sessions_total", "Events in the lives of sessions.", *_MODEL, "event")
        self.rejected = counter(
            "rejected_total", "Requests, frames of streams and rows of messages that were refused.", "reason"
        )
        self.seq_conflicts = counter(
            "seq_conflicts_total", "Chunks refused because their seq, or their time, is not the next.", *_MODEL
        )
        self.duplicates = counter("duplicates_total", "Chunks that were retried and answered from memory.", *_MODEL)
        self.run_failures = counter(
            "run_failures_total", "Iterations that failed, or gave a row that is not finite.", *_MODEL
        )
        self.cancelled = counter(
            "cancelled_total", "Works and generated outputs dropped because their caller had gone.", *_MODEL
        )
        self.commit_conflicts = counter(
            "commit_conflicts_total", "Commits that came after one of another worker or replica.", *_MODEL
        )
        self.store_errors = counter(
            "store_errors_total", "Requests, rows of messages and tasks of the store that failed because of it."
        )
        self.records_unreadable = counter(
            "records_unreadable_total", "Sessions whose record is damaged, or of an unknown schema; once a process."
        )
        self.store_up = gauge(
            "store_up", "1 if the store answers, as far as every worker knows without asking it.", over_workers=min
        )
        self.store_bytes = gauge(
            "store_bytes",
            "Bytes on the disk of the parts of lmdb://; other stores have none here.",
            "part",
            over_workers=max,
        )
        self.look_up_seconds = histogram(
            "look_up_seconds",
            "Time to bring a session from the store, or to find that it is not there.",
            _SECONDS,
        )
        self.sessions_stored = gauge(
            "sessions_stored",
            "Live sessions in the whole store: the last count, and those begun since.",
            *_MODEL,
            over_workers=max,
        )
        self.sessions_live = gauge("sessions_live", "Sessions in memory.", *_MODEL)
        self.streams_live = gauge("streams_live", "WebSocket streams that are open.")
        self.queue_depth = gauge("queue_depth", "Rows accepted and not yet answered.", *_MODEL)
        self.queue_saturation = gauge(
            "queue_saturation", "Part of the queue that is taken, in the fullest worker.", *_MODEL, over_workers=max
        )
        self.state_bytes = gauge("state_bytes", "Bytes of the sessions in memory: states and last answers.", *_MODEL)
        self.model_info = gauge(
            "model_info",
            "1 for a model version that is served, 0 for one that was unloaded.",
            *_MODEL,
            "task",
            "batch_invariant",
            over_workers=max,
        )
        self.run_mode = gauge(
            "run_mode",
            "Workers that run a graph of a served version in this mode.",
            *_MODEL,
            "graph",
            "mode",
        )
        self.models_failed = gauge(
            "models_failed", "Model versions that could not be read, or failed a check at load.", over_workers=max
        )
        self.version_failed = gauge(
            "version_failed",
            "1 for a version that failed a check at load, 0 for one that is served.",
            *_MODEL,
            over_workers=max,
        )
        self.versions_missing = gauge(
            "versions_missing",
            "Versions that sessions run and that are not served, found at the start.",
            over_workers=max,
        )
        self.missing_version_sessions = gauge(
            "missing_version_sessions", "Sessions of a version that is not served.", *_MODEL, over_workers=max
        )
        self.ready = gauge("ready", "1 if every worker is ready, as /readyz says.", over_workers=min)
        self.draining = gauge(
            "draining", "1 if a worker takes no new work because it was told to end.", over_workers=max
        )
        self.limit = gauge(
            "limit",
            "The value of a setting that limits something; 0 of a time means no limit.",
            "setting",
            over_workers=max,
        )
        self.worker_restarts = counter_of_all(
            "worker_restarts_total",
            "Workers that replaced one that had ended.",
            "signal",
        )
        self.workers = gauge("workers", "Worker processes that are running.")
        self.batch_size = histogram("iteration_batch_size", "Rows of an iteration.", _POWERS, *_MODEL)
        self.iteration_steps = histogram("iteration_steps", "Steps of each row of an iteration.", _POWERS, *_MODEL)
        self.queue_seconds = histogram(
            "queue_seconds", "Time from the acceptance of a request to its first iteration.", _SECONDS, *_MODEL
        )
        self.run_seconds = histogram(
            "run_seconds", "Time of an iteration: gather, run, check, scatter.", _SECONDS, *_MODEL
        )
        self.commit_seconds = histogram(
            "commit_seconds", "Time in which the store commits the sessions of an iteration.", _SECONDS, *_MODEL
        )
        self.request_seconds = histogram(
            "request_seconds",
            "Time from the last byte of a request, or of a frame of a stream, to its answer.",
            _SECONDS,
            "route",
            "code_class",
        )
        self.generated_steps = counter(
            "generated_steps_total", "Steps of outputs that decoders computed, one for each lane.", *_MODEL
        )
        self.generation_lanes = gauge(
            "generation_lanes", "Lanes of the decoder in use: outputs under way, or their beams.", *_MODEL
        )
        self.loop_lag_seconds = histogram(
            "loop_lag_seconds", "How late the event loop was, measured four times a second.", _SECONDS
        )
        self.build_info = gauge(
            "build_info",
            "1, with the releases that run here.",
            "release",
            "python",
            "onnxruntime",
            "store",
            over_workers=max,
        )
        self.process_start_time = gauge(
            "process_start_time_seconds", "When the oldest worker started.", over_workers=min
        )
        self.process_cpu_seconds = counter("process_cpu_seconds_total", "Processor time of the workers.")
        self.process_resident_bytes = gauge("process_resident_memory_bytes", "Memory of the workers.")
        self.process_open_fds = gauge(
            "process_open_fds", "Open files and connections of the worker that has the most.", over_workers=max
        )
        self.process_max_fds = gauge(
            "process_max_fds", "The most files and connections that a worker may have open.", over_workers=max
        )
        self.input_values = counter(
            "input_values_total", "Input values of sessions that were looked at: a sample.", *_FEATURE
        )
        self.input_missing = counter("input_missing_total", "Values of that sample that were missing.", *_FEATURE)
        self.input_missing_expected = gauge(
            "input_missing_expected",
            "The part of the values that was missing in training.",
            *_FEATURE,
            over_workers=max,
        )
        self.input_out_of_range = counter(
            "input_out_of_range_total", "Values of that sample outside all that was seen in training.", *_FEATURE
        )
        self.input_distance = distances(
            "input_distance", "How far the inputs of about the last ten minutes are from the training.", *_FEATURE
        )
        self.forecast_pairs = counter(
            "forecast_pairs_total", "Values that came after an output had forecast them: a sample.", *_FEATURE
        )
        self.forecast_error = counter("forecast_error_total", "Sum of |forecast - value| over that sample.", *_FEATURE)
        self.persistence_error = counter(
            "persistence_error_total", "Sum of |value before - value| over the same sample.", *_FEATURE
        )
        self.interval_readings = counter(
            "interval_readings_total", "Readings that a calibrated forecaster had forecast.", *_MODEL
        )
        self.interval_covered = counter(
            "interval_covered_total", "Readings of these that were within the interval of the level.", *_MODEL, "level"
        )
        self.anomalies = counter("anomalies_total", "Anomalies that began in sessions.", *_MODEL)
        self.shadow_steps = counter(
            "shadow_steps_total", "Steps that a shadow ran, compared with what was answered.", *_SHADOW
        )
        self.shadow_difference = histogram(
            "shadow_difference",
            "Largest difference between a step's outputs of the version and of its shadow.",
            _DIFFERENCES,
            *_SHADOW,
        )
        self.shadow_dropped = counter(
            "shadow_dropped_total",
            "Sessions whose shadow ended or did not begin, by the reason.",
            *_OF_SHADOW,
            "reason",
        )
        self.shadow_failures = counter(
            "shadow_failures_total", "Sessions whose shadow ended because it had no answer to a step.", *_SHADOW
        )
        self.shadows_live = gauge("shadows_live", "Sessions that have a shadow now.", *_OF_SHADOW)
        for family in self.families:
            if not family.label_names:
                family.labels()
        self.workers.labels().set(1)

    @property
    def families(self) -> list[Family[Any]]:
        """All series before their labels are given, in the order above."""
        return [family for family in vars(self).values() if isinstance(family, Family)]

    def numbers(self) -> SeriesNumbers:
        """All series of this worker as plain numbers."""
        return {family.name: family.numbers() for family in self.families}

    def load(self, numbers: SeriesNumbers) -> None:
        """Be what ``numbers`` gave."""
        for family in self.families:
            family.load(numbers.get(family.name, {}))

    def of_all_workers(self) -> Metrics:
        """All series of all workers together."""
        if self.gather is None:
            return self
        together = Metrics()
        together.load(self.gather())
        return together

    def render(self, accept: str = "") -> bytes:
        """All series, those of all workers together: as OpenMetrics where ``accept`` asks for that, else in Prometheus'
        text format.
        """
        is_open = OPEN_METRICS in accept
        lines = [line for family in self.of_all_workers().families for line in family.lines(is_open=is_open)]
        return "\n".join([*lines, *["# EOF"] * is_open, ""]).encode()


class ModelMetrics:
    """The series of one model version, each already bound to its labels."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        self.metrics, self.model_labels = metrics, labels
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
        self.queue_saturation = metrics.queue_saturation.labels(**labels)
        self.state_bytes = metrics.state_bytes.labels(**labels)
        self.batch_size = metrics.batch_size.labels(**labels)
        self.iteration_steps = metrics.iteration_steps.labels(**labels)
        self.queue_seconds = metrics.queue_seconds.labels(**labels)
        self.run_seconds = metrics.run_seconds.labels(**labels)
        self.commit_seconds = metrics.commit_seconds.labels(**labels)

    def watch_intervals(self, levels: Sequence[float]) -> None:
        """Bind the series of a calibrated version, those of levels that people ask for."""
        metrics, labels = self.metrics, self.model_labels
        self.interval_readings = metrics.interval_readings.labels(**labels)
        self.anomalies = metrics.anomalies.labels(**labels)
        self.interval_covered = [
            (place, metrics.interval_covered.labels(**labels, level=f"{100 * level:g}"))
            for place, level in enumerate(levels)
            if level in SHOWN_LEVELS
        ]


SERIES = tuple(f"ostinato_{family.name}" for family in Metrics().families)


def media_type(accept: str = "") -> str:
    """What ``Metrics.render`` gives."""
    if OPEN_METRICS in accept:
        return f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"
    return "text/plain; version=0.0.4; charset=utf-8"
