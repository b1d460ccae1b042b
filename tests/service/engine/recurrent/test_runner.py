from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact.devices import aligned_memory
from ostinato.service.artifact.manifest import Manifest, Promise
from ostinato.service.artifact.tensors import Input
from ostinato.service.catalogue.promise_checks import FIXED, TWO_ROWS
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.batching import Iteration, Work
from ostinato.service.engine.recurrent.offline import run_sequence
from ostinato.service.engine.recurrent.runner import Soundness
from ostinato.service.errors import ModelRejected, RunFailed
from ostinato.service.state.arena import Arena
from tests import networks
from tests.networks import Network
from tests.tensor_networks import panel

Array = NDArray[Any]


def sequences(network: Network, num_rows: int, num_steps: int, seed: int = 3) -> Array:
    """Random inputs ``[B, T, F]`` of the network's own dtype."""
    part = network.manifest["inputs"][0]
    generator = np.random.default_rng(seed)
    shape = (num_rows, num_steps, part.num_features)
    if part.dtype == "int64":
        return generator.integers(0, 7, shape)
    return generator.normal(size=shape).astype(part.dtype)


NETWORKS = [
    networks.lstm(),
    networks.lstm(6, 16, 2, seed=5).named("wide"),
    networks.lstm(time_first=True).named("time-first"),
    networks.one_step(),
    networks.token_counter(),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.manifest["name"])
@pytest.mark.parametrize("chunk_steps", [1, 3, 40])
def test_any_axes_dtypes_and_extra_inputs_run_as_the_reference_says(
    network: Network, chunk_steps: int, tmp_path: Path
) -> None:
    golden_steps = 1 if network.manifest["inputs"][0].time_axis is None else 5
    directory = network.write(tmp_path, sequences(network, 2, golden_steps))
    runner = load_model(directory, Settings()).runner
    inputs = sequences(network, 4, 40)
    outputs, states = run_sequence(runner, inputs, chunk_steps)
    expected, expected_states = network.reference(inputs)
    np.testing.assert_allclose(outputs, expected, atol=2e-6)
    for state, made in zip(runner.manifest.states, states, strict=True):
        np.testing.assert_allclose(made, expected_states[state.name], atol=2e-6)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.manifest["name"])
def test_a_row_is_the_same_to_the_bit_alone_and_among_others(network: Network, tmp_path: Path) -> None:
    golden_steps = 1 if network.manifest["inputs"][0].time_axis is None else 5
    runner = load_model(network.write(tmp_path, sequences(network, 2, golden_steps)), Settings()).runner
    inputs = sequences(network, 64, 30)
    together, _ = run_sequence(runner, inputs, 7)
    for row in (0, 31, 63):
        alone, _ = run_sequence(runner, inputs[row : row + 1], 30)
        np.testing.assert_array_equal(alone[0], together[row])


def test_an_iteration_continues_each_work_from_where_it_is(tmp_path: Path) -> None:
    network = networks.lstm()
    loaded = load_model(network.write(tmp_path, sequences(network, 2, 5)), Settings())
    runner, arena = loaded.runner, Arena(loaded.manifest, 8)
    inputs = sequences(network, 3, 6)
    wanted = [run_sequence(runner, inputs[row : row + 1], 6)[0][0] for row in range(3)]
    # The first has run two steps, and waits in a slot of its own behind another's; the others begin.
    arena.allocate("another")
    works = [Work([arena.allocate(name)], inputs[row], 1, 6, None) for row, name in enumerate("abc")]
    works[0].num_done, works[0].scratch = 2, [arena.allocate()]
    _, states = runner.run(inputs[:1, :2], runner.initial_states(1))
    arena.write(works[0].scratch[0], tuple(state[0] for state in states))
    result = runner.run_iteration(Iteration(works, 3, 4), arena)
    assert result.failed_rows is None
    np.testing.assert_array_equal(result.outputs[0], wanted[0][2:6])
    np.testing.assert_array_equal(result.outputs[1:], np.stack(wanted[1:])[:, :4])
    assert result.slots.tolist() == [works[0].scratch[0], works[1].slots[0], works[2].slots[0]]
    # The states that came of it are those after the same steps run alone, and the arena was only read.
    for row, num_steps in enumerate((6, 4, 4)):
        _, after = run_sequence(runner, inputs[row : row + 1, :num_steps], num_steps)
        for made, alone in zip(result.states, after, strict=True):
            np.testing.assert_array_equal(made[row], alone[0])
    assert not any(state.any() for state in arena.read(works[1].slots[0]))


def test_a_row_that_is_finite_in_part_has_failed_and_no_other_has(tmp_path: Path) -> None:
    network = networks.accumulator()
    loaded = load_model(network.write(tmp_path, np.ones((1, 2, 1), np.float32)), Settings())
    arena = Arena(loaded.manifest, 4)
    # A running sum, infinite beyond 2.5e30: the second row is finite in its first step, and its state throughout.
    chunks = ([1.0, 2.0, 3.0], [1.0, 1e31, 1e31], [4.0, 5.0, 6.0])
    works = [
        Work([arena.allocate(str(row))], np.array(chunk, np.float32)[:, None], 1, 3, None)
        for row, chunk in enumerate(chunks)
    ]
    failed_rows = loaded.runner.run_iteration(Iteration(works, 3, 3), arena).failed_rows
    assert failed_rows is not None
    assert failed_rows.tolist() == [False, True, False]


def test_a_row_fails_by_any_of_several_outputs(tmp_path: Path) -> None:
    manifest = Manifest.read(panel().write(tmp_path))
    outputs = manifest.made.zeros(4, 2)
    level, _, summary = manifest.made.flat(outputs)
    level[1, 0, 1], summary[2, 1, 3] = np.nan, np.inf
    states = [np.zeros((4, *state.row_shape), np.float32) for state in manifest.states]
    failed_rows = Soundness(manifest).failed_rows(outputs, states)
    assert failed_rows is not None
    assert failed_rows.tolist() == [False, True, True, False]


def test_a_row_fails_whose_output_or_state_may_not_be_what_it_is_and_no_other(tmp_path: Path) -> None:
    network = networks.accumulator()
    output = network.manifest["outputs"][0].model_copy(update={"minus_infinity": True})
    network = network.named("accumulator", outputs=(output,))
    runner = load_model(network.write(tmp_path, np.ones((1, 2, 1), np.float32)), Settings()).runner
    arena = Arena(runner.manifest, 8)
    # The output is infinite beyond 2.5e30; the state is the sum, infinite beyond 3.4e38.
    totals, steps = [0.0, 0.0, 0.0, -3e38, 0.0], [5.0, -1e38, 1e38, -3e38, np.nan]
    slots = [arena.allocate() for _ in totals]
    for slot, total in zip(slots, totals, strict=True):
        arena.write(slot, [np.array([total], np.float32)])
    works = [Work([slot], np.array([[step]], np.float32), 1, 1, None) for slot, step in zip(slots, steps, strict=True)]
    result = runner.run_iteration(Iteration(works, len(works), 1, is_whole=True), arena)
    assert result.failed_rows is not None
    assert result.outputs[:2, 0, 0].tolist() == [5.0, -np.inf]
    # Plus infinity, a state that overflowed under an output that may be minus infinity, and NaN.
    assert result.failed_rows.tolist() == [False, False, True, True, True]


def test_a_graph_that_fails_names_the_model_and_the_shape(tmp_path: Path) -> None:
    network = networks.token_counter()
    runner = load_model(network.write(tmp_path, sequences(network, 1, 5)), Settings()).runner
    with pytest.raises(RunFailed, match=r"tokens/1: the graph failed on 2 rows of 1 steps"):
        runner.run(np.array([[[1]], [[99]]]), runner.initial_states(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": "audio"}, r"the graph needs inputs that the manifest does not name: \['inputs'\]"),
        ({"dtype": "float64"}, "input 'inputs' is float32 in the graph and float64 in the manifest"),
        ({"shape": ("B", "T", 4), "features": ("a", "b", "c", "d")}, "axis 2 is 3 in the graph and 4 in the manifest"),
        ({"shape": ("B", 3)}, "has 3 axes in the graph and 2 in the manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_the_graph_is_rejected(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    network = networks.lstm()
    directory = network.write(tmp_path, sequences(network, 1, 5))
    manifest = Manifest.read(directory)
    part = manifest.inputs[0].model_dump()
    part |= {"name": change["inputs"]} if "inputs" in change else change
    manifest.model_copy(update={"inputs": (Input(**part),)}).write(directory)
    with pytest.raises(ModelRejected, match=message):
        load_model(directory, Settings())


@pytest.mark.parametrize("promise", [TWO_ROWS, FIXED], ids=str)
def test_rows_that_fill_a_run_up_are_nothing_that_was_there_before(promise: Promise, tmp_path: Path) -> None:
    network = networks.token_counter()
    runner = load_model(network.write(tmp_path, sequences(network, 1, 5)), Settings()).runner.promising(promise)
    with pytest.raises(RunFailed):
        runner.run(np.array([[[1]], [[99]]]), runner.initial_states(2))
    outputs, states = runner.run(np.array([[[1]]]), runner.initial_states(1))
    assert outputs.tolist() == [[[0, 1, 0, 0, 0, 0, 0]]]
    assert [state.tolist() for state in states] == [[[0, 1, 0, 0, 0, 0, 0]]]


@pytest.mark.parametrize("num_values", [1, 3, 17, 4096])
def test_memory_begins_where_onnxruntime_s_own_does(num_values: int) -> None:
    memory = aligned_memory(num_values, "float32")
    assert (memory.size, memory.ctypes.data % 64) == (num_values, 0)
