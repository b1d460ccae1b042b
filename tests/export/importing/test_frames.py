"""Findings of foreign graphs: states, axes, constants and lengths, and what is refused with its way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from ostinato.export.errors import ExportError
from ostinato.export.importing.files import Workbench
from ostinato.export.importing.finding import Finding, ImportHints
from ostinato.export.importing.frames import find
from ostinato.export.importing.layouts import normal
from ostinato.service.artifact.framing import Framing
from tests.foreign import FOREIGN
from tests.foreign.building import FLOAT, INT64, GraphBuilder

STREAMING = [name for name in FOREIGN if FOREIGN[name]().framing is None]


def found(model: onnx.ModelProto, folder: Path, **hints: Any) -> Finding:
    return find(ir.from_proto(model), ImportHints(**hints), Workbench(folder))


def step_cell(
    batch: int | str | None = "N",
    names: tuple[str, str, str, str] = ("x", "h", "y", "next_h"),
    inputs: int = 3,
    *,
    opset: int = 17,
    steps: tuple[int, ...] = (),
) -> GraphBuilder:
    """``next_h = tanh(x W + h U)`` and ``y = next_h V``, decomposed, of 4 units and 2 answers."""
    builder = GraphBuilder(opset)
    x, h, y, after = names
    rows = [] if batch is None else [batch]
    builder.input(x, [*rows, *steps, inputs])
    builder.input(h, [*rows, *steps, 4])
    weighted = builder.node("MatMul", [x, builder.weight(builder.drawn(inputs, 4))])
    carried = builder.node("MatMul", [h, builder.weight(builder.drawn(4, 4))])
    builder.node("Tanh", [builder.node("Add", [weighted, carried])], after)
    builder.node("MatMul", [after, builder.weight(builder.drawn(4, 2))], y)
    builder.output(y, [*rows, *steps, 2])
    builder.output(after, [*rows, *steps, 4])
    return builder


def recurrent(batch: int | str, steps: int | str) -> GraphBuilder:
    """A GRU of 4 units over ``x [B, T, 3]`` that takes and gives its state."""
    builder = GraphBuilder(17)
    x, h = builder.input("x", [batch, steps, 3]), builder.input("h0", [1, batch, 4])
    weights = [builder.weight(builder.drawn(*shape)) for shape in ((1, 12, 3), (1, 12, 4), (1, 24))]
    builder.nodes_of("GRU", [builder.transpose(x, 1, 0, 2), *weights, "", h], ["all", "hn"], hidden_size=4)
    builder.transpose(builder.squeeze("all", 1), 1, 0, 2, name="y")
    builder.output("y", [batch, steps, 4])
    builder.output("hn", [1, batch, 4])
    return builder


@pytest.mark.parametrize("name", STREAMING)
def test_states_and_axes_of_other_peoples_graphs_are_found(name: str, tmp_path: Path) -> None:
    case = FOREIGN[name]()
    finding = found(case.model, tmp_path, constants=case.constants)
    assert finding.streams == (case.task == "recurrent")
    if finding.streams:
        own = {pair.given: pair.made for pair in finding.pairs if pair.given in case.states}
        assert own == case.states
        assert len(finding.pairs) == len(case.states) + case.hidden
    axes = {given: normal(finding.layout.roles[given]) for given in case.rows}
    assert axes == {given: tuple(axis for axis in case.axes[given] if axis != 1) for given in case.rows}


def test_codes_are_the_rows_of_the_table_that_they_are_looked_up_in(tmp_path: Path) -> None:
    case = FOREIGN["torch_tokens"]()
    finding = found(case.model, tmp_path)
    assert {name: finding.codes[name] for name in case.codes} == case.codes


@pytest.mark.parametrize(("batch", "rows"), [(1, None), (4, 4), (None, 0)])
def test_a_fixed_batch_is_freed_or_each_row_is_run_by_itself(
    batch: int | None, rows: int | None, tmp_path: Path
) -> None:
    finding = found(step_cell(batch).model("else"), tmp_path)
    assert finding.layout.rows == rows
    assert {name: normal(roles) for name, roles in finding.layout.roles.items()} == {"x": ("B", 3), "h": ("B", 4)}


def test_steps_of_a_fixed_number_are_freed(tmp_path: Path) -> None:
    finding = found(recurrent(1, 16).model("else"), tmp_path)
    assert normal(finding.layout.roles["x"]) == ("B", "T", 3)
    assert (finding.rows_of_file, finding.steps_of_file) == (1, 16)


def test_a_counter_without_axes_has_every_row_run_by_itself(tmp_path: Path) -> None:
    builder = step_cell()
    builder.node("Add", [builder.input("step", [], INT64), builder.weight(1)], "step_out")
    builder.output("step_out", [], INT64)
    finding = found(builder.model("else"), tmp_path)
    assert finding.state_names == {"h": "next_h", "step": "step_out"}
    assert finding.layout.rows == 1


def test_a_number_that_makes_no_difference_is_a_constant(tmp_path: Path) -> None:
    builder = recurrent("N", "T")
    zero = builder.node("Mul", [builder.input("sr", [], INT64), builder.weight(0)])
    builder.node("Add", ["y", builder.node("Cast", [zero], to=FLOAT)], "z")
    builder.output("z", ["N", "T", 4])
    finding = found(builder.model("else"), tmp_path)
    assert finding.constants == {"sr": 0}
    assert any("sr" in note for note in finding.notes)


def test_a_number_that_matters_has_to_be_said(tmp_path: Path) -> None:
    builder = recurrent("N", "T")
    is_wide = builder.node("Equal", [builder.input("sr", [], INT64), builder.weight(16000)])
    builder.node("Mul", ["y", builder.node("Cast", [is_wide], to=FLOAT)], "z")
    builder.output("z", ["N", "T", 4])
    model = builder.model("else")
    with pytest.raises(ExportError, match=r"--constant sr=16000 \(the graph compares it with 16000\)"):
        found(model, tmp_path)
    assert found(model, tmp_path, constants={"sr": 16000}).constants == {"sr": 16000}


def test_lengths_are_counted_and_what_only_repeats_them_is_left_out(tmp_path: Path) -> None:
    builder = recurrent("N", "T")
    builder.node("Identity", [builder.input("x_lens", ["N"], INT64)], "y_lens")
    builder.output("y_lens", ["N"], INT64)
    finding = found(builder.model("else"), tmp_path)
    assert [port.name for port in finding.lengths] == ["x_lens"]
    assert finding.state_names == {"h0": "hn"}
    assert finding.shown == ["y"]


def test_an_input_with_a_default_is_that_in_every_run(tmp_path: Path) -> None:
    builder = recurrent("N", "T")
    builder.node("Mul", ["y", builder.weight(np.array([2.0]), "gain")], "loud")
    builder.output("loud", ["N", "T", 4])
    builder.input("gain", [1])
    finding = found(builder.model("else"), tmp_path)
    assert [port.name for port in finding.fed] == ["x"]
    assert any("gain" in note and "[2.0]" in note for note in finding.notes)


@pytest.mark.parametrize("takes_steps", [False, True])
def test_what_shares_a_scale_is_run_a_row_and_a_step_at_a_time(takes_steps: bool, tmp_path: Path) -> None:
    builder = step_cell()
    if takes_steps:
        builder = recurrent("N", "T")
        builder.node("MatMul", ["y", builder.weight(builder.drawn(4, 2))], "scores")
        builder.output("scores", ["N", "T", 2])
    source, path = tmp_path / "source.onnx", tmp_path / "quantised.onnx"
    source.write_bytes(builder.model("else").SerializeToString())
    quantize_dynamic(source, path, weight_type=QuantType.QInt8)
    finding = found(onnx.load(path), tmp_path)
    assert finding.layout.rows == 1
    assert not finding.layout.has_steps
    assert not finding.obstacles


def test_an_output_that_is_only_carried_is_shown_too(tmp_path: Path) -> None:
    builder = step_cell()
    del builder.outputs[0], builder.nodes[-1]
    finding = found(builder.model("else"), tmp_path)
    assert finding.state_names == {"h": "next_h"}
    assert finding.shown == ["next_h_shown"]


def test_a_window_is_an_axis_of_its_size(tmp_path: Path) -> None:
    case = FOREIGN["zipformer"]()
    assert case.framing is not None
    framing = Framing(window=case.framing[0], hop=case.framing[1])
    finding = found(case.model, tmp_path, framing=framing)
    assert finding.state_names == case.states
    (name,) = case.rows
    assert finding.layout.roles[name].count("W") == 1


def test_nothing_carried_names_the_ways_out(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    builder.node("MatMul", [builder.input("x", ["N", 3]), builder.weight(builder.drawn(3, 2))], "y")
    builder.output("y", ["N", 2])
    with pytest.raises(ExportError, match=r"nothing is carried .* --state IN=OUT"):
        found(builder.model("else"), tmp_path)


def windowed(window: int) -> GraphBuilder:
    """One answer of 2 numbers to a window ``[N, window, 3]``, as a classifier of the last steps is."""
    builder = GraphBuilder(17)
    flat = builder.node("Reshape", [builder.input("x", ["N", window, 3]), builder.weight([-1, 3 * window])])
    builder.node("MatMul", [flat, builder.weight(builder.drawn(3 * window, 2))], "y")
    builder.output("y", ["N", 2])
    return builder


def test_windows_that_share_steps_stream_without_a_state_of_the_file(tmp_path: Path) -> None:
    model = windowed(4).model("else")
    with pytest.raises(ExportError, match="windows of 4 steps, it seems: --framing 4:1"):
        found(model, tmp_path)
    assert found(model, tmp_path, framing=Framing(window=4, hop=1)).streams


def test_windows_that_share_nothing_carry_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nothing is carried"):
        found(windowed(4).model("else"), tmp_path, framing=Framing(window=4, hop=4))


def test_what_has_the_shape_of_an_answer_is_no_state_beside_numbers_alone(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    wide = builder.unsqueeze(builder.input("audio", [1, "samples"]), 1)
    heard = builder.node("Conv", [wide, builder.weight(builder.drawn(1, 1, 1))])
    louder = builder.node("Mul", [heard, builder.input("least", [])])
    builder.squeeze(louder, 1, "pitch")
    builder.output("pitch", [1, "frames"])
    finding = found(builder.model("else"), tmp_path, constants={"least": 2.0})
    assert (finding.state_names, [port.name for port in finding.fed]) == ({}, ["audio"])


def test_a_state_that_grows_is_refused(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    x, past = builder.input("x", ["batch", 1, 3]), builder.input("past_key", ["batch", "past_length", 3])
    builder.node("Concat", [past, x], "present_key", axis=1)
    builder.node("ReduceMean", ["present_key"], "y", axes=[1], keepdims=0)
    builder.output("y", ["batch", 3])
    builder.output("present_key", ["batch", "length", 3])
    with pytest.raises(ExportError, match="only the batch may be open in a state"):
        found(builder.model("else"), tmp_path)


def test_rows_that_depend_on_each_other_are_run_by_themselves_and_it_is_said(tmp_path: Path) -> None:
    builder = step_cell()
    builder.node("Sub", ["y", builder.node("ReduceMean", ["y"], axes=[0])], "centred")
    builder.output("centred", ["N", 2])
    finding = found(builder.model("else"), tmp_path)
    assert finding.layout.rows == 1
    assert any("rows of a batch depend on each other" in note for note in finding.notes)


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        ({"inputs": ("z",)}, "--input z: the graph has no such input"),
        ({"axes": {"z": ("B", 3)}}, "--axes z: the graph has no such input"),
        ({"axes": {"x": ("B", "T", 3)}}, "--axes x=B,T,3: the file has float32"),
        ({"axes": {"x": ("B", 5)}}, "--axes x=B,5: the file has float32"),
        ({"constants": {"z": 1}}, "--constant z: the graph has no such input"),
        ({"constants": {"x": "one"}}, "--constant x=one: the input is float32"),
        ({"states": {"x": "next_h"}}, "--state x=next_h: 'x' is float32"),
        ({"states": {"z": "next_h"}}, "--state z=next_h: the graph has no input 'z'"),
    ],
)
def test_what_is_said_and_does_not_fit_is_named(hints: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as error:
        found(step_cell().model("else"), tmp_path, **hints)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_graph_that_answers_once_in_several_steps_is_given_frames(tmp_path: Path) -> None:
    builder = recurrent("N", "T")
    columns = builder.transpose("y", 0, 2, 1)
    half = builder.node("Conv", [columns, builder.weight(builder.drawn(4, 4, 2))], strides=[2], kernel_shape=[2])
    builder.transpose(half, 0, 2, 1, name="halved")
    builder.output("halved", ["N", "halves", 4])
    del builder.outputs[0]
    finding = found(builder.model("else"), tmp_path)
    assert str(finding.framing) == "2:2"
    assert finding.streams


def test_a_number_of_steps_that_cannot_be_another_is_a_frame(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    x, h = builder.input("x", [2, 6, 3]), builder.input("h", [2, 4])
    rows = builder.node("Reshape", [x, builder.weight([2, 18])])
    builder.node(
        "Tanh",
        [builder.node("Add", [builder.node("MatMul", [rows, builder.weight(builder.drawn(18, 4))]), h])],
        "h_out",
    )
    builder.node("MatMul", ["h_out", builder.weight(builder.drawn(4, 2))], "y")
    builder.output("y", [2, 2])
    builder.output("h_out", [2, 4])
    finding = found(builder.model("else"), tmp_path)
    assert str(finding.framing) == "6:6"
    assert finding.layout.rows == 2
    said = found(builder.model("else"), tmp_path, axes={"x": ("B", 6, 3)})
    assert said.framing is None


def test_a_state_with_a_default_begins_with_it(tmp_path: Path) -> None:
    builder = step_cell()
    builder.weight(np.full((1, 4), 0.5), "h")
    builder.inputs[1].type.tensor_type.shape.dim[0].dim_value = 1
    finding = found(builder.model("else"), tmp_path)
    assert finding.state_names == {"h": "next_h"}
    assert finding.initial["h"].tolist() == [[0.5] * 4]
