from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ostinato.service.catalogue.promise_checks import FIXED
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.errors import ModelRejected
from tests import networks


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    inputs = np.random.default_rng(0).normal(size=(3, 20, 3)).astype(np.float32)
    return networks.lstm().write(tmp_path, inputs)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def change_manifest(directory: Path, **members: object) -> None:
    path = directory / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def change_golden(directory: Path) -> None:
    golden = load_file(directory / "golden.safetensors")
    golden["0/outputs"] = golden["0/outputs"] + np.float32(1e-3)
    save_file(golden, directory / "golden.safetensors")


def empty_golden(directory: Path) -> None:
    save_file({}, directory / "golden.safetensors")


def lose_golden_states(directory: Path) -> None:
    golden = load_file(directory / "golden.safetensors")
    save_file({name: array for name, array in golden.items() if "h_n" not in name}, directory / "golden.safetensors")


def change_last_output(directory: Path, number: float) -> None:
    golden = load_file(directory / "golden.safetensors")
    golden["0/outputs"] = golden["0/outputs"].copy()
    golden["0/outputs"][-1, -1, -1] = number
    save_file(golden, directory / "golden.safetensors")


def test_a_sound_model_is_loaded(directory: Path) -> None:
    loaded = load_model(directory, Settings())
    assert loaded.manifest.batch_invariant
    assert loaded.golden_difference < 1e-6
    assert loaded.step_seconds > 0


def test_what_was_checked_keeps_little_memory_until_it_is_asked(tmp_path: Path) -> None:
    # A run of 256 rows and 64 steps takes 32 MiB for the gates alone, and onnxruntime keeps what its largest run took.
    golden = np.random.default_rng(0).normal(size=(3, 20, 3)).astype(np.float32)
    directory = networks.lstm(hidden_size=128).write(tmp_path, golden)
    load_model(directory, Settings())  # with what is loaded once for all
    before = resident_bytes()
    loaded = load_model(directory, Settings())
    assert resident_bytes() - before < 12 * 2**20
    assert loaded.runner.graph.run_options is None


def resident_bytes() -> int:
    """Memory of the process, without files."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no manifest": (lambda d: (d / "model.json").unlink(), r"model\.json: No such file"),
    "manifest is not JSON": (lambda d: cut_short(d / "model.json"), r"model\.json: Invalid JSON"),
    "a later schema": (lambda d: change_manifest(d, schema_version=2), r"model\.json: schema_version: .*1"),
    "an unknown member": (lambda d: change_manifest(d, sates=[]), r"model\.json: sates: Extra inputs"),
    "another's manifest": (lambda d: change_manifest(d, name="gru"), "it is of gru/1, and lies in lstm/1"),
    "another task": (lambda d: change_manifest(d, task="sequence"), "one graph, 'sequence'"),
    "graph absent": (lambda d: (d / "model.onnx").unlink(), r"model\.onnx: No such file"),
    "graph cut short": (lambda d: cut_short(d / "model.onnx"), r"model\.onnx: its SHA-256 is not the manifest's"),
    "golden absent": (lambda d: (d / "golden.safetensors").unlink(), r"golden\.safetensors"),
    "golden cut short": (lambda d: cut_short(d / "golden.safetensors"), r"golden\.safetensors"),
    "golden empty": (empty_golden, "it holds no case"),
    "golden without a state": (lose_golden_states, "case '0' does not fit the manifest: '0/h_n'"),
    "golden NaN": (lambda d: change_last_output(d, np.nan), "case '0': the trained network's own output is NaN or"),
    "golden infinity": (lambda d: change_last_output(d, -np.inf), r"own output is NaN or infinite, .* export it again"),
    "golden mismatch": (change_golden, r"case '0', 'outputs': the graph is off by 0\.001; at most 1e-05 is allowed"),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_faulty_model_is_rejected_by_the_file_and_the_reason(fault: str, directory: Path) -> None:
    damage, message = FAULTS[fault]
    damage(directory)
    with pytest.raises(ModelRejected, match=message) as rejection:
        load_model(directory, Settings())
    assert str(directory) in str(rejection.value)


@pytest.mark.parametrize(("number", "found"), [(np.nan, (True, False)), (np.inf, (False, True)), (1.0, (False, False))])
def test_a_manifest_that_does_not_tell_what_states_hold_is_told_by_golden_states(
    number: float, found: tuple[bool, bool], tmp_path: Path
) -> None:
    network = networks.accumulator()
    for node in network.model.graph.node:
        if node.output[0] == "total_n":  # the state is what comes out of a last step, whatever that is
            node.op_type = "Div"
            node.input[:] = ["added", "total"]
    state = network.manifest["states"][0].model_copy(update={"initial": 1.0})
    if not np.isfinite(number):
        state = state.model_copy(update={"initial": 0.0})
    inputs = np.full((1, 1, 1), 0.0 if np.isnan(number) else 1.0, np.float32)
    network = replace(
        network.named("accumulator", states=(state,)),
        reference=lambda x: (np.cumsum(x, axis=1) + state.initial, {"total": np.full((1, 1), number, np.float32)}),
    )
    (loaded,) = load_model(network.write(tmp_path, inputs), Settings()).manifest.states
    assert (loaded.missing, loaded.infinite) == found


def test_a_graph_that_onnxruntime_cannot_read_is_rejected(directory: Path) -> None:
    (directory / "model.onnx").write_bytes(b"not a graph")
    sha256 = "1ab2e2a6a6a3d1a3ee2ab3a3a7c9a6f4a1b0c5c6b2f3b0f5a9c0d7e8f9a0b1c2"
    graphs = {"step": {"file": "model.onnx", "sha256": sha256}}
    change_manifest(directory, graphs=graphs)
    with pytest.raises(ModelRejected, match="SHA-256"):
        load_model(directory, Settings())


def test_a_model_whose_rows_depend_on_each_other_is_rejected(tmp_path: Path) -> None:
    inputs = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    with pytest.raises(
        ModelRejected, match=r"model\.onnx: the rows of a batch depend on each other: with .* next to it"
    ):
        load_model(networks.batch_mean().write(tmp_path, inputs), Settings())


def test_a_golden_case_may_have_more_rows_than_a_batch(tmp_path: Path) -> None:
    inputs = np.arange(24, dtype=np.float32).reshape(6, 4, 1)
    loaded = load_model(networks.accumulator().write(tmp_path, inputs), Settings(max_batch_size=2))
    assert loaded.manifest.batch_invariant
    assert loaded.runner.max_batch_size == 2


def test_a_graph_whose_rounding_depends_on_how_it_is_run_is_found_though_its_golden_inputs_are_whole_numbers(
    tmp_path: Path,
) -> None:
    network = networks.accumulator()
    (floor,) = (node for node in network.model.graph.node if node.op_type == "Floor")
    floor.op_type = "Identity"  # sums of fractions: (a + b) + c is not a + (b + c)
    inputs = np.arange(1, 61, dtype=np.float32).reshape(2, 30, 1)
    loaded = load_model(network.write(tmp_path, inputs), Settings())
    assert loaded.golden_difference == 0
    assert loaded.manifest.promise == FIXED
    assert (loaded.runner.max_batch_size, loaded.runner.max_iteration_steps) == (64, 1)
