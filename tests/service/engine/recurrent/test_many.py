from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.catalogue.recurrent_checks import LoadedModel, load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.many import LONGEST_STRIDE, MAX_ROW_STEPS, rows_of_run, run_many
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.state.arena import Rows
from tests import networks
from tests.rounding_networks import planted
from tests.tensor_networks import panel

Array = NDArray[Any]

LENGTHS = (1, 2, 63, 64, 65, 7, 0, 127, 128, 1, 300, 5, 2048, 33, 0)
"""Nothing, one step, those about the strides, and thousands."""

NETWORKS: dict[str, Callable[[], networks.Network]] = {
    "LSTM": networks.lstm,
    "time first": lambda: networks.lstm(time_first=True),
    "a step a run": networks.one_step,
    "many steps, one answer": networks.token_counter,
    **{
        f"planted by {what}": lambda what=what: planted(what)  # type: ignore[misc]
        for what in ("batch of one", "batch", "steps", "place")
    },
}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    network = NETWORKS[request.param]()
    num_steps = 12 if network.manifest["inputs"][0].time_axis is not None else 1
    golden = draw(network.manifest["inputs"][0], 3 * num_steps).reshape(3, num_steps, -1)
    return load_model(network.write(tmp_path_factory.mktemp("models"), golden), Settings())


def draw(part: Any, num_steps: int) -> Array:
    generator = np.random.default_rng(num_steps)
    shape = (num_steps, part.num_features)
    if part.dtype == "int64":
        return generator.integers(7, size=shape)
    return (generator.normal(size=shape) * 3).astype(part.dtype)


def bounds_of(lengths: Any) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def test_sequences_of_all_lengths_together_have_the_numbers_of_each_alone(loaded: LoadedModel) -> None:
    runner, bounds = loaded.runner, bounds_of(LENGTHS)
    inputs = draw(loaded.manifest.inputs[0], bounds[-1])
    outputs, states = run_many(runner, inputs, bounds, runner.initial_states(len(LENGTHS)))
    for index, (start, end) in enumerate(pairwise(bounds)):
        if start == end:
            initial = runner.initial_states(1)
            assert all((each[index] == begin[0]).all() for each, begin in zip(states, initial, strict=True))
            continue
        wanted, behind = run_offline(runner, inputs[None, start:end])
        made = outputs[start:end] if runner.answers_every_step else outputs[index : index + 1]
        assert made.tobytes() == wanted[0].tobytes(), f"sequence {index} of {end - start} steps"
        for each, right in zip(states, behind, strict=True):
            assert each[index].tobytes() == right[0].tobytes()


def test_a_cut_anywhere_with_the_states_carried_changes_no_bit(loaded: LoadedModel) -> None:
    runner, bounds = loaded.runner, bounds_of(LENGTHS)
    inputs = draw(loaded.manifest.inputs[0], bounds[-1])
    whole, behind = run_many(runner, inputs, bounds, runner.initial_states(len(LENGTHS)))
    states: Rows = runner.initial_states(len(LENGTHS))
    parts = []
    firsts = [np.minimum(length // 3, 100) for length in LENGTHS]
    first_steps = np.concatenate([np.arange(start, start + n) for start, n in zip(bounds, firsts, strict=False)])
    rest_steps = np.setdiff1d(np.arange(bounds[-1]), first_steps)
    for steps, lengths in ((first_steps, firsts), (rest_steps, np.subtract(LENGTHS, firsts))):
        made, states = run_many(runner, inputs[steps], bounds_of(lengths), states)
        parts.append(made)
    for each, right in zip(states, behind, strict=True):
        assert each.tobytes() == right.tobytes()
    if runner.answers_every_step:
        assert whole[first_steps].tobytes() == parts[0].tobytes()
        assert whole[rest_steps].tobytes() == parts[1].tobytes()


def test_a_step_without_an_answer_takes_none_from_the_steps_before_it(tmp_path: Path) -> None:
    network = networks.accumulator()
    directory = network.write(tmp_path, np.arange(12, dtype=np.float32).reshape(1, 12, 1))
    runner = load_model(directory, Settings()).runner
    inputs = np.ones((100, 1), np.float32)
    inputs[40] = np.inf
    bounds = bounds_of([30, 40, 30])
    outputs, _ = run_many(runner, inputs, bounds, runner.initial_states(3))
    for start, end in pairwise(bounds):
        wanted, _ = run_offline(runner, inputs[None, start:end])
        assert outputs[start:end].tobytes() == wanted[0].tobytes()
    # 30 ones; ten, and from the infinite one on nothing; 30 ones.
    assert np.flatnonzero(~np.isfinite(outputs[:, 0])).tolist() == list(range(40, 70))


def test_what_is_answered_once_stands_in_the_last_step_of_each(tmp_path: Path) -> None:
    loaded = load_model(panel().write(tmp_path), Settings())
    runner, manifest = loaded.runner, loaded.manifest
    generator, lengths = np.random.default_rng(5), [3, 1, 70]
    steps = sum(lengths)
    load = generator.normal(size=(steps, 2)).astype(np.float32)
    inputs = manifest.given.pack([load, generator.integers(7, size=steps)])
    begin = list(runner.initial_states(3))
    begin[2], begin[3] = generator.normal(size=(3, 3)).astype(np.float32), np.array([0, 4, 2])
    bounds = bounds_of(lengths)
    outputs, _ = run_many(runner, inputs, bounds, tuple(begin))
    for index, (start, end) in enumerate(pairwise(bounds)):
        alone = tuple(each[index : index + 1] for each in begin)
        wanted, _ = run_offline(runner, inputs[None, start:end], begin=alone)
        assert outputs[start:end].tobytes() == wanted[0].tobytes()


def test_no_run_is_larger_than_it_may_be(loaded: LoadedModel) -> None:
    runner = loaded.runner
    for stride in (1, 2, LONGEST_STRIDE):
        rows = rows_of_run(runner, stride)
        if runner.promise.holds == "any":
            assert rows <= runner.max_batch_size
            assert rows * stride <= MAX_ROW_STEPS
        else:
            assert rows == runner.promise.rows
