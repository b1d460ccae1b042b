"""Modules by how they begin, and by what they make of batch and steps: as tutorials and examples write them.

Each function returns a module and what ``export_module`` is told of it; its docstring says what is particular.
"""

# ruff: noqa: A002 - the signatures are what is tried
# mypy: disable-error-code="no-any-return, no-untyped-def, no-untyped-call"

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.entries import Entry, amounts
from tests.zoo.modules_signatures import Base, H, one, written


def state_of_one_name() -> Entry:
    """A step a call, ``cat((input, hidden), 1)``, and ``initHidden()`` that gives the state of a single sequence."""

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.i2h, self.i2o = nn.Linear(3 + H, H), nn.Linear(3 + H, 5)

        def forward(self, input, hidden):
            combined = torch.cat((input, hidden), 1)
            return F.log_softmax(self.i2o(combined), dim=1), torch.tanh(self.i2h(combined))

        def initHidden(self):  # noqa: N802 - its name is what is tried
            return torch.zeros(1, H)

    return Classifier(), amounts("B", 3)


def state_of_one_sequence_behind_the_layers() -> Entry:
    """``init_hidden()`` of ``[1, 1, H]`` each, of which the second axis is the batch's."""

    class Tagger(Base):
        def init_hidden(self):
            return torch.zeros(1, 1, H), torch.ones(1, 1, H)

        def forward(self, x, hidden):
            y, hidden = self.lstm(x, hidden)
            return self.head(y), hidden

    return Tagger(), amounts()


def device_beside_the_batch() -> Entry:
    """``init_hidden(batch_size, device)``."""

    class Network(Base):
        def init_hidden(self, batch_size, device):
            return torch.zeros(1, batch_size, H, device=device)

        def forward(self, x, hidden):
            y, hidden = self.gru(x, hidden)
            return self.head(y), hidden

    return Network(), amounts()


def cells_that_want_their_states() -> Entry:
    """``forward(x, state)`` that unpacks what it is given, and nothing that says what it begins with."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.LSTMCell(3, H)

        def forward(self, x, state):
            h, c = state
            outputs = []
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
                outputs.append(h)
            return torch.stack(outputs, 1), (h, c)

    return Network(), amounts()


def own_cell_that_wants_its_state() -> Entry:
    """``forward(x, h)`` of linear layers: the size of the state stands in their weights alone."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.of_both, self.head = nn.Linear(3 + 5, 5), nn.Linear(5, 2)

        def forward(self, x, h):
            outputs = []
            for t in range(x.shape[1]):
                h = torch.tanh(self.of_both(torch.cat([x[:, t], h], 1)))
                outputs.append(self.head(h))
            return torch.stack(outputs, 1), h

    return Network(), amounts()


def any_number_of_states() -> Entry:
    """``forward(x, *states)`` that begins without."""

    def forward(self, x, *states):
        y, (h, c) = self.lstm(x, states or None)
        return self.head(y), h, c

    return written(forward), amounts()


def rows_of_batch_and_steps() -> Entry:
    """``view(-1, H)`` before the head, and never back: the answer is ``[B * T, O]``."""

    def forward(self, x, hidden=None):
        y, hidden = self.gru(x, hidden)
        return self.head(y.contiguous().view(-1, H)), hidden

    return written(forward), amounts()


def rows_of_steps_and_batch() -> Entry:
    """The same with the steps first, as the classic language model has it."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.encoder, self.rnn, self.decoder = nn.Embedding(20, 6), nn.GRU(6, H, 2, dropout=0.5), nn.Linear(H, 20)

        def init_hidden(self, bsz):
            return next(self.parameters()).new_zeros(2, bsz, H)

        def forward(self, input, hidden):
            output, hidden = self.rnn(self.encoder(input), hidden)
            return F.log_softmax(self.decoder(output).view(-1, 20), dim=1), hidden

    return Model(), {"inputs": one("inputs", "T", "B", dtype="int64", num_codes=20)}


def frames_by_a_view() -> Entry:
    """``clips.view(B * T, C, H, W)`` before a network of pictures: what it is given lies in one piece."""

    class Video(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.pictures = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )
            self.gru = nn.GRU(4, H, batch_first=True)

        def forward(self, clips, h=None):
            b, t, c, height, width = clips.size()
            return self.gru(self.pictures(clips.view(b * t, c, height, width)).view(b, t, -1), h)

    return Video(), amounts("B", "T", 1, 4, 4)


class Carried:
    """What a class of one's own carries."""

    def __init__(self, h, c, label=""):
        self.h, self.c, self.label = h, c, label


def states_in_an_object() -> Entry:
    """A class of one's own, ``torch.zeros(len(x), H)`` and writes into an output of ``len(x)`` rows."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.LSTMCell(3, H)

        def forward(self, x, state=None):
            state = state or Carried(torch.zeros(len(x), H), torch.zeros(len(x), H))
            h, c = state.h, state.c
            outputs = torch.zeros(len(x), x.shape[1], H)
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
                outputs[:, t] = h
            return outputs, Carried(h, c)

    return Network(), amounts()
