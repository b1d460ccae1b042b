"""Modules of whole sequences that loop over the steps in Python, as people write them: own cells, both ways by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import Entry
from tests.zoo.modules_sequence import WORDS, packed, whole, words

H = 6


class OwnGRU(nn.Module):
    """A cell written out, over all steps from the first or from the last, states kept in the padding."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.x, self.h = nn.Linear(size, 3 * hidden), nn.Linear(hidden, 3 * hidden)

    def forward(self, x: Tensor, lengths: Tensor | None = None, backwards: bool = False) -> tuple[Tensor, Tensor]:
        num_steps = x.shape[1]
        h, given, made = torch.zeros(x.shape[0], self.hidden, device=x.device), self.x(x), []
        for t in range(num_steps - 1, -1, -1) if backwards else range(num_steps):
            r, z, n = given[:, t].chunk(3, -1)
            h_r, h_z, h_n = self.h(h).chunk(3, -1)
            z = torch.sigmoid(z + h_z)
            new = (1 - z) * torch.tanh(n + torch.sigmoid(r + h_r) * h_n) + z * h
            h = new if lengths is None else torch.where((t < lengths).unsqueeze(1), new, h)
            made.append(h)
        return torch.stack(made[::-1] if backwards else made, dim=1), h


def looped_lstm_cells_both_ways() -> Entry:
    """Two ``nn.LSTMCell`` in two loops, masked by multiplication, the second from the last step on."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ahead, self.back, self.head = nn.LSTMCell(3, H), nn.LSTMCell(3, H), nn.Linear(2 * H, 4)

        def direction(self, cell: nn.LSTMCell, x: Tensor, mask: Tensor, steps: Iterable[int]) -> Tensor:
            h, c = x.new_zeros(x.shape[0], H), x.new_zeros(x.shape[0], H)
            made: dict[int, Tensor] = {}
            for t in steps:
                new_h, new_c = cell(x[:, t], (h, c))
                m = mask[:, t].unsqueeze(1)
                h, c = m * new_h + (1 - m) * h, m * new_c + (1 - m) * c
                made[t] = h
            return torch.stack([made[t] for t in range(x.shape[1])], dim=1)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            num_steps = x.shape[1]
            mask = (torch.arange(num_steps, device=x.device)[None] < lengths[:, None]).float()
            ahead = self.direction(self.ahead, x, mask, range(num_steps))
            back = self.direction(self.back, x, mask, reversed(range(num_steps)))
            return self.head(torch.cat([ahead, back], dim=-1))

    return Network(), whole()


def looped_own_cell_both_ways() -> Entry:
    """The user's own cell, told to go backwards."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ahead, self.back, self.head = OwnGRU(3, H), OwnGRU(3, H), nn.Linear(2 * H, 2)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            return self.head(torch.cat([self.ahead(x, lengths)[0], self.back(x, lengths, True)[0]], dim=-1))

    return Network(), whole()


def looped_own_cell_with_flip() -> Entry:
    """The same by ``flip``, a stack of it, and an answer for all."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ahead, self.back, self.above = OwnGRU(3, H), OwnGRU(3, H), OwnGRU(2 * H, 5)
            self.head = nn.Linear(2 * H, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            ahead, first = self.ahead(x)
            back, last = self.back(x.flip(1))
            tags, _ = self.above(torch.cat([ahead, back.flip(1)], dim=-1))
            return {"tags": tags, "kind": self.head(torch.cat([first, last], dim=-1))}

    return Network(), whole()


def looped_into_a_buffer() -> Entry:
    """Outputs put into zeros, half of the columns by each direction, and attention pooling."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ahead, self.back = nn.GRUCell(3, H), nn.GRUCell(3, H)
            self.score, self.head = nn.Linear(2 * H, 1), nn.Linear(2 * H, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            batch_size, num_steps = x.size(0), x.size(1)
            made = torch.zeros(batch_size, num_steps, 2 * H, device=x.device)
            h = torch.zeros(batch_size, H, device=x.device)
            for t in range(num_steps):
                h = torch.where((lengths > t)[:, None], self.ahead(x[:, t, :], h), h)
                made[:, t, :H] = h
            h = torch.zeros(batch_size, H, device=x.device)
            for i in range(num_steps):
                t = num_steps - 1 - i
                h = torch.where((lengths > t)[:, None], self.back(x[:, t, :], h), h)
                made[:, t, H:] = h
            scores = self.score(made).squeeze(-1)
            scores = scores.masked_fill(torch.arange(num_steps)[None] >= lengths[:, None], float("-inf"))
            return self.head((torch.softmax(scores, dim=1).unsqueeze(-1) * made).sum(dim=1))

    return Network(), whole()


def looped_lists_of_layers() -> Entry:
    """Lists of steps handed from cell to cell, states None at first."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(WORDS, 4), nn.Linear(H, 5)
            self.cells = nn.ModuleList([nn.LSTMCell(4, H), nn.LSTMCell(H, H)])

        def forward(self, tokens: Tensor) -> Any:
            rows: Any = self.words(tokens).unbind(1)
            for cell in self.cells:
                state, made = None, []
                for row in rows:
                    state = cell(row, state)
                    made.append(state[0])
                rows = made
            return torch.stack([self.head(row) for row in rows], dim=1)

    return Network(), words()


def looped_to_the_longest() -> Entry:
    """``range(int(lengths.max()))``, pieces joined by ``cat``."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.RNNCell(3, H), nn.Linear(H, 2)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            h, made = torch.zeros(x.size(0), H), []
            for t in range(int(lengths.max())):
                h = torch.where((t < lengths)[:, None], self.cell(x[:, t], h), h)
                made.append(h.unsqueeze(1))
            return self.head(torch.cat(made, dim=1))

    return Network(), whole()


def looped_time_major_mask() -> Entry:
    """Rows of steps by iteration, a mask as an argument, what comes last put first in its list."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ahead, self.back, self.head = nn.GRUCell(3, H), nn.GRUCell(3, H), nn.Linear(2 * H, 2)

        def forward(self, x: Tensor, mask: Tensor) -> Any:
            x, within = x.transpose(0, 1), mask.transpose(0, 1).unsqueeze(-1).to(x.dtype)
            h = x.new_zeros(x.size(1), H)
            ahead: list[Tensor] = []
            back: list[Tensor] = []
            for row, m in zip(x, within, strict=True):
                h = self.ahead(row, h) * m + h * (1 - m)
                ahead.append(h)
            h = x.new_zeros(x.size(1), H)
            for t in range(len(x) - 1, -1, -1):
                h = self.back(x[t], h) * within[t] + h * (1 - within[t])
                back.insert(0, h)
            both = [torch.cat(pair, dim=-1) for pair in zip(ahead, back, strict=True)]
            return self.head(torch.stack(both)).transpose(0, 1)

    return Network(), whole()


def looped_autoencoder() -> Entry:
    """Encoded both ways, and decoded by a cell in a loop that is fed what it made."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.LSTM(2, H, batch_first=True, bidirectional=True)
            self.between, self.decoder, self.head = nn.Linear(2 * H, H), nn.LSTMCell(2, H), nn.Linear(H, 2)

        def forward(self, x: Tensor) -> Any:
            _, (last, _) = self.encoder(x)
            h = torch.tanh(self.between(torch.cat([last[0], last[1]], dim=-1)))
            c, y, made = torch.zeros_like(h), torch.zeros(x.size(0), 2), []
            for _ in range(x.size(1)):
                h, c = self.decoder(y, (h, c))
                y = self.head(h)
                made.append(y)
            return torch.stack(made, dim=1)

    return Network(), whole("B", "T", 2)


def looped_from_the_second_step() -> Entry:
    """The first step begins the state; the others see the one before."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.begin, self.cell, self.head = nn.Linear(3, H), nn.GRUCell(6, H), nn.Linear(H, 2)

        def forward(self, x: Tensor) -> Any:
            h = torch.tanh(self.begin(x[:, 0]))
            made = [h]
            for t in range(1, x.shape[1]):
                h = self.cell(torch.cat([x[:, t], x[:, t] - x[:, t - 1]], dim=-1), h)
                made.append(h)
            return {"each": self.head(torch.stack(made, dim=1)), "last": h}

    return Network(), whole()


def looped_attention() -> Entry:
    """A cell that attends at each step to all of the sequence, which a two-way GRU read before."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.cell = nn.GRU(3, 4, batch_first=True, bidirectional=True), nn.LSTMCell(16, 8)
            self.key, self.query, self.score, self.head = (nn.Linear(8, n) for n in (8, 8, 1, 2))

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            y, _ = packed(self.layers, x, lengths)
            within, keys = torch.arange(y.size(1))[None] < lengths[:, None], self.key(y)
            h, c, made = torch.zeros(x.size(0), 8), torch.zeros(x.size(0), 8), []
            for t in range(y.size(1)):
                scores = self.score(torch.tanh(keys + self.query(h).unsqueeze(1))).squeeze(2)
                weights = torch.softmax(scores.masked_fill(~within, -1e9), dim=1)
                seen = torch.bmm(weights.unsqueeze(1), y).squeeze(1)
                h, c = self.cell(torch.cat([y[:, t], seen], dim=1), (h, c))
                made.append(self.head(h))
            return torch.stack(made, dim=1)

    return Network(), whole()


def looped_layers_within_a_step() -> Entry:
    """One loop over the steps, within it one over the layers, states in lists."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(WORDS, H), nn.Linear(H, 3)
            self.cells = nn.ModuleList([nn.LSTMCell(H, H) for _ in range(3)])

        def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # noqa: ARG002
            embedded, made = self.words(tokens), []
            h = [torch.zeros(tokens.shape[0], H) for _ in self.cells]
            c = [torch.zeros(tokens.shape[0], H) for _ in self.cells]
            for t in range(tokens.shape[1]):
                row = embedded[:, t]
                for layer, cell in enumerate(self.cells):
                    h[layer], c[layer] = cell(row, (h[layer], c[layer]))
                    row = h[layer]
                made.append(row)
            return F.log_softmax(self.head(torch.stack(made).transpose(0, 1)), dim=-1)

    return Network(), words()


def looped_number_of_the_step() -> Entry:
    """The step's number as a number, and the last true step by ``gather``."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head, self.fading = nn.GRUCell(3, H), nn.Linear(H, 2), nn.Parameter(torch.tensor(0.05))

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            h, made = torch.zeros(x.size(0), H), []
            for t, row in enumerate(torch.unbind(x, dim=1)):
                h = self.cell(row * torch.exp(-self.fading * t), h)
                made.append(h)
            last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, H)
            return self.head(torch.stack(made, dim=1).gather(1, last).squeeze(1))

    return Network(), whole()
