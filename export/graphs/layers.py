"""torch's recurrent layers, rewritten as the ONNX operators LSTM, GRU and RNN, one per layer of a stack.

torch's own translation fixes the number of steps for stacked layers and unrolls ``nn.RNN``; the operators take any
number of steps and any batch, and are what onnxruntime runs fastest. They also read rows of several lengths, in both
directions, which is what ``ostinato.models.networks.ragged.run_ragged`` becomes.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ostinato.export.errors import ExportError
from ostinato.export.graphs.packing import lengths_of, repacked

Hidden: TypeAlias = Tensor | tuple[Tensor, Tensor] | None
# As torch types them: a dict is not covariant.
Attribute: TypeAlias = int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]

# Where each of ONNX's gates stands among torch's: torch has i f g o and r z n, ONNX i o f c and z r h.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
_OPERATOR_VERSION = 14
PROJECTED = "ostinato::ProjectedLSTM"
"""An LSTM whose hidden state is projected, of which ``invariant_layers.py`` makes a ``Scan``."""


STAND_IN = "as_onnx"
"""Where a layer holds its stand-in."""
_KINDS: tuple[type[nn.RNNBase], ...] = (nn.LSTM, nn.GRU, nn.RNN)


def with_onnx_layers(module: nn.Module) -> nn.Module:
    """A copy of the module in which each ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` holds what it is as ONNX operators.

    The layers stay what they are, with their attributes and a ``forward`` of their own; within ``onnx_forwards`` that
    of torch gives way to the operators.
    """
    module = copy.deepcopy(module)
    for path, layer in list(module.named_modules()):
        if isinstance(layer, nn.RNNBase):
            stand_in = OnnxLayers(layer, path or type(layer).__name__)
            layer.add_module(STAND_IN, stand_in)
            # Some modules call it before each run, for the sake of another device.
            vars(layer)["flatten_parameters"] = _nothing
            vars(layer)["run_ragged"] = stand_in.run_ragged
    return module


@contextlib.contextmanager
def onnx_forwards() -> Iterator[None]:
    """Within it, torch's layers that hold a stand-in run that."""
    kept = [kind.forward for kind in _KINDS]
    for kind, forward in zip(_KINDS, kept, strict=True):
        setattr(kind, "forward", _forward_of(forward))  # noqa: B010
    try:
        yield
    finally:
        for kind, forward in zip(_KINDS, kept, strict=True):
            setattr(kind, "forward", forward)  # noqa: B010


def _forward_of(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(self: nn.RNNBase, input: Any, hx: Hidden = None) -> Any:  # noqa: A002
        stand_in = dict(self.named_children()).get(STAND_IN)
        return forward(self, input, hx) if stand_in is None else stand_in(input, hx)

    return run


def _nothing() -> None:
    pass


class OnnxLayers(nn.Module):
    """Stands in for an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``, whose shapes and arguments it has, while it is traced.

    Raises:
        ExportError: the layer is of another kind.
    """

    def __init__(self, layer: nn.RNNBase, path: str) -> None:
        super().__init__()
        self.operator = _operator(layer, path)
        self.path = path
        self.num_layers = layer.num_layers
        self.num_directions = 2 if layer.bidirectional else 1
        self.hidden_size = layer.hidden_size
        self.output_size = layer.proj_size or layer.hidden_size
        self.batch_first = layer.batch_first
        self.nonlinearity = getattr(layer, "nonlinearity", "")
        for index in range(layer.num_layers):
            suffixes = [f"l{index}", f"l{index}_reverse"][: self.num_directions]
            for kind in ("weight_ih", "weight_hh"):
                weights = [getattr(layer, f"{kind}_{suffix}").detach() for suffix in suffixes]
                stacked = torch.stack([_onnx_gates(weight, self.operator) for weight in weights])
                self.register_buffer(f"{kind}_l{index}", stacked)
            if layer.proj_size:
                projections = [getattr(layer, f"weight_hr_{suffix}").detach() for suffix in suffixes]
                self.register_buffer(f"weight_hr_l{index}", torch.stack(projections))
            biases = [_onnx_bias(layer, suffix, self.operator) for suffix in suffixes]
            self.register_buffer(f"bias_l{index}", torch.cat(biases, dim=0))

    def forward(self, x: Tensor | PackedSequence, hx: Hidden = None) -> tuple[Tensor | PackedSequence, Hidden]:
        """As torch's layer: ``x [B, T, F]`` or ``[T, B, F]``, ``hx [L D, B, H]`` (a pair of them for an LSTM)."""
        if isinstance(x, PackedSequence):
            return self._run_packed(x, hx)
        return self._run(x, hx, None)

    def _run_packed(self, packed: PackedSequence, hx: Hidden) -> tuple[PackedSequence, Hidden]:
        lengths = lengths_of(packed.batch_sizes)
        if lengths is None:
            raise ExportError(
                f"layer {self.path!r} is given a packed sequence that was not made in forward by pack_padded_sequence: "
                "pack there"
            )
        given = _chosen(hx, packed.sorted_indices)
        outputs, last = self._run(packed.data, given, lengths.to(torch.int32), batch_first=False)
        return repacked(outputs, packed), _chosen(last, packed.unsorted_indices)

    def run_ragged(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """As ``ostinato.models.networks.ragged.run_ragged``: ``x [B, T, F]``, lengths int64 ``[B]``."""
        if not self.batch_first:
            raise ExportError(f"layer {self.path!r}: run_ragged takes layers with batch_first=True")
        outputs, last = self._run(x, None, lengths.to(torch.int32))
        assert last is not None
        return outputs, last

    def _run(
        self, x: Tensor, hx: Hidden, lengths: Tensor | None, *, batch_first: bool | None = None
    ) -> tuple[Tensor, Hidden]:
        batch_first = self.batch_first if batch_first is None else batch_first
        if x.dim() != 3:
            raise ExportError(
                f"layer {self.path!r} is given {x.dim()} axes: give it the batch and the steps, three axes"
            )
        if batch_first:
            x = x.transpose(0, 1)
        given = self._initial(x, hx)
        after = []
        for index in range(self.num_layers):
            rows = slice(index * self.num_directions, (index + 1) * self.num_directions)
            x, *last = self._layer(index, x, [states[rows] for states in given], lengths)
            after.append(last)
        if batch_first:
            x = x.transpose(0, 1)
        stacked = [torch.cat(states, dim=0) if len(states) > 1 else states[0] for states in zip(*after, strict=True)]
        return x, (stacked[0], stacked[1]) if self.operator == "LSTM" else stacked[0]

    def _initial(self, x: Tensor, hx: Hidden) -> tuple[Tensor, ...]:
        if hx is None:
            sizes = (self.output_size, self.hidden_size) if self.operator == "LSTM" else (self.hidden_size,)
            return tuple(x.new_zeros(self.num_layers * self.num_directions, x.shape[1], size) for size in sizes)
        return hx if isinstance(hx, tuple) else (hx,)

    def _layer(self, index: int, x: Tensor, states: list[Tensor], lengths: Tensor | None) -> list[Tensor]:
        """One layer: ``x [T, B, ...]``, states ``[D, B, H]`` to hidden states ``[T, B, D H]`` and the last states."""
        num_steps, batch_size, _ = x.shape
        attributes: dict[str, Attribute] = {"hidden_size": self.hidden_size}
        if self.num_directions == 2:
            attributes["direction"] = "bidirectional"
        if self.operator == "GRU":
            attributes["linear_before_reset"] = 1
        if self.operator == "RNN":
            attributes["activations"] = [self.nonlinearity.capitalize()] * self.num_directions
        weights = [getattr(self, f"{kind}_l{index}") for kind in ("weight_ih", "weight_hh", "bias")]
        shapes = [(self.num_directions, batch_size, size) for size in (self.output_size, self.hidden_size)]
        operator, shapes, version = self.operator, shapes[: len(states)], _OPERATOR_VERSION
        if self.output_size != self.hidden_size:
            weights.append(getattr(self, f"weight_hr_l{index}"))
            operator, version = PROJECTED, 1
        hidden, *last = torch.onnx.ops.symbolic_multi_out(
            operator,
            [x, *weights, lengths, *states],
            attributes,
            dtypes=[x.dtype] * (1 + len(states)),
            shapes=[(num_steps, *shapes[0]), *shapes],
            version=version,
        )
        # [T, D, B, H]
        side_by_side = hidden.squeeze(1) if self.num_directions == 1 else hidden.transpose(1, 2).flatten(2)
        return [side_by_side, *last]


def _operator(layer: nn.RNNBase, path: str) -> str:
    operator = next((kind.__name__ for kind in _KINDS if isinstance(layer, kind)), None)
    if operator is None:
        raise ExportError(
            f"layer {path!r} ({type(layer).__name__}) is neither nn.LSTM nor nn.GRU nor nn.RNN, and ONNX has no other: "
            "make it of these, or of cells in a loop over the steps"
        )
    return operator


def _chosen(hx: Hidden, rows: Tensor | None) -> Hidden:
    """States of rows in another order."""
    if hx is None or rows is None:
        return hx
    if isinstance(hx, tuple):
        return hx[0].index_select(1, rows), hx[1].index_select(1, rows)
    return hx.index_select(1, rows)


def _onnx_gates(weight: Tensor, operator: str) -> Tensor:
    gates = weight.chunk(len(_GATES[operator]), dim=0)
    return torch.cat([gates[position] for position in _GATES[operator]], dim=0)


def _onnx_bias(layer: nn.RNNBase, suffix: str, operator: str) -> Tensor:
    """Input and recurrent bias side by side, ``[1, 2 * gates * H]``; zeros where the layer has none."""
    if not layer.bias:
        size = 2 * len(_GATES[operator]) * layer.hidden_size
        return next(layer.parameters()).new_zeros(1, size)
    pair = (getattr(layer, f"bias_{kind}_{suffix}").detach() for kind in ("ih", "hh"))
    return torch.cat([_onnx_gates(bias, operator) for bias in pair], dim=0)[None]
