from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Statistics
from ostinato.service.engine.observer import InputObserver, expectations
from ostinato.service.metrics.drift import SAMPLE_SECONDS, TrainedFeature
from ostinato.service.metrics.series import Metrics, ModelMetrics
from tests.service.puppet import MANIFEST, Clock, framed

KNOWN = Statistics(mean=(1.0,), std=(2.0,), minimum=(-3.0,), maximum=(5.0,), missing_fraction=(0.25,))


def given(**options: Any) -> Input:
    return Input(**{"name": "inputs", "dtype": "float32", "shape": ("B", "T", 1), "features": ("x",), **options})


def observed(manifest: Manifest, clock: Clock | None = None) -> tuple[Metrics, InputObserver]:
    metrics = Metrics()
    return metrics, InputObserver(manifest, ModelMetrics(metrics, "sum", "1"), clock or Clock())


def values(metrics: Metrics) -> float:
    return metrics.input_values.labels(model="sum", version="1", feature="x").value


def test_a_model_of_which_nothing_is_known_is_not_looked_at() -> None:
    metrics, observer = observed(MANIFEST)
    assert observer.due_at == np.inf
    assert metrics.input_values.numbers() == {}


def test_after_a_look_there_is_none_for_a_while() -> None:
    clock = Clock(100.0)
    metrics, observer = observed(MANIFEST.model_copy(update={"inputs": (given(statistics=KNOWN),)}), clock)
    assert observer.due_at <= 100.0
    observer.see(np.ones((3, 1), np.float32), 100.0)
    assert values(metrics) == 3
    assert observer.due_at == 100.0 + SAMPLE_SECONDS


def test_the_steps_of_frames_are_looked_at_one_by_one() -> None:
    manifest = framed(4)
    manifest = manifest.model_copy(update={"inputs": (manifest.inputs[0].model_copy(update={"statistics": KNOWN}),)})
    metrics, observer = observed(manifest)
    observer.see(np.ones((3, 4), np.float32), 0.0)
    assert values(metrics) == 12


def test_what_goes_wrong_is_told_once_and_no_request_hears_of_it(caplog: pytest.LogCaptureFixture) -> None:
    _, observer = observed(MANIFEST.model_copy(update={"inputs": (given(statistics=KNOWN),)}))
    with caplog.at_level(logging.ERROR):
        observer.see(np.array([["what"]]), 0.0)
    assert observer.due_at == np.inf
    assert len(caplog.messages) == 1


def test_the_training_is_compared_with_where_the_manifest_tells_of_it() -> None:
    assert expectations([given(statistics=KNOWN)]) == [TrainedFeature("x", 1.0, 2.0, -3.0, 5.0, 0.25)]
    assert expectations([given(statistics=KNOWN, categories={"x": ("a", "b")})]) == [TrainedFeature("x", missing=0.25)]
    assert expectations([given(missing=True)]) == [TrainedFeature("x")]


@pytest.mark.parametrize("wrong", [{"mean": ()}, {"std": (1.0, 2.0)}, {"maximum": (float("inf"),)}])
def test_numbers_that_cannot_be_the_trainings_are_not_compared_with(wrong: dict[str, Any]) -> None:
    assert expectations([given(statistics=KNOWN.model_copy(update=wrong))]) == [TrainedFeature("x")]


def test_features_of_one_name_are_told_apart_by_their_inputs() -> None:
    assert [
        each.name for each in expectations([given(name="a"), given(name="b"), given(name="c", features=("y",))])
    ] == [
        "a.x",
        "b.x",
        "y",
    ]
