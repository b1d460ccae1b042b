"""torch's recurrent layers, rewritten as the ONNX operators LSTM, GRU and RNN, one per layer of a stack.

torch's own translation fixes the number of steps for stacked layers and unrolls ``nn.RNN``; the operators take any
number of steps and any batch, and are what onnxruntime runs fastest.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from export.errors import ExportError

Hidden: TypeAlias = Tensor | tuple[Tensor, Tensor] | None
# As torch types them: a dict is not covariant.
Attribute: TypeAlias = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]

# Where each of ONNX's gates stands among torch's: torch has i f g o and r z n, ONNX i o f c and z r h.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
_OPERATOR_VERSION = 14


def with_onnx_layers(module: nn.Module) -> nn.Module:
    """A copy of the module in which each ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` stands as ONNX operators.

    The copy can be traced for export and not be run.

    Raises:
        ExportError: a layer is bidirectional, projects its hidden state, or has a ``forward`` of its own.
    """
    module = copy.deepcopy(module)
    if isinstance(module, nn.RNNBase):
        return OnnxLayers(module, type(module).__name__)
    # A layer may be held under several names: each of them gets the same stand-in.
    everywhere = list(module.named_modules(remove_duplicate=False))
    layers = [(path, layer) for path, layer in everywhere if isinstance(layer, nn.RNNBase)]
    stand_ins: dict[nn.RNNBase, OnnxLayers] = {}
    for path, layer in layers:
        parent, _, name = path.rpartition(".")
        if layer not in stand_ins:
            stand_ins[layer] = OnnxLayers(layer, path)
        setattr(module.get_submodule(parent), name, stand_ins[layer])
    return module


class OnnxLayers(nn.Module):
    """Stands in for an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, whose shapes and arguments it has, while it is traced."""

    def __init__(self, layer: nn.RNNBase, path: str) -> None:
        super().__init__()
        self.operator = _operator(layer, path)
        self.path = path
        self.num_layers = layer.num_layers
        self.hidden_size = layer.hidden_size
        self.batch_first = layer.batch_first
        self.nonlinearity = getattr(layer, "nonlinearity", "")
        for index in range(layer.num_layers):
            for kind in ("weight_ih", "weight_hh"):
                weight = getattr(layer, f"{kind}_l{index}").detach()
                self.register_buffer(f"{kind}_l{index}", _onnx_gates(weight, self.operator)[None])
            self.register_buffer(f"bias_l{index}", _onnx_bias(layer, index, self.operator))

    def flatten_parameters(self) -> None:
        """Nothing: some modules call it before each run, for the sake of another device."""

    def forward(self, x: Tensor, hx: Hidden = None) -> tuple[Tensor, Hidden]:
        """As torch's layer: ``x [B, T, F]`` or ``[T, B, F]``, ``hx [L, B, H]`` (a pair of them for an LSTM)."""
        if x.dim() != 3:
            raise ExportError(
                f"layer {self.path!r} is given {x.dim()} axes: give it the batch and the steps, three axes"
            )
        if self.batch_first:
            x = x.transpose(0, 1)
        given = self._initial(x, hx)
        after = []
        for index in range(self.num_layers):
            x, *last = self._layer(index, x, [states[index : index + 1] for states in given])
            after.append(last)
        if self.batch_first:
            x = x.transpose(0, 1)
        stacked = [torch.cat(states, dim=0) for states in zip(*after, strict=True)]
        return x, (stacked[0], stacked[1]) if self.operator == "LSTM" else stacked[0]

    def _initial(self, x: Tensor, hx: Hidden) -> tuple[Tensor, ...]:
        if hx is None:
            zeros = x.new_zeros(self.num_layers, x.shape[1], self.hidden_size)
            return (zeros, zeros) if self.operator == "LSTM" else (zeros,)
        return hx if isinstance(hx, tuple) else (hx,)

    def _layer(self, index: int, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        """One layer: ``x [T, B, ...]`` and states ``[1, B, H]`` to hidden states ``[T, B, H]`` and the last states."""
        num_steps, batch_size, _ = x.shape
        attributes: dict[str, Attribute] = {"hidden_size": self.hidden_size}
        if self.operator == "GRU":
            attributes["linear_before_reset"] = 1
        if self.operator == "RNN":
            attributes["activations"] = [self.nonlinearity.capitalize()]
        weights = [getattr(self, f"{kind}_l{index}") for kind in ("weight_ih", "weight_hh", "bias")]
        state_shape = (1, batch_size, self.hidden_size)
        hidden, *last = torch.onnx.ops.symbolic_multi_out(
            self.operator,
            [x, *weights, None, *states],
            attributes,
            dtypes=[x.dtype] * (1 + len(states)),
            shapes=[(num_steps, *state_shape), *[state_shape] * len(states)],
            version=_OPERATOR_VERSION,
        )
        return [hidden.squeeze(1), *last]


def _operator(layer: nn.RNNBase, path: str) -> str:
    known: dict[str, type[nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
    operator = next((name for name, kind in known.items() if isinstance(layer, kind)), None)
    if operator is None or type(layer).forward is not known[operator].forward:
        raise ExportError(
            f"layer {path!r} ({type(layer).__name__}) has a forward of its own: hold an nn.LSTM, nn.GRU or nn.RNN "
            "and do the rest around it"
        )
    if layer.bidirectional:
        raise ExportError(
            f"layer {path!r} is bidirectional: its outputs depend on steps that a live session has not seen yet; "
            "use one direction"
        )
    if layer.proj_size:
        raise ExportError(
            f"layer {path!r} has proj_size={layer.proj_size}: ONNX has no such LSTM; put an nn.Linear behind it"
        )
    return operator


def _onnx_gates(weight: Tensor, operator: str) -> Tensor:
    gates = weight.chunk(len(_GATES[operator]), dim=0)
    return torch.cat([gates[position] for position in _GATES[operator]], dim=0)


def _onnx_bias(layer: nn.RNNBase, index: int, operator: str) -> Tensor:
    """Input and recurrent bias side by side, ``[1, 2 * gates * H]``; zeros where the layer has none."""
    if not layer.bias:
        size = 2 * len(_GATES[operator]) * layer.hidden_size
        return next(layer.parameters()).new_zeros(1, size)
    pair = (getattr(layer, f"bias_{kind}_l{index}").detach() for kind in ("ih", "hh"))
    return torch.cat([_onnx_gates(bias, operator) for bias in pair], dim=0)[None]
