"""Modules that people get wrong, each with the sentence that its export is refused with: cause, place and way out.

Each function returns a module, what ``export_module`` is told of it, and the sentence as a regular expression.
"""

# ruff: noqa: ARG001 - the signatures are what is tried
# mypy: disable-error-code="no-any-return, no-untyped-def, no-untyped-call"

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.zoo.entries import amounts
from tests.zoo.modules_signatures import LOAD, WEEKDAY, Base, H, one, written, zeros

Refused = tuple[nn.Module, dict[str, Any], str]
HERE = r"refused_signatures\.py, line \d+"


def kept_in_itself() -> Refused:
    """The state is an attribute, from call to call."""

    class Network(Base):
        hidden = None

        def forward(self, x):
            y, self.hidden = self.gru(x, self.hidden)
            return self.head(y)

    return Network(), amounts(), "keeps hidden in itself: what a network remembers must be a state"


def no_state_at_all() -> Refused:
    """A GRU that begins anew each time."""

    def forward(self, x):
        return self.head(self.gru(x)[0])

    return (
        written(forward),
        amounts(),
        rf"has no initial_state\(batch_size\): add one .*'gru' \({HERE}: return.*Window.*task 'sequence'",
    )


def state_not_returned() -> Refused:
    """``hidden=None`` goes in and never comes out."""

    def forward(self, x, hidden=None):
        y, hidden = self.gru(x, hidden)
        return self.head(y)

    return (
        written(forward),
        amounts(),
        r"takes 'hidden' and does not return it .*lost between two steps.*return \(y, hi",
    )


def only_h_of_an_lstm() -> Refused:
    """Returns h, and takes h and c."""

    def forward(self, x, state=None):
        y, (h, _) = self.lstm(x, state)
        return self.head(y), h

    return written(forward), amounts(), "takes 'state' and does not return it as it takes it.*with both h and c"


def batch_and_steps_swapped() -> Refused:
    """A layer without ``batch_first`` that is given the batch first: nothing fails, and rows mix."""
    return (
        nn.GRU(3, H),
        amounts(),
        r"the states of GRU follow the axis that .* the steps first: say --input inputs:T,B,3",
    )


def batch_and_steps_swapped_with_states() -> Refused:
    """The same with an ``initial_state`` of the right size."""

    def forward(self, x, h):
        return self.plain(x, h)

    module = written(forward, begin=zeros(1, H))
    module.plain = nn.GRU(3, H)
    return (
        module,
        amounts(),
        r"Expected hidden size .*without batch_first=True takes the steps first: say --input x:T,B,F",
    )


def begins_with_noise() -> Refused:
    """Draws its first state at random."""

    def forward(self, x, h=None):
        return self.gru(x, torch.randn(1, x.shape[0], H) if h is None else h)

    return written(forward), amounts(), "begins with something else than zeros where it is given no state: add an init"


def fixed_view() -> Refused:
    """``view`` by a number that was the batch in training."""

    def forward(self, x, h=None):
        y, h = self.gru(x, h)
        return self.head(y.view(16, -1, H)), h

    return written(forward), amounts(), rf"fails on an input .*invalid for input.*\({HERE}.*take it from x\.shape"


def fixed_batch() -> Refused:
    """A buffer with the batch of training."""

    def forward(self, x, h=None):
        y, h = self.gru(x, self.start if h is None else h)
        return self.head(y), h

    module = written(forward)
    module.register_buffer("start", torch.zeros(1, 16, H))
    return module, amounts(), rf"fails on an input .*Expected hidden size.*\({HERE}.*take it from x\.shape"


def fixed_positions() -> Refused:
    """A positional embedding for 24 steps and no other number of them."""

    def forward(self, x, h=None):
        y, h = self.gru(x + self.positions, h)
        return self.head(y), h

    module = written(forward)
    module.positions = nn.Parameter(torch.zeros(1, 24, 3))
    return module, amounts(), rf"fails on an input .*must match the size.*\({HERE}.*take it from x\.shape"


def to_the_device() -> Refused:
    """``.cuda()`` within ``forward``."""

    def forward(self, x, h=None):
        return self.gru(x.cuda(), h)

    return written(forward), amounts(), rf"fails on an input .*\({HERE}.*as by device=x\.device: .* exported on the CPU"


def looks_ahead() -> Refused:
    """A convolution with ``padding="same"`` sees steps that have not come."""

    class Network(Base):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv1d(3, 3, 3, padding="same")

        def forward(self, x, h=None):
            y, h = self.gru(self.convolution(x.transpose(1, 2)).transpose(1, 2), h)
            return self.head(y), h

    return (
        Network(),
        amounts(),
        "cut into chunks it answers differently .*convolution 'convolution' sees 3 steps .*carry the 2 steps before x",
    )


def both_directions() -> Refused:
    """A layer that runs from the end, too."""

    class Network(Base):
        def __init__(self) -> None:
            super().__init__()
            self.both = nn.GRU(3, H, batch_first=True, bidirectional=True)

        def forward(self, x, h=None):
            return self.both(x, h)

    return Network(), amounts(), "into chunks it answers differently .*is bidirectional.*task 'sequence'"


def attention_over_the_batch() -> Refused:
    """Attends over the first axis, which is the batch."""

    class Network(Base):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(H, 2)

        def forward(self, x, h=None):
            y, h = self.gru(x, h)
            return self.attention(y, y, y)[0], h

    return (
        Network(),
        amounts(),
        "the rows of a batch depend on each other: .*MultiheadAttention without batch_first=True",
    )


def one_answer_in_three() -> Refused:
    """A convolution with stride 3."""

    class Network(Base):
        def __init__(self) -> None:
            super().__init__()
            self.fold = nn.Conv1d(3, 3, 3, stride=3)

        def forward(self, x, h=None):
            return self.gru(self.fold(x.transpose(1, 2)).transpose(1, 2), h)

    return Network(), amounts(), r"gives 40 answers for 120 steps, one in 3: .*--steps-per-answer 3"


def noise_in_forward() -> Refused:
    """``torch.randn`` that was left in."""

    def forward(self, x, h):
        return self.gru(x + 0.1 * torch.randn_like(x), h)

    return written(forward, begin=zeros(1, H)), amounts(), "gives something else each time .*draw no noise"


def dropout_left_on() -> Refused:
    """``F.dropout`` without ``training=self.training``."""

    def forward(self, x, h):
        y, h = self.gru(x, h)
        return self.head(nn.functional.dropout(y, 0.5)), h

    return written(forward, begin=zeros(1, H)), amounts(), "gives something else each time .*training=self.training"


def trains_itself() -> Refused:
    """Calls ``train()`` in ``forward``, so that dropout is on."""

    class Network(Base):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x, h):
            self.train()
            y, h = self.gru(x, h)
            return self.head(self.drop(y)), h

        def initial_state(self, batch_size):
            return torch.zeros(1, batch_size, H)

    return Network(), amounts(), r"do not call train\(\)"


def chooses_by_a_sum() -> Refused:
    """``if x.sum() > 0``."""

    def forward(self, x, h=None):
        if x.sum() > 1000:
            x = x / 2
        return self.gru(x, h)

    return written(forward), amounts(), rf"\({HERE}.*torch\.where"


def item_of_a_number() -> Refused:
    """``.item()``."""

    def forward(self, x, h=None):
        scale = x.abs().max().item()
        y, h = self.gru(x, h)
        return self.head(y) * min(scale, 0.0), h

    return written(forward), amounts(), rf"\({HERE}"


def numpy_within() -> Refused:
    """Numpy in ``forward``."""

    def forward(self, x, h=None):
        return self.gru(torch.from_numpy(np.tanh(x.numpy())), h)

    return written(forward), amounts(), rf"\({HERE}.*compute with torch"


def context_with_steps() -> Refused:
    """A constant that is said to have steps."""

    def forward(self, x, customer, h=None):
        return self.gru(x, h)

    options = {"inputs": one("x", "B", "T", 3), "context": [one("customer", "B", "T", 4)]}
    return written(forward), options, "context 'customer' has 'T' in its shape: it is given once"


def input_without_steps() -> Refused:
    """What is constant is said to be an input."""

    def forward(self, load, customer, h=None):
        return self.gru(load, h)

    options = {"inputs": [LOAD, one("customer", "B", 4)]}
    return written(forward, 2), options, "'customer' has no 'T' and other inputs have: what is the same in all steps is"


def too_few_inputs() -> Refused:
    """Takes two, and one was described."""

    def forward(self, load, weekday, h):
        return self.gru(torch.cat([load, self.embedding(weekday)], -1), h)

    return (
        written(forward, 4, begin=zeros(1, H)),
        {"inputs": LOAD},
        "Say of each input which it is .*--input NAME:SHAPE",
    )


def unknown_output() -> Refused:
    """Names the numbers of an output that there is none of."""

    def forward(self, load, weekday, h=None):
        y, h = self.gru(torch.cat([load, self.embedding(weekday)], -1), h)
        return {"mean": y, "scale": y.exp()}, h

    options = {"inputs": [LOAD, WEEKDAY], "output_features": {"median": ["a"]}}
    return written(forward, 4), options, "no output is called 'median'; the module gives mean, scale"


def scripted() -> Refused:
    """``torch.jit.script``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(nn.GRU(3, H))
    return module, amounts(), "made by torch.jit, which cannot be traced again"


def normed_by_what_it_is_given() -> Refused:
    """Batch normalisation that keeps no running statistics."""

    class Network(Base):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3, track_running_stats=False)

        def forward(self, x, h=None):
            return self.gru(self.norm(x.transpose(1, 2)).transpose(1, 2), h)

    return Network(), amounts(), "BatchNorm1d 'norm' keeps no running statistics.*track_running_stats=True.*LayerNorm"


def grows_with_the_steps() -> Refused:
    """A cache of all keys."""

    def forward(self, x, cache=None):
        keys = x if cache is None else torch.cat([cache, x], 1)
        return (x @ keys.transpose(1, 2)).mean(-1), keys

    return written(forward), amounts(), r"takes 'cache'.*What grows with the steps.*cache\[:, -L:\]"


def begins_from_nothing() -> Refused:
    """A dict of states that it cannot begin without."""

    def forward(self, x, state):
        y, h = self.gru(x, state["h"])
        return y, {"h": h}

    return written(forward), amounts(), f"NoneType.*{HERE}: y, h.*cannot begin so: add an initial_state"
