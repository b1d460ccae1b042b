"""LayerWeights: the weights of a recurrent layer as ONNX has them, out of what another framework keeps, and back.

ONNX's operators are the common ground: what is read from PyTorch, Keras, TensorFlow 1, cuDNN, MXNet, DyNet or Paddle
becomes the same few arrays, and these become a file to import, a module of PyTorch, or weights of Keras. All functions
take arrays of numpy; docs/frameworks.md has the conventions, each with its equations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from ostinato.export.contracts.axes import Array

if TYPE_CHECKING:
    from torch import nn

Operator: TypeAlias = Literal["LSTM", "GRU", "RNN"]
GATES: dict[str, str] = {"LSTM": "iofg", "GRU": "zrn", "RNN": "n"}
"""The gates of ONNX's operators in their order: input, output, forget and new; update, reset and new."""
TORCH: dict[str, str] = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "n"}
"""Those of PyTorch, cuDNN, MXNet's Gluon and ``paddle.nn``."""
KERAS: dict[str, str] = {"LSTM": "ifgo", "GRU": "zrn", "RNN": "n"}
HARD: dict[str, tuple[float, float]] = {"keras2": (0.2, 0.5), "keras3": (1 / 6, 0.5)}
"""``hard_sigmoid``: the slope and what it is at 0; between 0 and 1 it is cut. ONNX's own is that of Keras 2."""
_OPSET = 17


@dataclass(frozen=True)
class LayerWeights:
    """A layer of one direction. Gates are in the order of ``GATES``.

    Attributes:
        w: ``[G H, F]``, by which the input is multiplied; r: ``[G H, H]``, by which the state is.
        wb, rb: ``[G H]``: the biases of both; only of a GRU that resets afterwards is it not their sum that counts.
        reset_after: of a GRU, whether the gate r meets the product with the state, bias and all, and not the state.
        hard: slope and offset of gates that are ``hard_sigmoid``; None = they are sigmoid.
        peepholes: ``[3, H]`` of an LSTM whose gates i, o and f see the cell.
    """

    kind: Operator
    w: Array
    r: Array
    wb: Array
    rb: Array
    reset_after: bool = True
    hard: tuple[float, float] | None = None
    peepholes: Array | None = field(default=None)

    def __post_init__(self) -> None:
        rows = len(GATES[self.kind]) * self.hidden_size
        shapes = [each.shape for each in (self.w, self.r, self.wb, self.rb)]
        if shapes != [(rows, self.w.shape[1]), (rows, self.hidden_size), (rows,), (rows,)]:
            raise ValueError(f"weights of shapes {shapes} are none of a layer {self.kind} of {self.hidden_size} units")

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.r.shape[1])

    @property
    def input_size(self) -> int:
        """F."""
        return int(self.w.shape[1])

    def attributes(self) -> dict[str, Any]:
        """Those of ONNX's operator."""
        found: dict[str, Any] = {"hidden_size": self.hidden_size}
        if self.kind == "GRU":
            found["linear_before_reset"] = int(self.reset_after)
        if self.hard is not None:
            gates = {"LSTM": ["HardSigmoid", "Tanh", "Tanh"], "GRU": ["HardSigmoid", "Tanh"]}[self.kind]
            found |= {"activations": gates, "activation_alpha": [self.hard[0]], "activation_beta": [self.hard[1]]}
        return found

    def to_torch(self) -> nn.LSTM | nn.GRU | nn.RNN:
        """The same as a layer of PyTorch, ``batch_first``.

        Raises:
            ValueError: PyTorch has none like it.
        """
        import torch

        if (self.kind == "GRU" and not self.reset_after) or self.hard is not None or self.peepholes is not None:
            raise ValueError("PyTorch has no such layer: write an ONNX file of it (write_model) and import that")
        make: Any = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}[self.kind]
        layer: nn.LSTM | nn.GRU | nn.RNN = make(self.input_size, self.hidden_size, batch_first=True)
        arrays = (regated(each, GATES[self.kind], TORCH[self.kind]) for each in (self.w, self.r, self.wb, self.rb))
        with torch.no_grad():
            for parameter, array in zip(layer.parameters(), arrays, strict=True):
                parameter.copy_(torch.from_numpy(array))
        return layer

    def to_keras(self) -> list[Array]:
        """The weights for ``set_weights`` of Keras' layer: kernel, recurrent kernel, and one bias or two."""
        w, r, wb, rb = (
            regated(each, GATES[self.kind], KERAS[self.kind]) for each in (self.w, self.r, self.wb, self.rb)
        )
        return [w.T.copy(), r.T.copy(), np.stack([wb, rb]) if self.kind == "GRU" and self.reset_after else wb + rb]


def regated(array: ArrayLike, order: str, wanted: str) -> Array:
    """An array ``[G H, ...]`` with its gates, named by letters, in another order: ``regated(w, "ifgo", "iofg")``."""
    if sorted(order) != sorted(wanted):
        raise ValueError(f"gates {order!r} are not those of {wanted!r}")
    parts = np.split(np.asarray(array, np.float32), len(order))
    return np.ascontiguousarray(np.concatenate([parts[order.index(gate)] for gate in wanted]))


def lstm(
    w: ArrayLike,
    r: ArrayLike,
    b: ArrayLike,
    rb: ArrayLike | None = None,
    *,
    order: str,
    forget_bias: float = 0.0,
    hard: tuple[float, float] | None = None,
    peepholes: ArrayLike | None = None,
) -> LayerWeights:
    """An LSTM of any framework: ``[4 H, F]``, ``[4 H, H]``, and one bias ``[4 H]`` or two.

    Args:
        order: of the gates: i input, f forget, g new (also called c or j), o output.
        forget_bias: what the framework adds to the forget gate besides.
        peepholes: ``[3, H]`` of i, o and f.
    """
    w, r, b, rb = _arrays(w, r, b, rb, order, GATES["LSTM"])
    b[len(b) // 2 : len(b) // 4 * 3] += forget_bias
    seen = None if peepholes is None else np.asarray(peepholes, np.float32)
    return LayerWeights("LSTM", w, r, b, rb, hard=hard, peepholes=seen)


def gru(
    w: ArrayLike,
    r: ArrayLike,
    b: ArrayLike,
    rb: ArrayLike | None = None,
    *,
    order: str,
    reset_after: bool,
    is_inverted: bool = False,
    hard: tuple[float, float] | None = None,
) -> LayerWeights:
    """A GRU of any framework: ``[3 H, F]``, ``[3 H, H]``, and one bias ``[3 H]`` or two.

    Args:
        order: of the gates: z update (also called u), r reset, n new (also called h or c).
        is_inverted: whether the gate z tells how much of the new comes in, where ONNX's tells how much of the old
            stays: 1 - sigmoid(a) is sigmoid(-a), so its weights change their signs.
    """
    arrays = _arrays(w, r, b, rb, order, GATES["GRU"])
    if is_inverted:
        for each in arrays:
            each[: len(each) // 3] *= -1
    return LayerWeights("GRU", *arrays, reset_after=reset_after, hard=hard)


def from_torch(
    weight_ih: ArrayLike, weight_hh: ArrayLike, bias_ih: ArrayLike | None = None, bias_hh: ArrayLike | None = None
) -> LayerWeights:
    """A layer of ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` (tanh), by how many gates there are; of MXNet's Gluon and of
    ``paddle.nn`` as well, whose weights and order are the same.
    """
    rows, hidden = np.shape(weight_hh)
    kind: Operator = {4: "LSTM", 3: "GRU", 1: "RNN"}[rows // hidden]  # type: ignore[assignment]
    bias = np.zeros(rows) if bias_ih is None else bias_ih
    return LayerWeights(kind, *_arrays(weight_ih, weight_hh, bias, bias_hh, TORCH[kind], GATES[kind]))


def from_keras(
    kind: Operator, weights: Sequence[ArrayLike], *, reset_after: bool = True, hard: tuple[float, float] | None = None
) -> LayerWeights:
    """A layer by its ``get_weights()``: kernel ``[F, G H]``, recurrent kernel ``[H, G H]`` and bias ``[G H]``, or
    ``[2, 3 H]`` of a GRU with ``reset_after``; without a bias where it has none. ``unit_forget_bias`` is in the bias
    already.

    Args:
        hard: ``HARD["keras2"]`` or ``HARD["keras3"]``, where ``recurrent_activation`` is ``hard_sigmoid``.
    """
    w, r = (np.asarray(each).T for each in weights[:2])
    biases = np.asarray(weights[2]) if len(weights) > 2 else np.zeros(len(w))
    b, rb = biases if biases.ndim == 2 else (biases, None)
    arrays = _arrays(w, r, b, rb, KERAS[kind], GATES[kind])
    return LayerWeights(kind, *arrays, reset_after=reset_after, hard=hard)


def from_basic_lstm_cell(kernel: ArrayLike, bias: ArrayLike, *, forget_bias: float = 1.0) -> LayerWeights:
    """TensorFlow 1's ``BasicLSTMCell`` and ``LSTMCell``: one kernel ``[F + H, 4 H]`` for input and state, bias
    ``[4 H]``, gates i j f o, and a forget bias that is in no file.
    """
    columns = np.asarray(kernel).T
    hidden = len(columns) // 4
    return lstm(columns[:, :-hidden], columns[:, -hidden:], bias, order="igfo", forget_bias=forget_bias)


def from_tensorflow_gru_cell(
    gates_kernel: ArrayLike, gates_bias: ArrayLike, candidate_kernel: ArrayLike, candidate_bias: ArrayLike
) -> LayerWeights:
    """TensorFlow 1's ``GRUCell``: kernels ``[F + H, 2 H]`` of r and u, and ``[F + H, H]``; it resets before."""
    columns = np.concatenate([np.asarray(gates_kernel).T, np.asarray(candidate_kernel).T])
    bias, hidden = np.concatenate([np.asarray(gates_bias), np.asarray(candidate_bias)]), len(columns) // 3
    return gru(columns[:, :-hidden], columns[:, -hidden:], bias, order="rzn", reset_after=False)


def from_cudnn(
    kind: Operator, buffer: ArrayLike, input_size: int, hidden_size: int, num_layers: int = 1
) -> list[LayerWeights]:
    """The layers of cuDNN's one buffer, and of MXNet's operator ``RNN``, one way: of each layer the matrices of the
    input, gate by gate, and those of the state; behind all layers their biases, of each the input's and the state's.

    Raises:
        ValueError: the buffer has another length.
    """
    flat, gates = np.asarray(buffer, np.float32).ravel(), len(TORCH[kind]) * hidden_size
    sizes = [input_size, *[hidden_size] * (num_layers - 1)]
    shapes = [shape for size in sizes for shape in ((gates, size), (gates, hidden_size))]
    shapes += [(gates,)] * (2 * num_layers)  # type: ignore[list-item]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    if ends[-1] != flat.size:
        raise ValueError(f"a buffer of {flat.size} numbers; {num_layers} layers {kind} of these sizes have {ends[-1]}")
    parts = [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]
    weights, biases = parts[: 2 * num_layers], parts[2 * num_layers :]
    each = range(0, 2 * num_layers, 2)
    return [from_torch(weights[k], weights[k + 1], biases[k], biases[k + 1]) for k in each]


def from_dynet_lstm(wx: ArrayLike, wh: ArrayLike, b: ArrayLike, *, forget_gate_bias: float = 1.0) -> LayerWeights:
    """A layer of DyNet's ``VanillaLSTMBuilder``: gates i f o g, and a forget bias of 1 that is in no file."""
    return lstm(wx, wh, b, order="ifog", forget_bias=forget_gate_bias)


def from_dynet_gru(parameters: Sequence[ArrayLike]) -> LayerWeights:
    """A layer of DyNet's ``GRUBuilder``: ``x2z, h2z, bz, x2r, h2r, br, x2h, h2h, bh``; z lets the new in, and it resets
    before.
    """
    w, r, b = (np.concatenate([np.asarray(parameters[k + part]) for k in (0, 3, 6)]) for part in range(3))
    return gru(w, r, b, order="zrn", reset_after=False, is_inverted=True)


def from_fluid_gru(
    projection: ArrayLike,
    projection_bias: ArrayLike | None,
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    origin_mode: bool = False,
) -> LayerWeights:
    """Paddle's ``fluid.layers.dynamic_gru`` with the ``fc`` before it: projection ``[F, 3 H]``, weight ``[H, 3 H]``
    whose memory is ``[H, 2 H]`` of u and r and then ``[H, H]``, bias ``[1, 3 H]``. Without ``origin_mode``, u lets the
    new in.
    """
    flat, hidden = np.asarray(weight).ravel(), np.shape(weight)[0]
    gates, new = flat[: 2 * hidden**2].reshape(hidden, -1), flat[2 * hidden**2 :].reshape(hidden, -1)
    r = np.concatenate([gates.T, new.T])
    added = np.ravel(bias) + (0 if projection_bias is None else np.ravel(projection_bias))
    return gru(np.asarray(projection).T, r, added, order="zrn", reset_after=False, is_inverted=not origin_mode)


def from_fluid_lstm(
    projection: ArrayLike, projection_bias: ArrayLike | None, weight: ArrayLike, bias: ArrayLike
) -> LayerWeights:
    """Paddle's ``fluid.layers.dynamic_lstm`` with the ``fc`` before it: projection ``[F, 4 H]``, weight ``[H, 4 H]``
    and bias ``[1, 4 H]``, gates c i f o; ``[1, 7 H]`` with peepholes of i, f and o behind, as it has them unless told
    otherwise.
    """
    flat, hidden = np.ravel(bias), np.shape(weight)[0]
    added = flat[: 4 * hidden] + (0 if projection_bias is None else np.ravel(projection_bias))
    seen = None if len(flat) == 4 * hidden else flat[4 * hidden :].reshape(3, hidden)[[0, 2, 1]]
    return lstm(np.asarray(projection).T, np.asarray(weight).T, added, order="gifo", peepholes=seen)


def write_model(
    layers: Sequence[LayerWeights],
    path: Path | str,
    head: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    name: str = "network",
) -> None:
    """Write an ONNX file of layers one after another, ``x [B, T, F]`` to ``y [B, T, O]``, for ``ostinato import``.

    Args:
        head: a linear layer behind them: kernel ``[H, O]`` and bias ``[O]``.
    """
    nodes = [helper.make_node("Transpose", ["x"], ["h0"], perm=[1, 0, 2])]
    weights: dict[str, Any] = {"direction": np.array([1])}
    for index, layer in enumerate(layers):
        weights |= {f"W{index}": layer.w[None], f"R{index}": layer.r[None]}
        weights[f"B{index}"] = np.concatenate([layer.wb, layer.rb])[None]
        given = [f"h{index}", *(f"{part}{index}" for part in "WRB")]
        if layer.peepholes is not None:
            weights[f"P{index}"] = layer.peepholes.reshape(1, -1)
            given += ["", "", "", f"P{index}"]
        nodes += [
            helper.make_node(layer.kind, given, [f"Y{index}"], **layer.attributes()),
            helper.make_node("Squeeze", [f"Y{index}", "direction"], [f"h{index + 1}"]),
        ]
    size = layers[-1].hidden_size
    nodes.append(helper.make_node("Transpose", [f"h{len(layers)}"], ["hidden" if head else "y"], perm=[1, 0, 2]))
    if head is not None:
        weights |= {"kernel": np.asarray(head[0], np.float32), "bias": np.asarray(head[1], np.float32)}
        size = weights["kernel"].shape[1]
        nodes += [
            helper.make_node("MatMul", ["hidden", "kernel"], ["scores"]),
            helper.make_node("Add", ["scores", "bias"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "T", layers[0].input_size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", "T", size])],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(made)
    onnx.save(made, path)


def _arrays(
    w: ArrayLike, r: ArrayLike, b: ArrayLike, rb: ArrayLike | None, order: str, wanted: str
) -> tuple[Array, Array, Array, Array]:
    """Weights and biases with their gates in the wanted order, zeros for a bias that there is not."""
    second = np.zeros(np.shape(b)) if rb is None else rb
    made = [regated(each, order, wanted) for each in (w, r, b, second)]
    return made[0], made[1], made[2], made[3]
