"""Networks of frames: an LSTM whose states are pictures, and an LSTM over what a small CNN sees in each frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.activations import GATE_ACTIVATIONS, GateActivation
from ostinato.models.networks.layer import Layer
from ostinato.models.networks.layers import Layers


class ConvLSTM2D(Layer):
    """An LSTM over frames, whose products are convolutions, so that its states are pictures.

    Of Shi et al. (2015, "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting"), with
    ``#`` a convolution that keeps the size; without peepholes, as ``ConvLSTM2D`` of Keras::

        i, f, o = s(W # x_t + U # h_{t-1} + b)
        c_t = f * c_{t-1} + i * tanh(W # x_t + U # h_{t-1} + b)
        h_t = o * tanh(c_t)

    ``forward(x [B, T, C, P, Q], h, c) -> (y [B, T, K, P, Q], h, c)``, h and c ``[1, B, K, P, Q]``.

    Args:
        in_channels, hidden_channels: C and K.
        frame_size: P and Q.
        kernel_size: of both convolutions, odd.
    """

    state_names = ("h", "c")

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        frame_size: tuple[int, int],
        kernel_size: int = 3,
        *,
        gate_activation: GateActivation = "sigmoid",
    ) -> None:
        super().__init__()
        self.output_size = hidden_channels
        self.frame_size = frame_size
        self.padding = kernel_size // 2
        field = (kernel_size, kernel_size)
        self.input_weight = nn.Parameter(torch.empty(4 * hidden_channels, in_channels, *field))
        self.recurrent_weight = nn.Parameter(torch.empty(4 * hidden_channels, hidden_channels, *field))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_channels))
        self.gate = GATE_ACTIVATIONS[gate_activation]
        nn.init.xavier_uniform_(self.input_weight)
        nn.init.orthogonal_(self.recurrent_weight)
        self.set_forget_bias(1.0)

    def set_forget_bias(self, value: float) -> None:
        """Of the gate f."""
        with torch.no_grad():
            self.bias[self.output_size : 2 * self.output_size] = value

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Zeros ``[1, B, K, P, Q]``."""
        h = self.bias.new_zeros(1, batch_size, self.output_size, *self.frame_size)
        return h, h.clone()

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """As above."""
        h, c = (state[0] for state in states)
        outputs = []
        for frame in x.unbind(1):
            read = functional.conv2d(frame, self.input_weight, self.bias, padding=self.padding)
            read = read + functional.conv2d(h, self.recurrent_weight, padding=self.padding)
            i, f, n, o = read.chunk(4, dim=1)
            c = self.gate(f) * c + self.gate(i) * torch.tanh(n)
            h = self.gate(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1), h.unsqueeze(0), c.unsqueeze(0)


class FrameEncoder(nn.Module):
    """A small CNN over each frame by itself: two times a 3x3 convolution, ReLU and the maximum of 2x2 (LeCun et al.,
    1998, in small), and what is left as a row.

    Args:
        frame_size: P and Q, each at least 4.

    Attributes:
        output_size: numbers that a frame becomes.
    """

    def __init__(self, in_channels: int, num_channels: int, frame_size: tuple[int, int]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, num_channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.output_size = num_channels * (frame_size[0] // 4) * (frame_size[1] // 4)

    def forward(self, frames: Tensor) -> Tensor:
        """``[B, T, C, P, Q]`` to ``[B, T, output_size]``."""
        rows: Tensor = self.layers(frames.flatten(0, 1))
        return rows.reshape(frames.shape[0], frames.shape[1], self.output_size)


class CNNLSTM(nn.Module):
    """Recurrent layers over what a CNN sees in each frame.

    Of Donahue et al. (2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and Description")::

        y_t = g(CNN(x_t), states)

    Args:
        layers: made for the encoder's ``output_size``.
    """

    def __init__(self, encoder: FrameEncoder, layers: Layers) -> None:
        super().__init__()
        self.encoder, self.layers = encoder, layers
        self.output_size, self.state_names = layers.output_size, layers.state_names

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """That of the layers."""
        return self.layers.initial_state(batch_size)

    def forward(self, frames: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``[B, T, C, P, Q]`` to ``[B, T, O]`` and the states."""
        made: tuple[Tensor, ...] = self.layers(self.encoder(frames), *states)
        return made
