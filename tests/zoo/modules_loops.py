"""Modules that go through their steps in Python, as people write them, and what else a graph has to bring along.

Each function returns a module and what ``export_module`` is told of it; its docstring says what is particular.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import Entry, amounts

H = 8


class Looped(nn.Module):
    """Goes through ``[B, T, F]`` by ``step(x, *states) -> (y, *states)``, which each of those below has."""

    def __init__(self, *sizes: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.sizes = sizes

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(batch_size, *size) for size in self.sizes)

    def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        outputs = []
        for t in range(x.shape[1]):
            y, *states = self.step(x[:, t], *states)  # type: ignore[assignment]
            outputs.append(y)
        return (torch.stack(outputs, dim=1), *states)


def lstm_cell_range() -> Entry:
    """``for t in range(x.size(1))``, ``nn.LSTMCell``, outputs appended and stacked, a head behind all of them."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.LSTMCell(3, H)
            self.head = nn.Linear(H, 2)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(batch_size, H), torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            outputs = []
            for t in range(x.size(1)):
                h, c = self.cell(x[:, t, :], (h, c))
                outputs.append(h)
            return self.head(torch.stack(outputs, dim=1)), h, c

    return Network(), amounts()


def gru_cell_unbind() -> Entry:
    """``for step in x.unbind(1)``, ``nn.GRUCell``, outputs by ``torch.cat`` of ``unsqueeze``."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.GRUCell(3, H)

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            outputs = []
            for step in x.unbind(1):
                h = self.cell(step, h)
                outputs.append(h.unsqueeze(1))
            return torch.cat(outputs, dim=1), h

    return Network(), amounts()


def rnn_cell_time_major() -> Entry:
    """``for step in x`` over ``[T, B, F]``, ``nn.RNNCell`` of ReLU, outputs ``[T, B, H]``."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.RNNCell(3, H, nonlinearity="relu")

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            outputs = []
            for step in x:
                h = torch.clamp(self.cell(step, h), max=6.0)
                outputs.append(h)
            return torch.stack(outputs), h

    return Network(), amounts("T", "B", 3)


def transposed_loop() -> Entry:
    """``for step in x.transpose(0, 1)``, the outputs turned back at the end."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.GRUCell(3, H)

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            outputs: list[Tensor] = []
            for step in x.transpose(0, 1):
                h = self.cell(step, h)
                outputs += [h]
            return torch.stack(outputs).permute(1, 0, 2), h

    return Network(), amounts()


def preallocated() -> Entry:
    """Outputs made beforehand with ``new_zeros`` and assigned step by step."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.LSTMCell(3, H)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(batch_size, H), torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            y = x.new_zeros(x.shape[0], x.shape[1], H)
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
                y[:, t] = h
            return y, h, c

    return Network(), amounts()


def only_the_last() -> Entry:
    """One answer a run: the head sees the last hidden state."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.LSTMCell(3, H)
            self.head = nn.Linear(H, 4)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(batch_size, H), torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
            return self.head(h), h, c

    return Network(), amounts()


def stack_of_cells() -> Entry:
    """A ``ModuleList`` of cells, their states in one tensor ``[L, B, H]``, dropout between the layers."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cells = nn.ModuleList([nn.LSTMCell(3, H), nn.LSTMCell(H, H), nn.LSTMCell(H, H)])
            self.dropout = nn.Dropout(0.3)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(3, batch_size, H), torch.zeros(3, batch_size, H)

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            hs, cs = list(h.unbind(0)), list(c.unbind(0))
            outputs = []
            for step in torch.chunk(x, x.shape[1], dim=1):
                below = step.squeeze(1)
                for index, cell in enumerate(self.cells):
                    hs[index], cs[index] = cell(below, (hs[index], cs[index]))
                    below = self.dropout(hs[index])
                outputs.append(below)
            return torch.stack(outputs, 1), torch.stack(hs), torch.stack(cs)

    return Network(), amounts()


def own_gru() -> Entry:
    """Twenty lines of one's own: gates by ``nn.Linear`` on the state and the input side by side, ``chunk``."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,))
            self.gates = nn.Linear(3 + H, 2 * H)
            self.new = nn.Linear(3 + H, H)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            (h,) = states
            z, r = torch.sigmoid(self.gates(torch.cat([x, h], dim=-1))).chunk(2, dim=-1)
            new = torch.tanh(self.new(torch.cat([x, r * h], dim=-1)))
            h = (1 - z) * h + z * new
            return h, h

    return Cell(), amounts()


def layer_norm_lstm() -> Entry:
    """An LSTM with ``nn.LayerNorm`` on its gates and its cell."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,), (H,))
            self.from_x, self.from_h = nn.Linear(3, 4 * H), nn.Linear(H, 4 * H, bias=False)
            self.norm_x, self.norm_h, self.norm_c = nn.LayerNorm(4 * H), nn.LayerNorm(4 * H), nn.LayerNorm(H)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            h, c = states
            i, f, g, o = (self.norm_x(self.from_x(x)) + self.norm_h(self.from_h(h))).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
            return h, h, c

    return Cell(), amounts()


def peephole_lstm() -> Entry:
    """Gates that look at the cell, weights as plain parameters, ``@``."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,), (H,))
            self.w = nn.Parameter(torch.randn(3, 4 * H) * 0.3)
            self.u = nn.Parameter(torch.randn(H, 4 * H) * 0.3)
            self.b = nn.Parameter(torch.zeros(4 * H))
            self.p = nn.Parameter(torch.randn(3, H) * 0.3)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            h, c = states
            i, f, g, o = torch.split(x @ self.w + h @ self.u + self.b, H, dim=1)
            i, f = torch.sigmoid(i + self.p[0] * c), torch.sigmoid(f + self.p[1] * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + self.p[2] * c) * torch.tanh(c)
            return h, h, c

    return Cell(), amounts()


def zoneout_lstm() -> Entry:
    """Keeps a part of the old state, as zoneout does when it is evaluated."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,), (H,))
            self.cell = nn.LSTMCell(3, H)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            h, c = self.cell(x, states)
            h, c = 0.9 * h + 0.1 * states[0], 0.95 * c + 0.05 * states[1]
            return h, h, c

    return Cell(), amounts()


def conv_lstm() -> Entry:
    """Frames ``[B, T, C, H, W]``; the states are frames, too."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((4, 5, 6), (4, 5, 6))
            self.gates = nn.Conv2d(2 + 4, 16, 3, padding=1)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            h, c = states
            i, f, o, g = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            return h, h, c

    return Cell(), amounts("B", "T", 2, 5, 6)


def conv_gru() -> Entry:
    """Frames in, one number of each frame out: a mean over places."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((3, 4, 4))
            self.gates = nn.Conv2d(1 + 3, 6, 3, padding=1)
            self.new = nn.Conv2d(1 + 3, 3, 3, padding=1)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            (h,) = states
            z, r = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
            h = z * h + (1 - z) * torch.tanh(self.new(torch.cat([x, r * h], 1)))
            return h.mean(dim=(2, 3)), h

    return Cell(), amounts("B", "T", 1, 4, 4)


def tokens_by_cell() -> Entry:
    """Codes ``[B, T]`` and no features, looked up within the loop."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embedding = nn.Embedding(11, 4)
            self.cell = nn.GRUCell(4, H)
            self.head = nn.Linear(H, 11)

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            logits = []
            for t in range(x.shape[1]):
                h = self.cell(self.embedding(x[:, t]), h)
                logits.append(self.head(h))
            return torch.stack(logits, 1).log_softmax(-1), h

    return Network(), amounts("B", "T", dtype="int64", num_codes=11)


def fed_back() -> Entry:
    """What it said last goes in with the next step, and is a state."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,), (2,))
            self.cell = nn.GRUCell(3 + 2, H)
            self.head = nn.Linear(H, 2)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            h, said = states
            h = self.cell(torch.cat([x, said], 1), h)
            said = torch.softmax(self.head(h), dim=-1)
            return said, h, said

    return Cell(), amounts()


def holes_filled() -> Entry:
    """GRU-D: NaN for what is missing, the last value and how long ago it was are states."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,), (3,), (3,))
            self.cell = nn.GRUCell(6, H)
            self.decay = nn.Parameter(torch.rand(3))
            self.mean = nn.Parameter(torch.randn(3) * 0.1)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            h, last, gap = states
            seen = ~torch.isnan(x)
            gap = torch.where(seen, torch.zeros_like(gap), torch.clamp(gap + 1.0, max=100.0))
            kept = torch.exp(-torch.relu(self.decay) * gap)
            filled = torch.where(seen, torch.nan_to_num(x), kept * last + (1 - kept) * self.mean)
            h = self.cell(torch.cat([filled, seen.float()], dim=-1), h)
            return h, h, filled, gap

    return Cell(), amounts(missing=True)


def counts_steps() -> Entry:
    """A whole number among the states, and a sine of it: a position that goes on from chunk to chunk."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.GRUCell(4, H)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(batch_size, H), torch.zeros(batch_size, dtype=torch.int64)

        def forward(self, x: Tensor, h: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            outputs = []
            for t in range(x.shape[1]):
                phase = torch.sin((count % 24).float() * 0.26)
                h = self.cell(torch.cat([x[:, t], phase[:, None]], dim=1), h)
                count = count + 1
                outputs.append(h)
            return torch.stack(outputs, 1), h, count

    return Network(), amounts()


def min_gru() -> Entry:
    """minGRU: gates that see the input alone, the state a mixture."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,))
            self.gate, self.new = nn.Linear(3, H), nn.Linear(3, H)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            z = torch.sigmoid(self.gate(x))
            h = (1 - z) * states[0] + z * self.new(x)
            return h, h

    return Cell(), amounts()


def state_space() -> Entry:
    """A diagonal state space ``[B, H, N]`` whose step is a softplus of the input, as Mamba's."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((3, 4))
            self.delta = nn.Linear(3, 3)
            self.b, self.c = nn.Linear(3, 4), nn.Linear(3, 4)
            self.log_a = nn.Parameter(torch.log(torch.arange(1.0, 5.0)).repeat(3, 1))

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            delta = F.softplus(self.delta(x))[:, :, None]
            h = torch.exp(-delta * torch.exp(self.log_a)) * states[0] + delta * self.b(x)[:, None, :] * x[:, :, None]
            return (h * self.c(x)[:, None, :]).sum(-1), h

    return Cell(), amounts()


def fast_weights() -> Entry:
    """Linear attention: a matrix ``[B, H, H]`` and a sum of keys are the states."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((4, 4), (4,))
            self.qkv = nn.Linear(3, 12)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            total, keys = states
            q, k, v = self.qkv(x).chunk(3, -1)
            q, k = F.elu(q) + 1, F.elu(k) + 1
            total, keys = 0.95 * total + torch.einsum("bi,bj->bij", k, v), 0.95 * keys + k
            y = torch.einsum("bi,bij->bj", q, total) / (torch.einsum("bi,bi->b", q, keys)[:, None] + 1e-3)
            return y, total, keys

    return Cell(), amounts()


def window_attention() -> Entry:
    """Attends to its last five hidden states, a state ``[B, 5, H]`` that is rolled on."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,), (5, H))
            self.cell = nn.GRUCell(3 + H, H)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            h, seen = states
            weights = torch.softmax((seen @ h.unsqueeze(-1)).squeeze(-1) / H**0.5, dim=-1)
            context = (weights.unsqueeze(1) @ seen).squeeze(1)
            h = self.cell(torch.cat([x, context], dim=-1), h)
            return h, h, torch.cat([seen[:, 1:], h.unsqueeze(1)], dim=1)

    return Cell(), amounts()


def layers_and_loop() -> Entry:
    """``nn.LSTM`` over all steps, and a cell in a loop behind it."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.LSTM(3, H, 2, batch_first=True)
            self.cell = nn.GRUCell(H, H)

        def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
            return torch.zeros(2, batch_size, H), torch.zeros(2, batch_size, H), torch.zeros(batch_size, H)

        def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            hidden, (h, c) = self.layers(x, states[:2])
            last, outputs = states[2], []
            for t in range(x.shape[1]):
                last = self.cell(hidden[:, t], last)
                outputs.append(last)
            return torch.stack(outputs, dim=1), h, c, last

    return Network(), amounts()


def largest_so_far() -> Entry:
    """A loop without weights in it, of maxima: what NaN would be lost in."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.GRU(3, H, batch_first=True)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(1, batch_size, H), torch.full((batch_size, H), -1.0)

        def forward(self, x: Tensor, h: Tensor, most: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            hidden, h = self.layers(x, h)
            outputs = []
            for t in range(x.shape[1]):
                most = torch.maximum(most, hidden[:, t])
                outputs.append(torch.amax(most, dim=-1, keepdim=True))
            return torch.stack(outputs, dim=1), h, most

    return Network(), amounts()


def while_loop() -> Entry:
    """``while t < x.shape[1]``, an index by hand."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.RNNCell(3, H)

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, H)

        def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            t, y = 0, []
            while t < x.shape[1]:
                h = self.cell(x.select(1, t), h)
                y.append(h)
                t += 1
            return torch.stack(y, dim=1), h

    return Network(), amounts()


def layer_one_step_at_a_time() -> Entry:
    """``nn.LSTM`` called for one step at a time, as people do who feed something back."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.LSTM(3, H, 2, batch_first=True)
            self.norm = nn.LayerNorm(H)

        def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
            return torch.zeros(2, batch_size, H), torch.zeros(2, batch_size, H)

        def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            outputs = []
            for t in range(x.shape[1]):
                y, (h, c) = self.layers(x[:, t : t + 1], (h, c))
                outputs.append(self.norm(y))
            return torch.cat(outputs, dim=1), h, c

    return Network(), amounts()


def answers_of_one_number() -> Entry:
    """Outputs ``[B, T]``: a number a step, squeezed."""

    class Cell(Looped):
        def __init__(self) -> None:
            super().__init__((H,))
            self.cell, self.head = nn.GRUCell(3, H), nn.Linear(H, 1)

        def step(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
            h = self.cell(x, *states)
            return self.head(h).squeeze(-1), h

    return Cell(), amounts()
