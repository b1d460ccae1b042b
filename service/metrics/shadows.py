"""The series of a model's shadow, each already bound to its labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ostinato.service.metrics.families import Counter, Histogram
from ostinato.service.metrics.series import Metrics

REASONS = ("changed", "ended", "memory", "queue_full", "stepped_elsewhere", "too_far_behind", "too_many")
"""Why a session's shadow ends, or does not begin."""


class ComparedVersion(NamedTuple):
    """What is counted of the sessions of one version."""

    steps: Counter
    differences: Histogram
    failures: Counter


class ShadowMetrics:
    """What is counted of one shadow; all of it is there from the start."""

    def __init__(self, metrics: Metrics, model: str, shadow: str) -> None:
        self._metrics = metrics
        self._labels = {"model": model, "shadow": shadow}
        dropped = metrics.shadow_dropped
        self.dropped = {reason: dropped.labels(**self._labels, reason=reason) for reason in REASONS}
        self._live = metrics.shadows_live.labels(**self._labels)

    def of_version(self, version: str) -> ComparedVersion:
        """What is counted of the sessions of a version."""
        labels = {**self._labels, "version": version}
        return ComparedVersion(
            self._metrics.shadow_steps.labels(**labels),
            self._metrics.shadow_difference.labels(**labels),
            self._metrics.shadow_failures.labels(**labels),
        )

    def follow(self, num_live: Callable[[], float]) -> None:
        """Have it told how many there are, from now on."""
        self._live.follow(num_live)

    def end(self) -> None:
        """Tell of none from now on."""
        self._live.set(0)
