"""The series of what answers whole sequences, which has no sessions."""

from __future__ import annotations

from ostinato.service.metrics.series import Metrics


class SequenceMetrics:
    """The series of whole sequences in one model version, each already bound to its labels."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        self.metrics, self.model_labels = metrics, labels
        self.steps = metrics.steps.labels(**labels)
        self.padding_steps = metrics.padding_steps.labels(**labels)
        self.queue_depth = metrics.queue_depth.labels(**labels)
        self.queue_saturation = metrics.queue_saturation.labels(**labels)
        self.run_failures = metrics.run_failures.labels(**labels)
        self.cancelled = metrics.cancelled.labels(**labels)
        self.batch_size = metrics.batch_size.labels(**labels)
        self.iteration_steps = metrics.iteration_steps.labels(**labels)
        self.queue_seconds = metrics.queue_seconds.labels(**labels)
        self.run_seconds = metrics.run_seconds.labels(**labels)
