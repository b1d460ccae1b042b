"""Modules by their signatures: what they take and give in the structures in which people write them.

Each function returns a module and what ``export_module`` is told of it; its docstring says what is particular.
"""

# ruff: noqa: ARG002 - the signatures are what is tried
# mypy: disable-error-code="no-any-return, no-untyped-def, no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.service.artifact.tensors import Input
from tests.zoo.entries import Entry, amounts

H = 8


def one(name: str, *shape: int | str, dtype: str = "float32", **more: Any) -> Input:
    """An input of this name; its numbers are called as it is."""
    number = 1
    for axis in shape:
        number *= axis if isinstance(axis, int) else 1
    content = {"name": name, "dtype": dtype, "shape": shape, "features": [f"{name}_{index}" for index in range(number)]}
    return Input.model_validate(content | more)


LOAD, WEEKDAY = one("load", "B", "T", 2), one("weekday", "B", "T", dtype="int64")
CUSTOMER = one("customer", "B", 4)


class Base(nn.Module):
    """An LSTM, a GRU and a head, for those below to call as they like."""

    def __init__(self, num_features: int = 3, num_outputs: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(num_features, H, batch_first=True)
        self.gru = nn.GRU(num_features, H, batch_first=True)
        self.head = nn.Linear(H, num_outputs)
        self.embedding = nn.Embedding(7, 2)
        self.of_customer = nn.Linear(4, H)


def written(forward: Callable[..., Any], *sizes: int, begin: Callable[..., Any] | None = None) -> nn.Module:
    """A module whose class has this ``forward``, and ``initial_state`` where one is given."""
    members: dict[str, Any] = {"forward": forward}
    if begin is not None:
        members["initial_state"] = begin
    made = type("Network", (Base,), members)
    return made(*sizes)


class LSTMState(NamedTuple):
    h: Tensor
    c: Tensor


class Prediction(NamedTuple):
    mean: Tensor
    scale: Tensor


@dataclass
class Memory:
    hidden: Tensor
    cell: Tensor


@dataclass
class Answer:
    logits: Tensor
    state: tuple[Tensor, Tensor]


def zeros(*sizes: int) -> Callable[..., Tensor]:
    return lambda _self, batch_size: torch.zeros(sizes[0], batch_size, *sizes[1:])


def state_or_none() -> Entry:
    """``forward(x, state=None) -> (y, state)``."""

    def forward(self, x, state=None):
        y, state = self.lstm(x, state)
        return self.head(y), state

    return written(forward), amounts()


def pair_in_the_signature() -> Entry:
    """``forward(x, hc) -> (y, (h, c))``, with an ``initial_state``."""

    def forward(self, x, hc):
        y, (h, c) = self.lstm(x, hc)
        return self.head(y), (h, c)

    return written(forward, begin=lambda _, b: (torch.zeros(1, b, H), torch.zeros(1, b, H))), amounts()


def hx_or_none() -> Entry:
    """``forward(x, hx: tuple | None = None)`` which returns y, h, c one by one."""

    def forward(self, x, hx=None):
        y, (h, c) = self.lstm(x, hx)
        return self.head(y), h, c

    return written(forward), amounts()


def two_or_none() -> Entry:
    """``forward(x, h=None, c=None) -> (y, h, c)``."""

    def forward(self, x, h=None, c=None):
        y, (h, c) = self.lstm(x, None if h is None else (h, c))
        return self.head(y), h, c

    return written(forward), amounts()


def two_or_none_in_a_pair() -> Entry:
    """``forward(x, h=None, c=None) -> (y, (h, c))``."""

    def forward(self, x, h=None, c=None):
        y, state = self.lstm(x, None if h is None else (h, c))
        return self.head(y), state

    return written(forward), amounts()


def states_by_keyword() -> Entry:
    """``forward(x, *, h=None)``."""

    def forward(self, x, *, h=None):
        y, h = self.gru(x, h)
        return self.head(y), h

    return written(forward), amounts()


def state_in_a_dict() -> Entry:
    """The state is a dict in and out."""

    def forward(self, x, state=None):
        y, (h, c) = self.lstm(x, None if state is None else (state["h"], state["c"]))
        return self.head(y), {"h": h, "c": c}

    return written(forward), amounts()


def state_in_a_named_tuple() -> Entry:
    """The state is a ``NamedTuple``."""

    def forward(self, x, state=None):
        y, state = self.lstm(x, state)
        return self.head(y), LSTMState(*state)

    return written(forward), amounts()


def state_in_a_dataclass() -> Entry:
    """The state is a dataclass, and ``initial_state`` gives one."""

    def forward(self, x, memory):
        y, (h, c) = self.lstm(x, (memory.hidden, memory.cell))
        return self.head(y), Memory(h, c)

    return written(forward, begin=lambda _, b: Memory(torch.zeros(1, b, H), torch.zeros(1, b, H))), amounts()


def nested_lists_of_states() -> Entry:
    """A list of pairs, one for each of three layers."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layers = nn.ModuleList(nn.LSTM(size, H, batch_first=True) for size in (3, H, H))

        def forward(self, x, states=None):
            states = states or [None] * 3
            after = []
            for layer, state in zip(self.layers, states, strict=True):
                x, state = layer(x, state)
                after.append(state)
            return x, after

    return Network(), amounts()


def states_in_a_dict_of_tuples() -> Entry:
    """``{"fast": (h, c), "slow": h}``."""

    def forward(self, x, states=None):
        states = states or {"fast": None, "slow": None}
        fast, of_fast = self.lstm(x, states["fast"])
        slow, of_slow = self.gru(x, states["slow"])
        return self.head(fast + slow), {"fast": of_fast, "slow": of_slow}

    return written(forward), amounts()


def init_hidden() -> Entry:
    """``init_hidden(batch_size)`` in place of ``initial_state``, and a state that is needed."""

    def forward(self, x, hidden):
        h, c = hidden
        y, (h, c) = self.lstm(x, (h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous()))
        return self.head(y), (h.transpose(0, 1), c.transpose(0, 1))

    made = type("Network", (Base,), {"forward": forward, "init_hidden": lambda _, b: (torch.zeros(b, 1, H),) * 2})
    return made(), amounts()


def state_in_the_middle() -> Entry:
    """``(y, state, attention)``."""

    def forward(self, x, h=None):
        y, h = self.gru(x, h)
        return self.head(y), h, torch.softmax(y, -1)

    return written(forward), amounts()


def learned_first_state() -> Entry:
    """Begins with a parameter where it is given nothing."""

    class Network(Base):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.randn(1, 1, H))

        def forward(self, x, h=None):
            if h is None:
                h = self.first.repeat(1, x.shape[0], 1)
            y, h = self.gru(x, h)
            return self.head(y), h

    return Network(), amounts()


def zeros_made_within() -> Entry:
    """Makes its zeros itself, by the size of the batch."""

    def forward(self, x, hidden=None):
        if hidden is None:
            hidden = torch.zeros(1, x.size(0), H, device=x.device)
        y, hidden = self.gru(x, hidden)
        return self.head(y), hidden

    return written(forward), amounts()


def bare_lstm() -> Entry:
    """``nn.LSTM`` itself, two layers."""
    torch.manual_seed(0)
    return nn.LSTM(3, H, 2, batch_first=True), amounts()


def bare_gru_time_major() -> Entry:
    """``nn.GRU`` itself, the steps first."""
    torch.manual_seed(0)
    return nn.GRU(3, H), amounts("T", "B", 3)


def bare_rnn() -> Entry:
    """``nn.RNN`` itself."""
    torch.manual_seed(0)
    return nn.RNN(3, H, batch_first=True), amounts()


def bare_lstm_cell() -> Entry:
    """``nn.LSTMCell`` itself, one step: what it returns is its state."""
    torch.manual_seed(0)
    return nn.LSTMCell(3, H), amounts("B", 3)


def bare_gru_cell() -> Entry:
    """``nn.GRUCell`` itself."""
    torch.manual_seed(0)
    return nn.GRUCell(3, H), amounts("B", 3)


def outputs_in_a_dict() -> Entry:
    """``{"mean", "variance"}`` beside the state."""

    def forward(self, x, state=None):
        y, state = self.lstm(x, state)
        mean, variance = self.head(y).chunk(2, -1)
        return {"mean": mean, "variance": variance.exp()}, state

    return written(forward), amounts()


def outputs_in_a_named_tuple() -> Entry:
    """A ``NamedTuple`` beside the state."""

    def forward(self, x, h=None):
        y, h = self.gru(x, h)
        return Prediction(self.head(y), torch.sigmoid(y)), h

    return written(forward), amounts()


def all_in_one_dict() -> Entry:
    """One dict with the output and the state."""

    def forward(self, x, h=None):
        y, h = self.gru(x, h)
        return {"logits": self.head(y), "h": h}

    return written(forward), amounts()


def answer_in_a_dataclass() -> Entry:
    """One dataclass with the output and the state."""

    def forward(self, x, state=None):
        y, state = self.lstm(x, state)
        return Answer(self.head(y), state)

    return written(forward), amounts()


def tuple_of_outputs() -> Entry:
    """``((y, z), state)``, outputs without names."""

    def forward(self, x, state=None):
        y, state = self.lstm(x, state)
        return (self.head(y), torch.tanh(y)), state

    return written(forward), amounts()


def outputs_side_by_side() -> Entry:
    """``(y, z, state)``."""

    def forward(self, x, state=None):
        y, state = self.gru(x, state)
        return self.head(y), torch.relu(y), state

    return written(forward), amounts()


def once_and_per_step() -> Entry:
    """A number per step, a whole number per step, and a summary once a run."""

    def forward(self, x, state=None):
        y, (h, c) = self.lstm(x, state)
        scores = self.head(y)
        return {"scores": scores, "kind": scores.argmax(-1), "summary": h[-1]}, (h, c)

    return written(forward), amounts()


def once_a_run() -> Entry:
    """``[B, O]``, from the last step."""

    def forward(self, x, h=None):
        _, h = self.gru(x, h)
        return self.head(h[-1]), h

    return written(forward), amounts()


def attention_left_out() -> Entry:
    """Returns ``None`` among the outputs."""

    def forward(self, x, h=None):
        y, h = self.gru(x, h)
        return self.head(y), None, h

    return written(forward), amounts()


def two_inputs_by_place() -> Entry:
    """``forward(load, weekday, h=None)``; the inputs in their order, under other names."""

    def forward(self, a, b, h=None):
        y, h = self.gru(torch.cat([a, self.embedding(b)], -1), h)
        return self.head(y), h

    return written(forward, 4), {"inputs": [LOAD, WEEKDAY]}


def two_inputs_by_name() -> Entry:
    """``forward(weekday, load, h=None)``; the inputs in another order, by their names."""

    def forward(self, weekday, load, h=None):
        y, h = self.gru(torch.cat([load, self.embedding(weekday)], -1), h)
        return self.head(y), h

    return written(forward, 4), {"inputs": [LOAD, WEEKDAY]}


def two_inputs_with_states() -> Entry:
    """``forward(load, weekday, h, c)`` and ``initial_state``."""

    def forward(self, load, weekday, h, c):
        y, (h, c) = self.lstm(torch.cat([load, self.embedding(weekday)], -1), (h, c))
        return self.head(y), h, c

    begin = lambda _, b: (torch.zeros(1, b, H), torch.zeros(1, b, H))  # noqa: E731
    return written(forward, 4, begin=begin), {"inputs": [LOAD, WEEKDAY]}


def state_before_the_second_input() -> Entry:
    """``forward(load, h=None, *, weekday)``."""

    def forward(self, load, h=None, *, weekday):
        y, h = self.gru(torch.cat([load, self.embedding(weekday)], -1), h)
        return self.head(y), h

    return written(forward, 4), {"inputs": [LOAD, WEEKDAY]}


def batch_in_a_dict() -> Entry:
    """``forward(batch, state=None)``, the inputs in a dict."""

    def forward(self, batch, state=None):
        x = torch.cat([batch["load"], self.embedding(batch["weekday"])], -1)
        y, state = self.lstm(x, state)
        return self.head(y), state

    return written(forward, 4), {"inputs": [LOAD, WEEKDAY]}


def inputs_in_a_tuple() -> Entry:
    """``forward((load, weekday), h=None)``."""

    def forward(self, inputs, h=None):
        load, weekday = inputs
        y, h = self.gru(torch.cat([load, self.embedding(weekday)], -1), h)
        return self.head(y), h

    return written(forward, 4), {"inputs": [LOAD, WEEKDAY]}


def one_input_in_a_dict() -> Entry:
    """``forward({"encoder_cont": x}, h=None)``."""

    def forward(self, x, h=None):
        y, h = self.gru(x["encoder_cont"], h)
        return self.head(y), h

    return written(forward), {"inputs": one("encoder_cont", "B", "T", 3)}


def context_by_name() -> Entry:
    """``forward(x, customer, h=None)``: constant for a sequence."""

    def forward(self, x, customer, h=None):
        y, h = self.gru(x, h)
        return self.head(y + self.of_customer(customer)[:, None]), h

    return written(forward), {"inputs": one("x", "B", "T", 3), "context": [CUSTOMER]}


def context_behind_the_state() -> Entry:
    """``forward(x, h, customer)`` with an ``initial_state``."""

    def forward(self, x, h, customer):
        y, h = self.gru(x, h)
        return self.head(y * torch.sigmoid(self.of_customer(customer))[:, None]), h

    begin = zeros(1, H)
    return written(forward, begin=begin), {"inputs": one("x", "B", "T", 3), "context": [CUSTOMER]}


def context_of_codes_and_two_inputs() -> Entry:
    """Two inputs, an embedding of a region as context, two outputs."""

    def forward(self, load, weekday, region, state=None):
        x = torch.cat([load, self.embedding(weekday)], -1)
        y, (h, c) = self.lstm(x, state)
        return {"level": self.head(y) + self.embedding(region)[:, None], "last": h[-1]}, (h, c)

    options = {"inputs": [LOAD, WEEKDAY], "context": [one("region", "B", dtype="int64")]}
    return written(forward, 4), options


def context_in_a_loop() -> Entry:
    """A cell in a loop over the steps, which sees the context at each."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.GRUCell(3 + 4, H)

        def forward(self, x, customer, h=None):
            h = x.new_zeros(x.shape[0], H) if h is None else h
            outputs = []
            for t in range(x.shape[1]):
                h = self.cell(torch.cat([x[:, t], customer], -1), h)
                outputs.append(h)
            return torch.stack(outputs, 1), h

    return Network(), {"inputs": one("x", "B", "T", 3), "context": [CUSTOMER]}


def one_number_a_step() -> Entry:
    """``x [B, T]``."""

    def forward(self, x, h=None):
        y, h = self.gru(x.unsqueeze(-1), h)
        return self.head(y).squeeze(-1), h

    return written(forward, 1, 1), amounts("B", "T")


def frames_of_pictures() -> Entry:
    """``x [B, T, C, H, W]`` in, a picture out."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.gates = nn.Conv2d(2 + 3, 3, 3, padding=1)

        def forward(self, x, h=None):
            h = x.new_zeros(x.shape[0], 3, 4, 4) if h is None else h
            made = []
            for step in x.unbind(1):
                h = torch.tanh(self.gates(torch.cat([step, h], 1)))
                made.append(h)
            return torch.stack(made, 1), h

    return Network(), amounts("B", "T", 2, 4, 4)


def lightning() -> Entry:
    """A LightningModule by its shape: ``forward`` of its own, steps of training, a loss."""

    class Litmus(Base):
        def __init__(self) -> None:
            super().__init__()
            self.loss = nn.MSELoss()

        def training_step(self, batch, batch_index):
            return self.loss(self(batch[0])[0], batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

        def forward(self, x, state=None):
            y, state = self.lstm(x, state)
            return self.head(y), state

    return Litmus(), amounts()


def lightning_around_a_network() -> Entry:
    """A LightningModule without a ``forward``: the network is its only part that has weights.

    Lightning's class has one that hands all on to torch's, which raises; it is known by where it is from.
    """

    class LightningModule(nn.Module):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    LightningModule.__module__ = "lightning.pytorch.core.module"

    class Litmus(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = state_or_none()[0]
            self.loss = nn.MSELoss()

        def training_step(self, batch, batch_index):
            return self.loss(self.model(batch[0])[0], batch[1])

    return Litmus(), amounts()


def compiled() -> Entry:
    """``torch.compile``d."""
    return torch.compile(state_or_none()[0]), amounts()  # type: ignore[return-value]


def parallel() -> Entry:
    """In ``DataParallel``."""
    return nn.DataParallel(state_or_none()[0]), amounts()


def strided() -> Entry:
    """One answer in 4 steps, behind a convolution with stride 4: a session's step is a frame."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fold = nn.Conv1d(3, 6, 4, stride=4)
            self.gru = nn.GRU(6, H, batch_first=True)

        def forward(self, x, h=None):
            return self.gru(torch.relu(self.fold(x.transpose(1, 2))).transpose(1, 2), h)

    return Network(), {**amounts(), "steps_per_answer": 4}


def pyramid() -> Entry:
    """Two steps side by side are one of the layer above."""

    def forward(self, x, state=None):
        pairs = x.reshape(x.shape[0], x.shape[1] // 2, 6)
        y, state = self.lstm(pairs, state)
        return self.head(y), state

    return written(forward, 6), {**amounts(), "steps_per_answer": 2}
