from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.exporter import export_module
from ostinato.export.version_directory import Exported
from ostinato.service.artifact.manifest import ANY, Manifest
from ostinato.service.artifact.tensors import Input
from tests.export.modules import (
    HIDDEN_SIZE,
    NUM_TOKENS,
    BatchMean,
    Forgetful,
    LoopedCell,
    ManyToOne,
    OddStates,
    Offset,
    OneStepCell,
    Shared,
    Stacked,
    TimeMajor,
    Tokens,
    TracedAsConstant,
    amounts,
)

TOKENS = Input.model_validate(
    {
        "name": "inputs",
        "dtype": "int64",
        "shape": ("B", "T"),
        "features": ("token",),
        "categories": {"token": tuple(f"word_{code}" for code in range(NUM_TOKENS))},
    }
)


def export(module: nn.Module, inputs: Input, repository: Path, **options: Any) -> Exported:
    return export_module(module, inputs, repository, **({"name": "net"} | options))


@pytest.fixture(scope="module")
def in_training() -> Stacked:
    """What ``stacked`` is the export of, as its trainer left it."""
    return Stacked(nn.LSTM).train()


@pytest.fixture(scope="module")
def stacked(in_training: Stacked, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    repository = tmp_path_factory.mktemp("repository")
    return export(in_training, amounts(), repository, state_names=("h", "c"), description="first")


@pytest.mark.parametrize(
    ("module", "inputs", "output_shape", "state_shapes"),
    [
        (Stacked(nn.GRU, 3), amounts(), ("B", "T", 2), {"state_0": (3, "B", HIDDEN_SIZE)}),
        (TimeMajor(), amounts("T", "B", 3), ("T", "B", HIDDEN_SIZE), {"h": (2, "B", HIDDEN_SIZE)}),
        (Tokens(), TOKENS, ("B", "T", NUM_TOKENS), {"h": (1, "B", HIDDEN_SIZE), "c": (1, "B", HIDDEN_SIZE)}),
        (Shared(), amounts(), ("B", "T", 3), {f"state_{index}": (1, "B", 3) for index in range(4)}),
        (ManyToOne(), amounts(), ("B", HIDDEN_SIZE), {"memory": ("B", HIDDEN_SIZE)}),
        (OneStepCell(), amounts("B", 3), ("B", HIDDEN_SIZE), {"h": ("B", HIDDEN_SIZE), "c": ("B", HIDDEN_SIZE)}),
        (OddStates(), amounts(), ("B", "T"), {"state_0": ("B", 1), "state_1": ("B",), "state_2": (2, "B", 3, 4)}),
    ],
    ids=["gru", "time-major", "tokens", "shared", "many-to-one", "one-step", "odd-states"],
)
def test_a_module_that_keeps_the_contract_is_exported_and_proved(
    tmp_path: Path,
    module: nn.Module,
    inputs: Input,
    output_shape: tuple[int | str, ...],
    state_shapes: dict[str, tuple[int | str, ...]],
) -> None:
    exported = export(module, inputs, tmp_path)
    manifest = Manifest.read(exported.directory)
    assert manifest.outputs[0].shape == output_shape
    assert {state.name: state.shape for state in manifest.states} == state_shapes
    found = inspect_module(module, inputs).states
    assert [(state.dtype, state.initial) for state in manifest.states] == [(one.dtype, one.initial) for one in found]
    assert manifest.parity is not None
    assert manifest.parity.max_difference <= 1e-5
    assert manifest.batch_invariant


@pytest.mark.parametrize("options", [{"nonlinearity": "relu"}, {"bias": False}])
def test_a_plain_rnn_is_exact_at_any_size(tmp_path: Path, options: dict[str, Any]) -> None:
    # onnxruntime rounds the operator RNN otherwise for a batch of one than for more; it is written as another.
    exported = export(Stacked(nn.RNN, 2, **options), amounts(), tmp_path)
    assert exported.proof.parity.max_difference <= 1e-5
    assert exported.manifest.promise == ANY


def test_the_directory_holds_graph_manifest_and_golden_answers(stacked: Exported) -> None:
    assert {file.name for file in stacked.directory.iterdir()} == {"model.onnx", "model.json", "golden.safetensors"}
    assert stacked.directory.parts[-2:] == ("net", "1")
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in stacked.directory.iterdir())


def test_the_manifest_tells_of_the_graph_and_its_proof(stacked: Exported) -> None:
    manifest = Manifest.read(stacked.directory)
    graph = (stacked.directory / "model.onnx").read_bytes()
    assert manifest.graphs["step"].sha256 == hashlib.sha256(graph).hexdigest()
    assert [(state.input, state.output) for state in manifest.states] == [("h", "h_next"), ("c", "c_next")]
    assert manifest.outputs[0].features == ("output_0", "output_1")
    assert manifest.provenance["libraries"]["torch"] == torch.__version__
    assert manifest.parity is not None
    assert max(manifest.parity.batch_sizes) == 64
    assert max(manifest.parity.lengths) == 1000


def test_the_graph_has_clean_names_open_axes_and_nothing_of_the_machine(stacked: Exported) -> None:
    graph = onnx.load(stacked.directory / "model.onnx").graph
    axes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    state = [2, "B", HIDDEN_SIZE]
    assert axes == {
        "inputs": ["B", "T", 3],
        "h": state,
        "c": state,
        "outputs": ["B", "T", 2],
        "h_next": state,
        "c_next": state,
    }
    assert [node.op_type for node in graph.node].count("LSTM") == 2
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    content = (stacked.directory / "model.onnx").read_bytes()
    assert str(Path(__file__).parent).encode() not in content


def test_onnxruntime_has_nothing_to_warn_of(stacked: Exported, capfd: pytest.CaptureFixture[str]) -> None:
    session = onnxruntime.InferenceSession(stacked.directory / "model.onnx")
    state = np.zeros((2, 5, HIDDEN_SIZE), np.float32)
    session.run(None, {"inputs": np.zeros((5, 70, 3), np.float32), "h": state, "c": state})
    assert capfd.readouterr().err == ""


def test_golden_answers_are_the_trained_networks_from_its_initial_state(stacked: Exported) -> None:
    golden = load_file(stacked.directory / "golden.safetensors")
    sizes = {golden[key].shape[:2] for key in golden if key.endswith("/inputs")}
    assert len({batch for batch, _ in sizes}) > 1
    assert len({steps for _, steps in sizes}) > 1
    module = Stacked(nn.LSTM).eval()
    for case in {key.partition("/")[0] for key in golden}:
        x = torch.from_numpy(golden[f"{case}/inputs"])
        with torch.no_grad():
            y, h, c = module(x, *module.initial_state(len(x)))
        for name, wanted in (("outputs", y), ("h_next", h), ("c_next", c)):
            np.testing.assert_allclose(golden[f"{case}/{name}"], wanted.numpy(), atol=1e-6)


def test_initial_states_are_kept_learned_or_not() -> None:
    module = TimeMajor()
    learned = inspect_module(module, amounts("T", "B", 3)).states[0]
    np.testing.assert_array_equal(learned.initial_row(), module.first.detach().numpy()[:, 0])
    odd = inspect_module(OddStates(), amounts())
    assert [state.dtype for state in odd.states] == ["float64", "int64", "float32"]
    assert [state.initial for state in odd.states] == [0.0, 7, 1.0]


def test_a_model_that_sees_its_batch_mates_is_refused_by_what_they_change(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"the rows of a batch depend on each other: with other .* look for a mean"):
        export(BatchMean(), amounts(), tmp_path)
    assert not (tmp_path / "net").exists()


def test_missing_values_are_in_the_golden_inputs_where_they_may_be(tmp_path: Path, stacked: Exported) -> None:
    class Zeroed(Stacked):
        def forward(self, x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return super().forward(torch.nan_to_num(x), *state)

    exported = export(Zeroed(), amounts(missing=True), tmp_path)
    assert np.isnan(load_file(exported.directory / "golden.safetensors")["batch/inputs"]).any()
    assert not np.isnan(load_file(stacked.directory / "golden.safetensors")["batch/inputs"]).any()


@pytest.mark.parametrize("step_by_step", [False, True])
def test_a_loop_over_the_steps_is_exported_with_any_number_of_them_or_step_by_step(
    step_by_step: bool, tmp_path: Path
) -> None:
    manifest = export(LoopedCell(), amounts(), tmp_path, step_by_step=step_by_step).manifest
    assert manifest.inputs[0].shape == (("B", 3) if step_by_step else ("B", "T", 3))
    assert manifest.outputs[0].shape == (("B", HIDDEN_SIZE) if step_by_step else ("B", "T", HIDDEN_SIZE))
    assert manifest.promise == ANY


def test_weights_of_another_float_are_exported_in_float32_and_it_is_said_what_that_changes(tmp_path: Path) -> None:
    exported = export(Stacked(nn.GRU, 1).half(), amounts(), tmp_path)
    (note,) = exported.proof.notes
    assert note.startswith("the network's weights are float16; it is exported in float32, which holds them exactly")
    assert exported.manifest.states[0].dtype == "float32"


def test_a_network_that_is_not_recurrent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cut into chunks the network answers differently"):
        export(Forgetful(), amounts(), tmp_path)
    with pytest.raises(ExportError, match="answers differently step by step"):
        export(Forgetful(), amounts(), tmp_path, step_by_step=True)


def test_a_graph_that_is_another_function_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"differs from the trained network by .* in the output"):
        export(TracedAsConstant(), amounts(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_may_differ_by_what_the_network_itself_rounds_off(tmp_path: Path) -> None:
    # The same sum, rounded differently, is off by 2^-15 = 3.1e-5 here and there.
    parity = export(Offset(), amounts(), tmp_path).proof.parity
    assert 1e-5 < parity.max_difference == 2**-15 < parity.tolerance < 1e-4


def test_an_existing_version_is_kept_unless_it_is_to_be_replaced(tmp_path: Path, stacked: Exported) -> None:
    first = Path(shutil.copytree(stacked.directory, tmp_path / "net" / "1"))
    with pytest.raises(ExportError, match=r"net/1 exists already.*--force"):
        export(ManyToOne(), amounts(), tmp_path, description="second")
    assert json.loads((first / "model.json").read_text())["description"] == "first"
    export(ManyToOne(), amounts(), tmp_path, description="second", force=True)
    assert json.loads((first / "model.json").read_text())["description"] == "second"
    assert [path.name for path in tmp_path.rglob("*") if path.name.startswith(".")] == []


@pytest.mark.parametrize("wrong", [{"name": "../net"}, {"version": "../../1"}, {"name": ""}])
def test_a_name_that_would_lead_elsewhere_is_refused(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ExportError, match="use 1 to 128 of"):
        export(ManyToOne(), amounts(), tmp_path, **wrong)


def test_feedback_to_a_feature_that_the_input_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"feedback 'output_0' -> 'sun' does not lead"):
        export(ManyToOne(), amounts(), tmp_path, feedback={"output_0": "sun"})


@pytest.mark.usefixtures("stacked")
def test_the_callers_module_stays_as_it_was(in_training: Stacked) -> None:
    assert in_training.training
    assert type(in_training.layers) is nn.LSTM
    assert all(weight.requires_grad for weight in in_training.parameters())
