"""Imports: the version answers what the file answers, to the bit, in any company; what cannot be is not written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from ostinato.export.errors import ExportError
from ostinato.export.importing.found import FileSummary
from ostinato.export.importing.importer import import_graph
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.artifact.manifest import ANY
from ostinato.service.catalogue.recurrent_checks import LoadedModel, load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.offline import run_offline
from tests.export.importing.test_frames import recurrent, step_cell, windowed
from tests.export.writers import small_proofs
from tests.foreign import FOREIGN
from tests.foreign.building import INT64, GraphBuilder
from tests.foreign.case import Array


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with small_proofs():
        yield


def imported(model: onnx.ModelProto, folder: Path, **options: Any) -> LoadedModel:
    """The version of a graph, loaded and checked as the service does."""
    path = folder / "file.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    exported = import_graph(path, folder / "repository", name="imported", **options)
    return load_model(exported.directory, Settings())


def answers(loaded: LoadedModel, x: Array) -> list[Array]:
    """The offline answers ``[B, T, ...]`` to the only input's steps ``[B, T, F]``, one array for each output."""
    outputs, _ = run_offline(loaded.runner, np.ascontiguousarray(x, loaded.manifest.inputs[0].dtype))
    return loaded.runner.manifest.made.flat(outputs)


def looped(path: Path, x: Array, states: dict[str, tuple[str, Array]], output: str) -> Array:
    """What the file answers, fed a step at a time with its states carried by hand, as its owner would."""
    session = open_graph(path)
    carried = {name: first for name, (_, first) in states.items()}
    made = []
    for step in range(len(x)):
        names = [output, *(after for after, _ in states.values())]
        found = session.run(names, {session.get_inputs()[0].name: x[step], **carried})
        made.append(found[0])
        carried = dict(zip(carried, found[1:], strict=True))
    return np.stack(made)


@pytest.mark.parametrize("batch", ["N", 1, 3, None])
def test_a_graph_of_one_step_answers_what_its_owners_loop_gives(batch: int | str | None, tmp_path: Path) -> None:
    loaded = imported(step_cell(batch).model("else"), tmp_path)
    x = np.random.default_rng(0).normal(size=(2, 20, 3)).astype(np.float32)
    made = answers(loaded, x)[0]
    assert loaded.manifest.promise == ANY
    rows = {"N": 1, 1: 1, 3: 3, None: 0}[batch]
    for row in range(2):
        shape = (20, rows, 3) if rows else (20, 3)
        fed = np.broadcast_to(x[row].reshape(20, *([1] * bool(rows)), 3), shape)
        first = np.zeros((rows, 4) if rows else 4, np.float32)
        wanted = looped(tmp_path / "file.onnx", np.ascontiguousarray(fed), {"h": ("next_h", first)}, "y")
        assert made[row].tobytes() == np.ascontiguousarray(wanted[:, 0] if rows else wanted).tobytes()


def test_a_window_slides_over_the_steps_of_a_session(tmp_path: Path) -> None:
    loaded = imported(windowed(4).model("else"), tmp_path, framing=Framing(window=4, hop=1))
    x = np.random.default_rng(0).normal(size=(1, 9, 3)).astype(np.float32)
    made = answers(loaded, x)[0]
    behind = np.concatenate([np.zeros((1, 3, 3), np.float32), x], axis=1)
    session = open_graph(tmp_path / "file.onnx")
    wanted = [session.run(["y"], {"x": behind[:, step : step + 4]})[0] for step in range(9)]
    assert made.tobytes() == np.stack(wanted, axis=1).tobytes()


def test_a_branch_that_the_constants_rule_out_may_not_fit_the_window(tmp_path: Path) -> None:
    weight = {rate: np.ones((rate, 2), np.float32) for rate in (4, 8)}
    branches = {}
    for name, rate in (("then_branch", 8), ("else_branch", 4)):
        branch = GraphBuilder(17, f"{name}/")
        branch.node("MatMul", ["x", branch.weight(weight[rate])], f"{name}_made")
        branch.output(f"{name}_made", ["N", 2])
        branches[name] = branch.graph(name)
    builder = GraphBuilder(17)
    builder.input("x", ["N", "samples"])
    is_wide = builder.node("Equal", [builder.input("sr", [], INT64), builder.weight(16000)])
    scored = builder.node("If", [is_wide], **branches)
    builder.node("Tanh", [builder.node("Add", [scored, builder.input("h", ["N", 2])])], "next_h")
    builder.node("Identity", ["next_h"], "y")
    builder.output("y", ["N", 2])
    builder.output("next_h", ["N", 2])
    loaded = imported(builder.model("else"), tmp_path, framing=Framing(window=8, hop=8), constants={"sr": 16000})
    x = np.random.default_rng(0).normal(size=(1, 24)).astype(np.float32)
    session, h, wanted = open_graph(tmp_path / "file.onnx"), np.zeros((1, 2), np.float32), []
    for frame in range(3):
        made, h = session.run(["y", "next_h"], {"x": x[:, 8 * frame :][:, :8], "sr": np.array(16000), "h": h})
        wanted.append(made)
    assert answers(loaded, x.reshape(1, 3, 8))[0].tobytes() == np.stack(wanted, axis=1).tobytes()


def test_what_nobody_expected_of_a_graph_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*_given: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("ostinato.export.importing.importer.find", find)
    with pytest.raises(ExportError, match=r"file\.onnx: .*KeyError in find .*'secret'") as raised:
        imported(step_cell().model("else"), tmp_path)
    assert isinstance(raised.value.__cause__, KeyError)
    assert "\n" not in str(raised.value)


def test_steps_that_the_file_has_fixed_come_in_any_number(tmp_path: Path) -> None:
    loaded = imported(recurrent(1, 16).model("else"), tmp_path)
    x = np.random.default_rng(0).normal(size=(1, 16, 3)).astype(np.float32)
    first = np.zeros((1, 1, 4), np.float32)
    wanted = open_graph(tmp_path / "file.onnx").run(["y"], {"x": x, "h0": first})[0]
    assert answers(loaded, x)[0].tobytes() == wanted.tobytes()
    assert answers(loaded, x[:, :5])[0].tobytes() == wanted[:, :5].tobytes()


@pytest.mark.parametrize("name", ["tf2onnx_gru", "torch_lstm_fixed_sizes"])
def test_a_graph_without_states_streams_what_it_answers_whole(name: str, tmp_path: Path) -> None:
    case = FOREIGN[name]()
    loaded = imported(case.model, tmp_path)
    (given,) = case.rows
    x = case.draw(1, case.fixed.get("T", 12))[given]
    (output,) = (part.name for part in case.model.graph.output)
    wanted = open_graph(tmp_path / "file.onnx").run([output], {given: x})[0]
    made = answers(loaded, x)[0]
    assert np.abs(made.reshape(wanted.shape) - wanted).max() < 1e-6
    assert len(loaded.manifest.states) == case.hidden


def test_windows_stream_in_frames_of_their_hop(tmp_path: Path) -> None:
    case = FOREIGN["lstm_transducer"]()
    assert case.framing is not None
    window, hop = case.framing
    loaded = imported(case.model, tmp_path, framing=Framing(window=window, hop=hop), constants=case.constants)
    assert str(loaded.manifest.framing) == f"{window}:{hop}"
    given = case.draw(2, 6 * hop)
    (name,) = case.rows
    made = answers(loaded, given[name].reshape(2, 6, -1))[0]
    wanted = next(iter(case.truth(given).values()))
    assert np.abs(made.reshape(wanted.shape) - wanted).max() < 1e-5


def test_what_cannot_stream_answers_whole_sequences_and_says_why(tmp_path: Path) -> None:
    path, seen = tmp_path / "file.onnx", list[FileSummary]()
    path.write_bytes(FOREIGN["torch_two_way"]().model.SerializeToString())

    def confirm(found: FileSummary) -> bool:
        seen.append(found)
        return True

    exported = import_graph(path, tmp_path, name="tagger", confirm=confirm)
    assert exported.manifest.task == seen[0].task == "sequence"
    assert "both ways" in seen[0].obstacles[0]
    assert any("both ways" in note for note in exported.proof.notes)


def test_a_state_that_nobody_carries_is_where_each_whole_sequence_begins(tmp_path: Path) -> None:
    builder = recurrent("N", "T")
    builder.node("Sub", ["y", builder.node("ReduceMean", ["y"], axes=[1])], "centred")  # of steps still to come
    builder.output("centred", ["N", "T", 4])
    path = tmp_path / "file.onnx"
    path.write_bytes(builder.model("else").SerializeToString())
    exported = import_graph(path, tmp_path, name="centred")
    assert exported.manifest.task == "sequence"
    assert [part.name for part in exported.manifest.inputs] == ["x"]
    assert exported.proof.parity.max_difference < 1e-5


def test_a_quantised_graph_answers_each_row_as_when_alone(tmp_path: Path) -> None:
    source, path = tmp_path / "source.onnx", tmp_path / "quantised.onnx"
    source.write_bytes(step_cell().model("else").SerializeToString())
    quantize_dynamic(source, path, weight_type=QuantType.QInt8)
    loaded = imported(onnx.load(path), tmp_path)
    x = np.random.default_rng(0).normal(size=(3, 9, 3)).astype(np.float32)
    made = answers(loaded, x)[0]
    first = np.zeros((1, 4), np.float32)
    for row in range(3):
        wanted = looped(path, x[row][:, None], {"h": ("next_h", first)}, "y")
        assert made[row].tobytes() == np.ascontiguousarray(wanted[:, 0]).tobytes()


def test_states_begin_with_what_examples_have(tmp_path: Path) -> None:
    examples = tmp_path / "examples.npz"
    first = np.array([[0.5, -1.0, 2.0, 0.0]], np.float32)
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(30, 3)).astype(np.float32)
    np.savez(examples, x=x, h=first)
    loaded = imported(step_cell().model("else"), tmp_path, examples=examples, features=("a", "b", "c"))
    assert loaded.manifest.states[0].initial == first[0].tolist()
    (part,) = loaded.manifest.inputs
    assert part.features == ("a", "b", "c")
    assert part.statistics is not None
    assert part.statistics.maximum == tuple(x.max(axis=0).tolist())
    wanted = looped(tmp_path / "file.onnx", x[:5, None], {"h": ("next_h", first)}, "y")
    assert answers(loaded, x[None, :5])[0].tobytes() == np.ascontiguousarray(wanted[:, 0]).tobytes()


def test_names_that_no_client_can_say_are_others(tmp_path: Path) -> None:
    names = ("model/input 1:0", "model/h:0", "Identity:0", "Identity_1:0")
    loaded = imported(step_cell("N", names).model("else"), tmp_path)
    assert loaded.manifest.inputs[0].name == "model_input_1"
    assert loaded.manifest.outputs[0].name == "Identity"
    assert [state.input for state in loaded.manifest.states] == ["model_h"]


def test_a_changed_graph_is_imported_as_it_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    path.write_bytes(step_cell().model("else").SerializeToString())
    model = ir.load(path)
    model.graph.inputs[0].name = "observation"
    exported = import_graph(path, tmp_path, name="cell", model=model, initial={"h": 0.25}, notes=("told elsewhere",))
    assert exported.manifest.inputs[0].name == "observation"
    assert exported.manifest.states[0].initial == 0.25
    assert "told elsewhere" in exported.proof.notes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"confirm": lambda _found: False}, "nothing was written"),
        ({"features": ("a", "b")}, "--features: a step of 'x' has 3 numbers, and there are 2 names"),
        ({"framing": Framing(window=9, hop=3)}, "9 steps"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as error:
        imported(step_cell().model("else"), tmp_path, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "repository" / "imported").exists()


def test_what_is_no_graph_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ExportError) as error:
        import_graph(path, tmp_path / "repository", name="none")
    assert str(path) in str(error.value)
    assert not (tmp_path / "repository").exists()


def test_float16_at_which_onnxruntime_dies_is_served_in_float32(tmp_path: Path) -> None:
    half = recurrent("N", "T").model("else")
    for weight in half.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            weight.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight).astype(np.float16), weight.name)
            )
    for part in (*half.graph.input, *half.graph.output):
        part.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float16), "head")
    half.graph.initializer.append(weight)
    half.graph.node.append(onnx.helper.make_node("MatMul", ["y", "head"], ["z"]))
    half.graph.output[0].name = "z"
    loaded = imported(half, tmp_path)
    assert {part.dtype for part in loaded.manifest.inputs} == {"float32"}
    x = np.random.default_rng(0).normal(size=(1, 8, 3)).astype(np.float32)
    wide = recurrent("N", "T").model("else")
    (tmp_path / "wide.onnx").write_bytes(wide.SerializeToString())
    wanted = open_graph(tmp_path / "wide.onnx").run(["y"], {"x": x, "h0": np.zeros((1, 1, 4), np.float32)})[0]
    assert np.abs(answers(loaded, x)[0] - wanted).max() < 1e-2  # the weights were rounded to float16


def zero_lstm(shape: tuple[int | str, ...], *, last: bool = False) -> onnx.ModelProto:
    """``x`` as the sequence of an LSTM of 4 units that begins with zeros; without batch or steps these are of one."""
    builder = GraphBuilder(17)
    x = builder.input("x", list(shape))
    sequence = builder.node("Reshape", [x, builder.weight(np.array([-1, 1, 3] if shape[0] == "T" else [1, -1, 3]))])
    if len(shape) > 2:
        sequence = builder.transpose(x, 1, 0, 2)
    weights = [builder.weight(builder.drawn(*each)) for each in ((1, 16, 3), (1, 16, 4), (1, 32))]
    builder.nodes_of("LSTM", [sequence, *weights], ["all", "h", "c"], hidden_size=4)
    builder.node("Reshape", ["h" if last else "all", builder.weight(np.array([-1, 4]))], "y")
    builder.output("y", [shape[0], 4])
    return builder.model("else")


@pytest.mark.parametrize("shape", [("T", 3), (1, 3), ("N", 3), (4, 3)])
def test_a_layer_that_begins_with_zeros_is_carried_whatever_axes_the_file_lacks(
    shape: tuple[int | str, ...], tmp_path: Path
) -> None:
    axes: Any = {"x": ["B", 3]} if shape[0] == 4 else {}
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    made = answers(imported(zero_lstm(shape), tmp_path, axes=axes), x)[0]
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(zero_lstm(("T", 3)).SerializeToString())
    for row in range(2):
        wanted = open_graph(whole).run(["y"], {"x": x[row]})[0]
        assert made[row].tobytes() == np.asarray(wanted).tobytes()


def test_windows_that_overlap_begin_anew_as_in_the_file_and_frames_carry_on(tmp_path: Path) -> None:
    model = zero_lstm((1, 6, 3), last=True)
    x = np.random.default_rng(0).normal(size=(1, 12, 3)).astype(np.float32)
    overlapping = imported(model, tmp_path / "a", framing=Framing(window=6, hop=3))
    frames = imported(model, tmp_path / "b", framing=Framing(window=6, hop=6))
    padded = np.concatenate([np.zeros((1, 3, 3), np.float32), x], axis=1)
    file = open_graph(tmp_path / "a" / "file.onnx")
    wanted = [np.asarray(file.run(["y"], {"x": padded[:, at : at + 6]})[0]) for at in range(0, 12, 3)]
    assert answers(overlapping, x.reshape(1, 4, 9))[0].tobytes() == np.stack(wanted, axis=1).tobytes()
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(zero_lstm(("T", 3)).SerializeToString())
    steps = np.asarray(open_graph(whole).run(["y"], {"x": x[0]})[0])
    assert answers(frames, x.reshape(1, 2, 18))[0].tobytes() == steps[None, [5, 11]].tobytes()


def test_a_table_of_too_few_steps_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    x = builder.input("x", ["N", "T", 3])
    size = builder.node("Slice", [builder.node("Shape", [x]), *(builder.weight(np.array([n])) for n in (1, 2))])
    table = builder.node(
        "Slice",
        [builder.weight(builder.drawn(1, 64, 3)), builder.weight(np.array([0])), size, builder.weight(np.array([1]))],
    )
    builder.node("Add", [x, table], "y")
    builder.output("y", ["N", "T", 3])
    with pytest.raises(ExportError, match=r"the file fails on an input of shape \[\d+, \d+, 3\]"):
        imported(builder.model("else"), tmp_path)


def test_codes_of_a_fixed_number_of_steps_stream(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    rows = builder.node("Gather", [builder.weight(builder.drawn(9, 3)), builder.input("tokens", [1, 12], INT64)])
    weights = [builder.weight(builder.drawn(*each)) for each in ((1, 12, 3), (1, 12, 4), (1, 24))]
    builder.nodes_of("GRU", [builder.transpose(rows, 1, 0, 2), *weights], ["all", "h"], hidden_size=4)
    builder.transpose(builder.squeeze("all", 1), 1, 0, 2, name="y")
    builder.output("y", [1, 12, 4])
    loaded = imported(builder.model("else"), tmp_path)
    tokens = np.random.default_rng(0).integers(9, size=(1, 12))
    wanted = np.asarray(open_graph(tmp_path / "file.onnx").run(["y"], {"tokens": tokens})[0])
    assert answers(loaded, tokens[..., None])[0].tobytes() == wanted.tobytes()


def test_weights_next_to_the_file_are_imported_with_it(tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    onnx.save(zero_lstm(("N", 3)), path, save_as_external_data=True, location="weights.data", size_threshold=100)
    exported = import_graph(path, tmp_path / "repository", name="imported")
    x = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
    beside = answers(load_model(exported.directory, Settings()), x)[0]
    assert beside.tobytes() == answers(imported(zero_lstm(("N", 3)), tmp_path / "whole"), x)[0].tobytes()


def test_an_output_that_shows_what_a_state_was_is_not_its_next_value(tmp_path: Path) -> None:
    builder = step_cell(1, names=("x", "h", "y", "h_new"))
    for name, shown in (("h", "h_old"), ("x", "x_out")):
        builder.node("Identity", [name], shown)
        builder.output(shown, [1, 4 if name == "h" else 3])
    loaded = imported(builder.model("else"), tmp_path)
    assert [(state.input, state.output) for state in loaded.manifest.states] == [("h", "h_new")]
    assert [part.name for part in loaded.manifest.inputs] == ["x"]


def test_an_answer_in_two_steps_does_not_make_rows_of_steps(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    x = builder.input("x", ["b", "t", 3])
    weights = [builder.weight(builder.drawn(*each)) for each in ((1, 12, 3), (1, 12, 4), (1, 24))]
    builder.nodes_of("GRU", [builder.transpose(x, 1, 0, 2), *weights], ["all", "h"], hidden_size=4)
    steps = builder.transpose(builder.squeeze("all", 1), 1, 0, 2)
    builder.node("Slice", [steps, *(builder.weight(np.array([n])) for n in (0, 2**31, 1, 2))], "y")
    builder.output("y", ["b", "u", 4])
    loaded = imported(builder.model("else"), tmp_path)
    drawn = np.random.default_rng(0).normal(size=(1, 8, 3)).astype(np.float32)
    wanted = np.asarray(open_graph(tmp_path / "file.onnx").run(["y"], {"x": drawn})[0])
    assert (loaded.manifest.task, loaded.manifest.framing) == ("recurrent", Framing(window=2, hop=2))
    assert answers(loaded, drawn.reshape(1, 4, 6))[0].tobytes() == wanted.tobytes()
