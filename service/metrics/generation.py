"""The series of one version of a model that generates."""

from __future__ import annotations

from ostinato.service.metrics.series import Metrics


class GenerationMetrics:
    """The series of what generates in one model version, each already bound to its labels."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        self.generated_steps = metrics.generated_steps.labels(**labels)
        self.lanes = metrics.generation_lanes.labels(**labels)
        self.queue_depth = metrics.queue_depth.labels(**labels)
        self.queue_saturation = metrics.queue_saturation.labels(**labels)
        self.run_failures = metrics.run_failures.labels(**labels)
        self.cancelled = metrics.cancelled.labels(**labels)
        self.batch_size = metrics.batch_size.labels(**labels)
        self.queue_seconds = metrics.queue_seconds.labels(**labels)
        self.run_seconds = metrics.run_seconds.labels(**labels)
