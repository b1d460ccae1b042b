from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from ostinato.export.errors import ExportError
from ostinato.export.framing import WindowAxes, frame_graph, steps_shape
from ostinato.service.artifact.framing import Framing

SIZE = 2


def graph_of(axes: WindowAxes, window: int, opset: int = 17) -> ir.Model:
    """Answers its windows as they are, and, in a branch that an ``If`` takes, their double."""
    sizes = [window if axis == "W" else axis for axis in axes]
    windows = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(sizes))
    condition = ir.Value(name="is_double", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    branches = []
    for op_type in ("Add", "Sum"):
        inner = ir.node(op_type, [windows, windows] if op_type == "Add" else [windows])
        branches.append(ir.Graph([], inner.outputs, nodes=[inner], name=op_type))
        inner.outputs[0].name = f"in_{op_type}"
        inner.outputs[0].type = windows.type
    same = ir.node("Identity", [windows])
    either = ir.node("If", [condition], {"then_branch": branches[0], "else_branch": branches[1]})
    outputs = [same.outputs[0], either.outputs[0]]
    for value, name in zip(outputs, ("same", "double"), strict=True):
        value.name, value.type, value.shape = name, windows.type, ir.Shape(sizes)
    graph = ir.Graph([windows, condition], outputs, nodes=[same, either], opset_imports={"": opset}, name="windows")
    return ir.Model(graph, ir_version=8)


class Streamed:
    """A framed graph under onnxruntime, its state carried from run to run."""

    def __init__(self, model: ir.Model, states: Any, batch_size: int, path: Path) -> None:
        ir.save(model, path)
        self._session = onnxruntime.InferenceSession(path)
        self._states = states
        self._carried = {
            state.input: np.zeros([batch_size if axis == "B" else axis for axis in state.shape], np.float32)
            for state in states
        }

    def run(self, frames: NDArray[Any]) -> list[NDArray[Any]]:
        names = ["same", "double", *(state.output for state in self._states)]
        made = self._session.run(names, {"x": frames, "is_double": np.array(True), **self._carried})
        self._carried = {state.input: after for state, after in zip(self._states, made[2:], strict=True)}
        return list(made[:2])


def windows_of(steps: NDArray[Any], window: int, hop: int) -> NDArray[Any]:
    """Of steps ``[B, n, ...]`` all windows ``[B, k, window, ...]`` that end where a frame does."""
    past = np.zeros((len(steps), window, *steps.shape[2:]), steps.dtype)
    steps = np.concatenate([past, steps], axis=1)
    ends = range(window + hop, steps.shape[1] + 1, hop)
    return np.stack([steps[:, end - window : end] for end in ends], axis=1)


@pytest.mark.parametrize(("window", "hop"), [(5, 2), (3, 3), (2, 3), (7, 1), (9, 4), (1, 1)])
@pytest.mark.parametrize("axes", [("B", "W"), ("B", "W", SIZE), ("B", SIZE, "W"), (SIZE, "W", "B")])
def test_a_graph_of_one_window_sees_the_same_windows_frame_by_frame(
    axes: WindowAxes, window: int, hop: int, tmp_path: Path
) -> None:
    sizes = [axis for axis in axes if isinstance(axis, int)]
    steps = np.random.default_rng(0).standard_normal((3, 5 * hop, *sizes)).astype(np.float32)
    model, states = frame_graph(graph_of(axes, window), {"x": axes}, Framing(window=window, hop=hop))
    assert [state.shape for state in states] == [("B", window - hop, *sizes)] * (window > hop)
    streamed = Streamed(model, states, 3, tmp_path / "framed.onnx")
    expected = windows_of(steps, window, hop)
    order = [["B", "W", *sizes].index(axis) for axis in axes]
    for frame in range(5):
        same, double = streamed.run(np.ascontiguousarray(steps[:, frame * hop : (frame + 1) * hop]))
        wanted = expected[:, frame].transpose(order)
        assert np.array_equal(same, wanted)
        assert np.array_equal(double, 2 * wanted)


@pytest.mark.parametrize(("window", "hop"), [(5, 2), (3, 3), (2, 3), (7, 1)])
@pytest.mark.parametrize("axes", [("B", "T", "W"), ("T", "B", "W", SIZE), ("B", "W", SIZE, "T")])
def test_a_graph_of_many_windows_sees_the_same_ones_however_frames_are_cut(
    axes: WindowAxes, window: int, hop: int, tmp_path: Path
) -> None:
    sizes = [axis for axis in axes if isinstance(axis, int)]
    steps = np.random.default_rng(0).standard_normal((2, 9 * hop, *sizes)).astype(np.float32)
    model, states = frame_graph(graph_of(axes, window), {"x": axes}, Framing(window=window, hop=hop, many=True))
    streamed = Streamed(model, states, 2, tmp_path / "framed.onnx")
    frames = steps.reshape(2, 9, hop, *sizes)
    expected = windows_of(steps, window, hop)
    order = [["B", "T", "W", *sizes].index(axis) for axis in axes]
    for start, end in ((0, 1), (1, 5), (5, 9)):
        same, _ = streamed.run(np.ascontiguousarray(frames[:, start:end]))
        assert np.array_equal(same, expected[:, start:end].transpose(order))


def test_a_graph_whose_first_window_is_a_whole_one_is_given_its_windows(tmp_path: Path) -> None:
    steps = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    framing = Framing(window=5, hop=2, begin="full")
    model, states = frame_graph(graph_of((SIZE, "W", "B"), 5), {"x": (SIZE, "W", "B")}, framing)
    assert states == ()
    same, _ = Streamed(model, states, 3, tmp_path / "framed.onnx").run(steps)
    assert np.array_equal(same, steps.transpose(2, 1, 0))


def test_a_manifest_has_the_steps_where_the_graph_had_a_window() -> None:
    assert steps_shape((SIZE, "W", "B")) == ("B", "T", SIZE)
    assert steps_shape(("B", "T", "W")) == ("B", "T")


def test_a_state_has_a_name_of_its_own() -> None:
    model = graph_of(("B", "W"), 4)
    model.graph.outputs[0].name = "x_past"
    _, (state,) = frame_graph(model, {"x": ("B", "W")}, Framing(window=4, hop=1))
    names = [value.name for value in (*model.graph.inputs, *model.graph.outputs)]
    assert len(set(names)) == len(names)
    assert state.input in names
    assert state.output in names


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"y": ("B", "W")}, "no input 'y' to frame; it has x, is_double"),
        ({"x": ("B", 4)}, "no axes of windows"),
        ({"x": ("B", "W", "S")}, "no axes of windows"),
        ({"x": ("B", "W", 2)}, "has 2 axes in the graph"),
    ],
)
def test_what_is_no_window_is_refused(inputs: dict[str, WindowAxes], why: str) -> None:
    with pytest.raises(ExportError, match=why):
        frame_graph(graph_of(("B", "W"), 4), inputs, Framing(window=4, hop=1))


def test_a_graph_that_is_too_old_is_refused() -> None:
    with pytest.raises(ExportError, match="opset 9; framing needs 11"):
        frame_graph(graph_of(("B", "W"), 4, opset=9), {"x": ("B", "W")}, Framing(window=4, hop=1))
