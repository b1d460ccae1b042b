"""Networks that are trained on windows, in the shapes in which forecasting libraries have them.

Each function gives a module and the options of its export. None of the libraries is installed: the forms in which they
hand a window to a network, and take its answer, are written out here as darts 0.41, neuralforecast 3.3 and
pytorch-forecasting 1.8 have them. `make libraries` runs the libraries themselves.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ostinato.export.window import Window
from tests.zoo.entries import Entry, amounts


class BlockNetwork(nn.Module):
    """As darts' block RNN: (past, future, static) in, ``[B, H, targets, parameters]`` out, from H hidden outputs."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(3, 12, num_layers=2, batch_first=True)
        self.fc = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 2))

    def forward(self, x_in: tuple[Tensor, Tensor | None, Tensor | None]) -> Tensor:
        past, _, _ = x_in
        out, _ = self.rnn(past)
        return self.fc(out[:, -4:, :]).view(past.shape[0], 4, 2, 1)


class InstanceNorm(nn.Module):
    """Reversible instance normalisation: a window's own mean and spread are taken out, and put back behind."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.scale = nn.Parameter(torch.ones(1, 1, 2))
        self.shift = nn.Parameter(torch.zeros(1, 1, 2))

    def forward(self, window: Tensor) -> Tensor:
        mean = window.mean(dim=1, keepdim=True)
        spread = (window.var(dim=1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        made = self.inner((window - mean) / spread * self.scale + self.shift)
        return (made - self.shift) / self.scale * spread + mean


class RobustScaler(nn.Module):
    """As neuralforecast's ``TemporalNorm``: it keeps a window's median and spread for the way back."""

    def transform(self, x: Tensor, mask: Tensor) -> Tensor:
        self.x_shift = torch.nan_to_num(x.masked_fill(mask < 1, torch.nan).nanmedian(dim=1, keepdim=True)[0])
        away = (x - self.x_shift).abs().masked_fill(mask < 1, torch.nan)
        spread = away.nanmedian(dim=1, keepdim=True).values
        spread[spread == 0] = 1.0
        self.x_scale = spread + 1e-6
        return (x - self.x_shift) / self.x_scale

    def inverse_transform(self, z: Tensor) -> Tensor:
        return z * self.x_scale[..., 0] + self.x_shift[..., 0]


class DirectNetwork(nn.Module):
    """As neuralforecast's: a dictionary in, ``[B, H, 1]`` out; the scaler is beside ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.scaler = RobustScaler()
        self.hist_encoder = nn.GRU(1, 10, batch_first=True)
        self.mlp_decoder = nn.Sequential(nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, windows_batch: dict[str, Tensor | None]) -> Tensor:
        y = windows_batch["insample_y"]
        assert y is not None
        hidden, _ = self.hist_encoder(y)
        return self.mlp_decoder(hidden[:, -3:])


class RecurrentNetwork(nn.Module):
    """As darts' ``RNNModel``: a tuple and a state in, ``[B, T, targets, parameters]`` and the state out."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8, batch_first=True)
        self.V = nn.Linear(8, 2)

    def forward(self, x_in: tuple[Tensor, Tensor | None, Tensor | None], h: Any = None) -> Any:
        x, _, _ = x_in
        out, last = self.rnn(x, h)
        return self.V(out).view(x.shape[0], -1, 1, 2), last


class Output(NamedTuple):
    prediction: Tensor


class EncoderNetwork(nn.Module):
    """As pytorch-forecasting's: continuous variables of the encoder in, a named tuple with the prediction out."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 8, batch_first=True)
        self.output = nn.Linear(8, 7)  # quantiles

    def forward(self, x: dict[str, Tensor]) -> Output:
        out, _ = self.lstm(x["encoder_cont"])
        return Output(prediction=self.output(out[:, -1]))


def block_lstm() -> Entry:
    """A block LSTM on windows of 8 steps: a horizon of 4 for 2 targets."""
    call = lambda module, window: module((window, None, None)).squeeze(-1)  # noqa: E731
    return Window(BlockNetwork("LSTM"), 8, 3, call=call), amounts("B", "T", 3)


def block_gru_from_zeros() -> Entry:
    """A block GRU whose windows begin with zeros."""
    call = lambda module, window: module((window, None, None)).squeeze(-1)  # noqa: E731
    return Window(BlockNetwork("GRU"), 5, 3, call=call, begin="zeros"), amounts("B", "T", 3)


def normalised_window() -> Entry:
    """A window with a scaler of its own around a GRU; the answer is its horizon of 6 steps."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(2, 8, batch_first=True)
            self.head = nn.Linear(8, 12)

        def forward(self, window: Tensor) -> Tensor:
            out, _ = self.gru(window)
            return self.head(out[:, -1]).view(-1, 6, 2)

    return Window(InstanceNorm(Inner()), 7, 2), amounts("B", "T", 2)


def direct_from_a_dictionary() -> Entry:
    """A direct forecaster that is given a dictionary, between the two ways of a scaler by the window's median."""

    def call(module: Any, window: Tensor) -> Tensor:
        last = window[:, -1:]
        scaled = module.scaler.transform((window - last)[..., None], torch.ones_like(window)[..., None])[..., 0]
        made = module({"insample_y": scaled, "insample_mask": torch.ones_like(scaled), "hist_exog": None})
        return (module.scaler.inverse_transform(made) + last).squeeze(-1)

    return Window(DirectNetwork(), 6, 1, call=call), amounts("B", "T", 1)


def quantiles_from_a_named_tuple() -> Entry:
    """Quantiles of one step ahead, out of a named tuple."""
    call = lambda module, window: module({"encoder_cont": window}).prediction  # noqa: E731
    return Window(EncoderNetwork(), 4, 2, call=call), amounts("B", "T", 2)


def state_around_a_tuple() -> Entry:
    """A network that has a state already, taken out of its tuple and of its axis of parameters."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = RecurrentNetwork()

        def forward(self, x: Tensor, state: Any = None) -> Any:
            made, state = self.network((x, None, None), state)
            return made[..., 0], state

    return Recurrent(), amounts("B", "T", 3)


def linear_on_a_window() -> Entry:
    """No recurrence at all: a trend and a rest, each by one linear layer over the window (as DLinear)."""

    class Decomposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trend, self.rest = nn.Linear(9, 4), nn.Linear(9, 4)

        def forward(self, window: Tensor) -> Tensor:
            values = window[..., 0]
            mean = values.mean(dim=1, keepdim=True)
            return self.trend(mean.expand_as(values)) + self.rest(values - mean)

    return Window(Decomposed(), 9), amounts("B", "T", 1)


def window_of_one() -> Entry:
    """The shortest window there is."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 3)

        def forward(self, window: Tensor) -> Tensor:
            return self.head(window[:, -1])

    return Window(Head(), 1, 2), amounts("B", "T", 2)
