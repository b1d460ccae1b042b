"""Layers of Keras, by the code of docs/keras.md, with the conventions that torch's own layers do not have."""

from __future__ import annotations

from torch import nn

from tests.docs.keras_page import KerasLayers, page_code
from tests.zoo.entries import Entry, amounts

PAGE, LAYERS = page_code(), KerasLayers()


def keras_lstm() -> Entry:
    """``LSTM(4)``."""
    return PAGE.Stateful(PAGE.lstm(LAYERS.weights("lstm"))), amounts("B", "T", 2)


def keras_gru() -> Entry:
    """``GRU(4)``, whose reset comes after the recurrent kernel."""
    return PAGE.Stateful(PAGE.gru(LAYERS.weights("gru"))), amounts("B", "T", 2)


def keras_simple_rnn() -> Entry:
    """``SimpleRNN(4)``."""
    return PAGE.Stateful(PAGE.simple_rnn(LAYERS.weights("simple_rnn"))), amounts("B", "T", 2)


def keras_gru_reset_before() -> Entry:
    """``GRU(4, reset_after=False)``, a loop."""
    return PAGE.GRUResetBefore(LAYERS.weights("gru_reset_before")), amounts("B", "T", 2)


def keras_hard_sigmoid() -> Entry:
    """``LSTM(4, recurrent_activation="hard_sigmoid")``, a loop."""
    return PAGE.HardLSTM(LAYERS.weights("lstm_hard")), amounts("B", "T", 2)


def keras_masked() -> Entry:
    """``GRU(4)`` behind a mask, which is the last column of the input."""
    return PAGE.MaskedLayer(LAYERS.weights("gru_masked")), amounts("B", "T", 3)


def keras_time_major() -> Entry:
    """``time_major=True``: the layer has time first, and only the graph knows."""

    class TimeMajor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = PAGE.lstm(LAYERS.weights("lstm"))
            self.layer.batch_first = False

        def initial_state(self, batch_size: int):  # type: ignore[no-untyped-def]
            return PAGE.Stateful(self.layer).initial_state(batch_size)

        def forward(self, x, h, c):  # type: ignore[no-untyped-def]
            y, (h, c) = self.layer(x, (h, c))
            return y, h, c

    return TimeMajor(), amounts("T", "B", 2)
