"""The observer of inputs: shows some of what a graph is run on to the series that compare it with the training."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Statistics
from ostinato.service.metrics.drift import MAX_ROWS, MAX_VALUES, SAMPLE_SECONDS, SHARE, InputDrift, TrainedFeature
from ostinato.service.metrics.sequences import SequenceMetrics
from ostinato.service.metrics.series import ModelMetrics

logger = logging.getLogger(__name__)


class InputObserver:
    """Looks at the inputs of a run now and then: once in ``SAMPLE_SECONDS``, and for ``SHARE`` of the time at most.

    Args:
        clock: seconds of a monotonic clock, the scheduler's.

    Attributes:
        due_at: when the next run is to be looked at; never, where nothing is known to compare inputs with.
    """

    def __init__(
        self,
        manifest: Manifest,
        metrics: ModelMetrics | SequenceMetrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._name = f"{manifest.name}/{manifest.version}"
        self._clock = clock
        self._given = manifest.of_graph.given
        self._parts = [
            (place, part) for place, part in enumerate(manifest.inputs) if part.statistics is not None or part.missing
        ]
        expected = expectations([part for _, part in self._parts])
        self._max_rows = max(1, min(MAX_ROWS, MAX_VALUES // (len(expected) or 1)))
        self._drift = InputDrift(metrics, expected) if expected else None
        self.due_at = -math.inf if expected else math.inf

    def see(self, rows: NDArray[Any], began_at: float) -> None:
        """Take in rows ``[n, width]`` of a run that began at ``began_at``; no request hears of what goes wrong here."""
        self._look(lambda: self._compare_inputs(rows), began_at)

    def _look(self, compare: Callable[[], None], began_at: float) -> None:
        looked_at = self._clock()
        try:
            compare()
        except Exception:
            logger.exception("%s: its inputs are not compared with the training's any more", self._name)
            self.stop()
            return
        self.due_at = began_at + max(SAMPLE_SECONDS, (self._clock() - looked_at) / SHARE)

    def stop(self) -> None:
        """Look at nothing more."""
        self.due_at = math.inf

    def _compare_inputs(self, rows: NDArray[Any]) -> None:
        if self._drift is None:
            return
        tensors = self._given.flat(rows[: self._max_rows])
        # A frame is steps one after another, of which the manifest knows one.
        steps = [tensors[place].reshape(-1, part.num_features)[: self._max_rows] for place, part in self._parts]
        self._drift.see(steps[0] if len(steps) == 1 else np.concatenate(steps, axis=1, dtype=np.float64))


def expectations(parts: Sequence[Input]) -> list[TrainedFeature]:
    """What the manifest says of the features of inputs, one behind another; by the input's name, too, where two of them
    have features of one name.
    """
    times = Counter(name for part in parts for name in part.features)
    expected = []
    for part in parts:
        known = part.statistics if part.statistics and _fits(part.statistics, len(part.features)) else None
        for place, feature in enumerate(part.features):
            name = feature if times[feature] == 1 else f"{part.name}.{feature}"
            missing = 0.0 if known is None or not known.missing_fraction else known.missing_fraction[place]
            if known is None or feature in part.categories:
                expected.append(TrainedFeature(name, missing=missing))  # codes are names: no distance lies between them
            else:
                of_training = (known.mean[place], known.std[place], known.minimum[place], known.maximum[place])
                expected.append(TrainedFeature(name, *of_training, missing))
    return expected


def _fits(known: Statistics, num_features: int) -> bool:
    """Whether there is a finite number for each feature; a manifest that was written by hand may have others."""
    parts = [known.mean, known.std, known.minimum, known.maximum, known.missing_fraction or known.mean]
    return all(len(part) == num_features and all(map(math.isfinite, part)) for part in parts)
