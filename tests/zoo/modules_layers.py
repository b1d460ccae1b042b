"""Modules of torch's own recurrent layers, in the forms and dtypes in which people hold them.

Each function returns a module and what ``export_module`` is told of it; its docstring says what is particular.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tests.zoo.entries import Entry, amounts

H = 8


class Layers(nn.Module):
    """Layers over ``[B, T, F]`` with a head behind them; the states are theirs."""

    def __init__(self, layers: nn.RNNBase, num_outputs: int = 2) -> None:
        super().__init__()
        self.layers = layers
        self.is_pair = isinstance(layers, nn.LSTM)
        self.output_size = layers.proj_size or layers.hidden_size
        self.head = nn.Linear(self.output_size, num_outputs)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        sizes = (self.output_size, self.layers.hidden_size) if self.is_pair else (self.output_size,)
        return tuple(torch.zeros(self.layers.num_layers, batch_size, size) for size in sizes)

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        hidden, after = self.layers(x, states if self.is_pair else states[0])
        return (self.head(hidden), *(after if self.is_pair else (after,)))


def projected() -> Entry:
    """``nn.LSTM(proj_size=...)``."""
    torch.manual_seed(0)
    return Layers(nn.LSTM(3, 12, batch_first=True, proj_size=5)), amounts()


def projected_stack() -> Entry:
    """Two projected layers, without biases, the steps first."""

    class Network(Layers):
        def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            hidden, after = self.layers(x, states)
            return (self.head(hidden), *after)

    torch.manual_seed(0)
    return Network(nn.LSTM(3, 10, 2, bias=False, proj_size=4)), amounts("T", "B", 3)


def packed() -> Entry:
    """Packs and pads within ``forward``, all rows as long as they are."""

    class Network(Layers):
        def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            lengths = torch.full((x.shape[0],), x.shape[1])
            rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            made, after = self.layers(rows, states)
            hidden, _ = pad_packed_sequence(made, batch_first=True)
            return (self.head(hidden), *after)

    torch.manual_seed(0)
    return Network(nn.LSTM(3, H, 2, batch_first=True)), amounts()


def packed_gru() -> Entry:
    """Steps first, sorted rows, a layer applied to the packed data, ``total_length`` said."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.below, self.layers = nn.Linear(3, 4), nn.GRU(4, H)

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(1, batch_size, H)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
            rows = pack_padded_sequence(x, torch.ones(x.shape[1], dtype=torch.int64) * x.shape[0])
            rows = PackedSequence(torch.tanh(self.below(rows.data)), rows.batch_sizes)
            made, last = self.layers(rows, h)
            hidden, _ = pad_packed_sequence(made, total_length=x.shape[0])
            return hidden, last

    return Network(), amounts("T", "B", 3)


def both_ways_along_frequency() -> Entry:
    """A GRU that runs both ways along 6 bands of each step, and one that runs along the steps."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.bands = nn.GRU(1, 4, batch_first=True, bidirectional=True)
            self.layers = nn.GRU(6 * 8, H, batch_first=True)

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(1, batch_size, H)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            bands, _ = self.bands(x.reshape(-1, 6, 1))
            y, h = self.layers(bands.reshape(x.shape[0], x.shape[1], -1), h)
            return y, h

    return Network(), amounts("B", "T", 6)


def both_ways_in_a_loop() -> Entry:
    """The same within a loop over the steps, with a cell."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.bands = nn.LSTM(2, 3, batch_first=True, bidirectional=True)
            self.cell = nn.LSTMCell(4 * 6, H)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(batch_size, H), torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            outputs = []
            for step in x.unbind(1):
                bands, _ = self.bands(step)
                h, c = self.cell(bands.flatten(1), (h, c))
                outputs.append(h)
            return torch.stack(outputs, 1), h, c

    return Network(), amounts("B", "T", 4, 2)


def in_float64() -> Entry:
    """Layers in float64, states and input, too."""

    class Network(Layers):
        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return tuple(state.double() for state in super().initial_state(batch_size))

    torch.manual_seed(0)
    return Network(nn.LSTM(3, H, batch_first=True)).double(), amounts(dtype="float64")


def in_float64_given_float32() -> Entry:
    """Layers in float64 which a float32 input is converted for, and the answer back."""

    class Network(Layers):
        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return tuple(state.double() for state in super().initial_state(batch_size))

        def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            y, *after = super().forward(x.double(), *states)
            return (y.float(), *after)

    torch.manual_seed(0)
    return Network(nn.GRU(3, H, batch_first=True)).double(), amounts()


def in_half() -> Entry:
    """``network.half()``: weights in float16, states that are made of them."""

    class Network(Layers):
        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return tuple(state.to(self.head.weight.dtype) for state in super().initial_state(batch_size))

    torch.manual_seed(0)
    return Network(nn.GRU(3, H, batch_first=True)).half(), amounts()


def in_bfloat16() -> Entry:
    """Weights in bfloat16, and a cell in a loop."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.LSTMCell(3, H)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            zeros = torch.zeros(batch_size, H, dtype=torch.bfloat16)
            return zeros, zeros.clone()

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            outputs = []
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t].to(h.dtype), (h, c))
                outputs.append(h)
            return torch.stack(outputs, 1), h, c

    return Network().bfloat16(), amounts()


def layer_of_ones_own() -> Entry:
    """A subclass of ``nn.LSTM`` that is the whole network, and asks for its own attributes."""

    class Network(nn.LSTM):
        def __init__(self) -> None:
            torch.manual_seed(0)
            super().__init__(3, H, 2, batch_first=True)
            self.norm = nn.LayerNorm(H)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            zeros = torch.zeros(self.num_layers, batch_size, self.hidden_size)
            return zeros, zeros.clone()

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
            self.flatten_parameters()
            hidden, after = super().forward(x * (2.0 if self.bidirectional else 0.5), (h, c))
            return (self.norm(hidden), *after)

    return Network(), amounts()
