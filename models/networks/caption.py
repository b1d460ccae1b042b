"""A caption: a small picture through a convolutional encoder, and its text symbol by symbol out of a GRU.

The shape of "Show and Tell" (Vinyals et al., 2015): the picture is seen once, as the decoder's first state, and the
decoder continues from its own symbols. It keeps the contract of an encoder-decoder with a fixed context:
``encode(source) -> ((), states)`` and ``decode(previous, states, (), None) -> (scores, states, None)``::

    h_0               = tanh(W_0 f(x / x_max) + b_0)  x the picture, f the convolutions
    h_t               = g(e(y_{t-1}), h_{t-1})       GRU (models/networks/encoders.py)
    p(y_t | y_<t, x)  = softmax(W h_t + b)
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

PictureShape: TypeAlias = tuple[int, int, int]
"""Channels, height and width."""


class ImageEncoder(nn.Module):
    """Two layers of 3x3 convolution, each followed by the maximum of 2x2 (LeCun et al., 1998, in small).

    Args:
        shape: C, H, W of the pictures.
        most: the largest number in them.
    """

    def __init__(self, num_channels: int, output_size: int, dropout: float, shape: PictureShape, most: float) -> None:
        super().__init__()
        self.shape, self.most = shape, most
        channels, height, width = shape
        self.layers = nn.Sequential(
            nn.Conv2d(channels, num_channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(num_channels, 2 * num_channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        # Each side is halved twice.
        self.head = nn.Linear(2 * num_channels * (height // 2 // 2) * (width // 2 // 2), output_size)
        # With less, so little of the picture comes through that the decoder learns the names' letters without it.
        for convolution in (self.layers[0], self.layers[3]):
            nn.init.kaiming_normal_(convolution.get_parameter("weight"), nonlinearity="relu")
        nn.init.xavier_normal_(self.head.weight, nn.init.calculate_gain("tanh"))

    def forward(self, pixels: Tensor) -> Tensor:
        """``pixels [B, C, H, W]``, or ``[B, H, W]`` of one channel, to ``[B, output_size]``, as a GRU's state is."""
        image = (pixels / self.most).reshape(-1, *self.shape)
        features: Tensor = self.head(self.layers(image))
        return torch.tanh(features)


class Captioner(nn.Module):
    """From pictures to scores of symbols.

    Args:
        shape, most: of the pictures, as ``ImageEncoder`` has them.
        num_codes: V, how many symbols an output chooses from.
        num_channels: of the first convolution; the second has twice as many.
        embedding_size: numbers that stand for a symbol.
        hidden_size: H of the decoder's GRU.
        dropout: fraction of the picture's features that is left out in training.
    """

    def __init__(
        self,
        num_codes: int,
        num_channels: int,
        embedding_size: int,
        hidden_size: int,
        dropout: float = 0.0,
        *,
        shape: PictureShape,
        most: float,
    ) -> None:
        super().__init__()
        self.state_names = ("h",)
        self.encoder = ImageEncoder(num_channels, hidden_size, dropout, shape, most)
        self.embedding = nn.Embedding(num_codes, embedding_size)
        self.decoder = nn.GRU(embedding_size, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, num_codes)

    def encode(self, source: Tensor) -> tuple[tuple[()], tuple[Tensor]]:
        """``source`` float32 ``[B, C, H, W]``, or ``[B, H, W]`` of one channel, in raw units, to h ``[1, B, H]``."""
        return (), (self.encoder(source).unsqueeze(0),)

    def decode(
        self, previous: Tensor, states: tuple[Tensor], _memory: tuple[()] = (), _lengths: None = None
    ) -> tuple[Tensor, tuple[Tensor], None]:
        """One letter: ``previous`` int64 ``[B]`` and h ``[1, B, H]`` to scores ``[B, V]`` and the next h."""
        scores, states = self._steps(previous.unsqueeze(1), states)
        return scores.squeeze(1), states, None

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Scores ``[B, T, V]`` where the letters before each are given, ``previous`` int64 ``[B, T]``."""
        _, states = self.encode(source)
        return self._steps(previous, states)[0]

    def _steps(self, previous: Tensor, states: tuple[Tensor]) -> tuple[Tensor, tuple[Tensor]]:
        hidden, last = self.decoder(self.embedding(previous), states[0])
        return self.head(hidden), (last,)


@torch.no_grad()
def spell(network: Captioner, source: Tensor, start: int, stop: int, max_steps: int) -> list[list[int]]:
    """The likeliest symbol in each step, fed back, until ``stop`` or ``max_steps`` symbols; ``stop`` is left out.

    Args:
        source: float32 ``[B, C, H, W]``.

    Returns:
        B lists of codes.
    """
    _, states = network.encode(source)
    previous = torch.full((len(source),), start, device=source.device)
    steps = []
    for _ in range(max_steps):
        scores, states, _ = network.decode(previous, states)
        previous = scores.argmax(dim=-1)
        steps.append(previous)
    rows: list[list[int]] = torch.stack(steps, dim=1).tolist()
    return [row[: row.index(stop)] if stop in row else row for row in rows]
