"""Networks of ``ostinato.models.networks``, as a recipe asks for them: one of each that docs/models.md has.

Each function returns a module and what its export is told of it; its docstring names the network.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ostinato.models.networks.bidirectional import Bidirectional, BidirectionalRecipe
from ostinato.models.networks.context import ContextLayers
from ostinato.models.networks.conv_lstm import CNNLSTM, ConvLSTM2D, FrameEncoder
from ostinato.models.networks.echo_state import EchoStateNetwork, EchoStateRecipe
from ostinato.models.networks.layers import Layers, LayersRecipe, build_layers
from ostinato.service.artifact.tensors import Input
from tests.zoo.entries import Entry, amounts

FRAME = (8, 8)


def layers(num_features: int = 3, **recipe: Any) -> Layers:
    """Layers by a recipe, with 12 hidden units."""
    return build_layers(LayersRecipe.model_validate({"hidden_size": 12, **recipe}), num_features)


def of(**recipe: Any) -> Entry:
    """The same as an entry."""
    made = layers(**recipe)
    return made, {**amounts(), "state_names": made.state_names}


def network_elman() -> Entry:
    """Elman's, two layers."""
    return of(cell="rnn", num_layers=2)


def network_elman_relu() -> Entry:
    """Elman's with ReLU."""
    return of(cell="rnn", activation="relu", initialiser="orthogonal")


def network_jordan() -> Entry:
    """Jordan's."""
    return of(cell="jordan", fed_back_size=4)


def network_lstm() -> Entry:
    """LSTM, two layers."""
    return of(cell="lstm", num_layers=2, forget_bias=1.0)


def network_lstm_peepholes() -> Entry:
    """LSTM with peepholes, two layers."""
    return of(cell="lstm", peepholes=True, num_layers=2)


def network_gru() -> Entry:
    """GRU."""
    return of(cell="gru")


def network_keras_lstm() -> Entry:
    """LSTM of Keras with ``hard_sigmoid``, its initialisers and unit forget bias."""
    return of(cell="lstm", gate_activation="hard_sigmoid", initialiser="keras")


def network_keras_gru_reset_before() -> Entry:
    """GRU of Keras with ``reset_after=False`` and the ``hard_sigmoid`` of Keras 2."""
    return of(cell="gru", reset_after=False, gate_activation="keras2_hard_sigmoid", initialiser="keras")


def network_unlike() -> Entry:
    """A stack of four unlike cells."""
    return of(cell=["gru", "lstm", "jordan", "rnn"])


def network_gated_feedback_rnn() -> Entry:
    """Gated feedback of simple layers."""
    return of(cell="gated_feedback", feedback_cell="rnn", num_layers=2)


def network_gated_feedback_lstm() -> Entry:
    """Gated feedback of LSTM."""
    return of(cell="gated_feedback", feedback_cell="lstm", num_layers=2)


def network_gated_feedback_gru() -> Entry:
    """Gated feedback of GRU, three layers."""
    return of(cell="gated_feedback", feedback_cell="gru", num_layers=3)


def network_clockwork() -> Entry:
    """Clockwork: sessions at different clocks share runs."""
    return of(cell="clockwork", periods=[1, 2, 4, 8])


def network_echo_state() -> Entry:
    """Echo state with leaks and its output fed back, the read-out learned."""
    recipe = EchoStateRecipe(reservoir_size=50, leak=0.5, feedback_scaling=0.3, washout_steps=10)
    network = EchoStateNetwork(recipe, 3, 2)
    x = torch.randn(1, 200, 3)
    network.fit(x, torch.tanh(x[..., :2].cumsum(dim=1) / 10))
    return network, {**amounts(), "state_names": network.state_names}


def network_time_delay() -> Entry:
    """Time delay, two layers."""
    return of(cell="time_delay", taps=3, delay=2, num_layers=2)


def network_narx() -> Entry:
    """NARX."""
    return of(cell="narx", taps=3, output_taps=2, fed_back_size=1)


def network_minimal_gated() -> Entry:
    """The minimal layer with a gate."""
    return of(cell="minimal_gated")


def network_min_gru() -> Entry:
    """The minimal GRU, two layers."""
    return of(cell="min_gru", num_layers=2)


def network_min_lstm() -> Entry:
    """The minimal LSTM."""
    return of(cell="min_lstm")


def network_slstm() -> Entry:
    """The sLSTM of xLSTM, two layers."""
    return of(cell="slstm", num_layers=2)


def network_mlstm() -> Entry:
    """The mLSTM of xLSTM, whose memories are matrices."""
    return of(cell="mlstm")


def network_rg_lru() -> Entry:
    """Griffin's recurrence behind a convolution over the steps."""
    return of(cell=["time_delay", "rg_lru"], activation="linear")


def network_lru() -> Entry:
    """Linear recurrent units, two layers."""
    return of(cell="lru", num_layers=2)


def network_s5() -> Entry:
    """S5."""
    return of(cell="s5")


def network_mamba() -> Entry:
    """Mamba."""
    return of(cell="mamba")


def network_rwkv7() -> Entry:
    """RWKV-7."""
    return of(cell="rwkv7")


def network_cfc() -> Entry:
    """CfC, two layers over a feature that is the interval."""
    made = build_layers(LayersRecipe(cell="cfc", hidden_size=12, num_layers=2, interval="x1"), 3, ("x0", "x1", "x2"))
    return made, {**amounts(), "state_names": made.state_names}


def network_cnn_lstm() -> Entry:
    """An LSTM over a convolution over the steps."""
    return of(cell=["time_delay", "lstm"], taps=4, activation="tanh")


def network_minimal_with_constants() -> Entry:
    """The minimal layer with constants, which a session is opened with."""
    network = ContextLayers(layers(3 + 4, cell="minimal", initialiser="orthogonal"))
    context = Input(name="constants", dtype="float32", shape=("B", 4), features=("a", "b", "c", "d"))
    return network, {**amounts(), "context": [context], "state_names": network.state_names}


def network_gru_with_constants() -> Entry:
    """Any other cell with constants."""
    network = ContextLayers(layers(3 + 2, cell=["gru", "lstm"], peepholes=True))
    context = Input(name="constants", dtype="float32", shape=("B", 2), features=("a", "b"))
    return network, {**amounts(), "context": [context], "state_names": network.state_names}


def network_conv_lstm() -> Entry:
    """ConvLSTM2D over frames of two channels."""
    network = ConvLSTM2D(2, 3, FRAME)
    return network, {**amounts("B", "T", 2, *FRAME), "state_names": network.state_names}


def network_cnn_lstm_of_frames() -> Entry:
    """An LSTM over a CNN of each frame."""
    encoder = FrameEncoder(1, 4, FRAME)
    network = CNNLSTM(encoder, layers(encoder.output_size, cell="lstm"))
    return network, {**amounts("B", "T", 1, *FRAME), "state_names": network.state_names}


class Tagger(nn.Module):
    """Layers that read both ways, and a head for each step."""

    def __init__(self, **recipe: Any) -> None:
        super().__init__()
        self.layers = Bidirectional(BidirectionalRecipe.model_validate({"hidden_size": 8, **recipe}), 3)
        self.head = nn.Linear(self.layers.output_size, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, _ = self.layers(x, lengths)
        made: Tensor = self.head(y)
        return made


class SequenceClassifier(Tagger):
    """The same with one answer a sequence."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        _, last = self.layers(x, lengths)
        made: Tensor = self.head(last)
        return made


def network_bidirectional_rnn() -> Entry:
    """Simple layers both ways."""
    return Tagger(cell="rnn"), {"task": "sequence", **amounts()}


def network_bidirectional_gru() -> Entry:
    """GRU both ways, one answer a sequence."""
    return SequenceClassifier(cell="gru"), {"task": "sequence", **amounts()}


def network_bidirectional_lstm() -> Entry:
    """LSTM both ways, two layers."""
    return Tagger(cell="lstm", num_layers=2), {"task": "sequence", **amounts()}
