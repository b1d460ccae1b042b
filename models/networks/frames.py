"""Networks of frames: a ConvLSTM that answers the next frame, and a CNN with recurrent layers that answers classes.

``x_t`` a raw frame, ``z_t = (x_t - least) / (most - least)`` by channel, cut into patches of P x P pixels as Shi et al.
(2015) do, ``g`` layers (models/networks/conv_lstm.py)::

    h_t = g(z_t, h_{t-1})
    next frame       z_{t+1} = z_t + W # h_t          with squared and absolute errors
                     z_{t+1} = s(W # h_t + b)         with the cross entropy of pixels
    class            p_t = softmax(W h_t + b)
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, TypeAlias, TypeGuard

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ostinato.models.data.frames import FrameForm
from ostinato.models.networks.conv_lstm import CNNLSTM, ConvLSTM2D, FrameEncoder
from ostinato.models.networks.ensemble import first_of
from ostinato.models.networks.layers import Layers, build_layers
from ostinato.models.networks.layers_recipe import LayersRecipe
from ostinato.models.recipe import Count

# A pixel beyond its channel's range by more than this range counts as this: states must not drown in it.
_BEYOND = 1.0


class FrameNetworkRecipe(LayersRecipe):
    """Layers over frames: any cells for labels, ConvLSTM for next frames.

    ``num_channels``: channels of each ConvLSTM's states, or of the CNN's convolutions.
    ``kernel_size``: size of the ConvLSTM's convolutions, odd; the further things move in a step, the larger it should
    be.
    ``patch_size``: P, a divisor of height and width. P x P pixels become one pixel with as many channels, which is P^2
    times faster.
    ``within_range``: whether a next frame is kept between the lowest and the highest value of each channel in the
    training part.
    """

    num_channels: Count = 16
    kernel_size: Annotated[int, Field(ge=1)] = 3
    patch_size: Count = 1
    within_range: bool = True

    @model_validator(mode="after")
    def _check_kernel(self) -> FrameNetworkRecipe:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: is {self.kernel_size}; it is odd, so that frames keep their size")
        return self


class FrameScale(nn.Module):
    """Raw frames to patches of numbers from about 0 to 1, and back.

    Args:
        least, most: of each channel.
        patch_size: P.
    """

    least: Tensor
    span: Tensor

    def __init__(self, form: FrameForm, least: tuple[float, ...], most: tuple[float, ...], patch_size: int) -> None:
        super().__init__()
        low = torch.tensor(least, dtype=torch.float32)
        span = torch.tensor(most, dtype=torch.float32) - low
        self.register_buffer("least", low[:, None, None])
        self.register_buffer("span", torch.where(span > 0, span, torch.ones_like(span))[:, None, None])
        self.form, self.patch_size = form, patch_size
        self.channels = form.channels * patch_size**2
        self.size = (form.height // patch_size, form.width // patch_size)

    def read(self, x: Tensor) -> Tensor:
        """``[B, T, *shape]`` to ``[B, T, C, H, W]``."""
        if self.form.layout == "none":
            x = x.unsqueeze(2)
        elif self.form.layout == "last":
            x = x.movedim(-1, 2)
        return ((x - self.least) / self.span).clamp(-_BEYOND, 1.0 + _BEYOND)

    def write(self, frames: Tensor) -> Tensor:
        """What ``read`` undoes."""
        frames = frames * self.span + self.least
        if self.form.layout == "none":
            return frames.squeeze(2)
        return frames.movedim(2, -1) if self.form.layout == "last" else frames

    def cut(self, frames: Tensor) -> Tensor:
        """``[B, T, C, H, W]`` to ``[B, T, C P P, H / P, W / P]``."""
        if self.patch_size == 1:
            return frames
        (rows, columns), side = self.size, self.patch_size
        parts = frames.reshape(*frames.shape[:3], rows, side, columns, side)
        return parts.permute(0, 1, 2, 4, 6, 3, 5).flatten(2, 4)

    def join(self, patches: Tensor) -> Tensor:
        """What ``cut`` undoes."""
        if self.patch_size == 1:
            return patches
        side = self.patch_size
        parts = patches.reshape(*patches.shape[:2], self.form.channels, side, side, *self.size)
        return parts.permute(0, 1, 2, 5, 3, 6, 4).flatten(5, 6).flatten(3, 4)


class FramePredictor(nn.Module):
    """ConvLSTM layers that answer each frame with the next one.

    Args:
        sigmoid: whether a pixel is a sigmoid, and not what it was and a change.
    """

    def __init__(self, scale: FrameScale, recipe: FrameNetworkRecipe, *, sigmoid: bool) -> None:
        super().__init__()
        sizes = (scale.channels, *(recipe.num_channels for _ in range(recipe.num_layers)))
        stack = [ConvLSTM2D(below, own, scale.size, recipe.kernel_size) for below, own in pairwise(sizes)]
        if recipe.forget_bias is not None:
            for layer in stack:
                layer.set_forget_bias(recipe.forget_bias)
        self.scale = scale
        self.layers = Layers(stack, recipe.dropout)
        self.head = nn.Conv2d(recipe.num_channels, scale.channels, kernel_size=1)
        self.sigmoid, self.within_range = sigmoid, recipe.within_range
        if not sigmoid:
            # At first a frame is the one before.
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.state_names = self.layers.state_names

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Zeros, as the layers have them."""
        return self.layers.initial_state(batch_size)

    def scores(self, seen: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Scaled frames ``[B, T, C, H, W]`` to the next ones, before the sigmoid where there is one, and the states."""
        hidden, *after = self.layers(self.scale.cut(seen), *states)
        made = self.head(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        change = self.scale.join(made)
        return change if self.sigmoid else seen + change, *after

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``x [B, T, *shape]`` in raw units to the frames that follow each of them, and the states."""
        made, *after = self.scores(self.scale.read(x), *states)
        made = torch.sigmoid(made) if self.sigmoid else made
        made = made.clamp(0.0, 1.0) if self.within_range and not self.sigmoid else made
        return self.scale.write(made), *after


class FrameClassifier(nn.Module):
    """A CNN of each frame, and recurrent layers that answer with a class after each.

    Args:
        num_classes: K.
    """

    def __init__(self, scale: FrameScale, recipe: FrameNetworkRecipe, num_classes: int) -> None:
        super().__init__()
        encoder = FrameEncoder(scale.channels, recipe.num_channels, scale.size)
        self.scale = scale
        self.layers = CNNLSTM(encoder, build_layers(recipe, encoder.output_size))
        self.dropout = nn.Dropout(recipe.dropout)
        self.head = nn.Linear(self.layers.output_size, num_classes)
        self.state_names = self.layers.state_names

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """That of the layers."""
        return self.layers.initial_state(batch_size)

    def scores(self, seen: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Scaled frames ``[B, T, C, H, W]`` to log-probabilities up to a constant ``[B, T, K]``, and the states."""
        hidden, *after = self.layers(self.scale.cut(seen), *states)
        return self.head(self.dropout(hidden)), *after

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``x [B, T, *shape]`` in raw units to probabilities ``[B, T, K]``, and the states."""
        scores, *after = self.scores(self.scale.read(x), *states)
        return torch.softmax(scores, dim=-1), *after


AnyFrameNetwork: TypeAlias = FramePredictor | FrameClassifier


def answers_frames(network: AnyFrameNetwork) -> TypeGuard[FramePredictor]:
    """Whether a network, or an ensemble, answers the next frame, and not classes."""
    return isinstance(first_of(network), FramePredictor)
