from __future__ import annotations

from typing import Any

from ostinato.service.artifact.tensors import FeatureRange, Input, Statistics
from ostinato.service.edge.openapi.examples import MAX_MODELS, Examples, session_of
from ostinato.service.edge.openapi.usual_values import usual_step
from tests.service.puppet import House


def part(**members: Any) -> Input:
    return Input(**{"name": "x", "dtype": "float32", "shape": ("B", "T", 3), "features": ("a", "b", "c"), **members})


def test_a_usual_step_has_the_means_of_the_training_within_what_is_taken() -> None:
    mean = (1.23456, 40.0, -7.6)
    statistics = Statistics(mean=mean, std=(1, 1, 1), minimum=(0, 0, 0), maximum=(1, 1, 1))
    assert usual_step(part(statistics=statistics)) == [1.235, 40.0, -7.6]
    ranges = {"b": FeatureRange(least=0, most=12), "c": FeatureRange(least=-5, most=5, whole=False)}
    assert usual_step(part(statistics=statistics, ranges=ranges)) == [1.235, 12, -5.0]
    assert usual_step(part(statistics=statistics, categories={"b": ("north", "south")})) == [1.235, 0.0, -7.6]
    assert usual_step(part(dtype="int64", num_codes=50)) == [0, 0, 0]
    assert usual_step(part(dtype="bool")) == [False, False, False]


async def test_a_session_of_an_example_has_a_valid_id_whatever_its_model_is_called() -> None:
    assert session_of("load") == "example-load"
    assert len(session_of("x" * 128)) == 128


async def test_no_more_models_than_a_reader_wants_are_shown() -> None:
    engines = []
    for number in range(MAX_MODELS + 2):
        engine = House().engine
        engine.manifest = engine.manifest.model_copy(update={"name": f"m{number}"})
        engines.append(engine)
    examples = Examples(engines)
    assert list(examples.bodies("stepSession")) == [f"m{number}" for number in range(MAX_MODELS)]
    assert examples.names("stepSession", "session_id")["m0"] == "example-m0"
    assert list(examples.names("showModel", "model")) == [f"m{number}" for number in range(MAX_MODELS)]
