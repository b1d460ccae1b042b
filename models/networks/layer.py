"""Layer: what every recurrent layer is to those that stack, train and export it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Keep: TypeAlias = Callable[[Tensor], Tensor]
"""What recurrent dropout does to the state that a step reads."""


class Layer(nn.Module):
    """A recurrent layer, or a stack of like ones.

    ``forward(x [B, T, F], *states) -> (y [B, T, O], *states)``: whatever goes from step to step is a state, so two
    chunks answer as one sequence. Every state has the batch on its second axis: ``[L, B, ...]``.

    Attributes:
        output_size: O.
        state_names: of its states, in order.
        reads_interval: whether x has one number more, the last: the time since the step before.
    """

    output_size: int
    state_names: tuple[str, ...] = ("h",)
    reads_interval = False

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """States of sequences that have not begun: zeros."""
        raise NotImplementedError

    def set_forget_bias(self, value: float) -> None:
        """Set the bias of the forget gates; nothing where there are none."""

    def set_time_scales(self) -> None:
        """Draw the weights that say how long is remembered, as the layer's paper has them at first; nothing where
        there are none but those that any initialiser draws.
        """

    def weight_like(self) -> Tensor:
        """A tensor of its dtype and device."""
        return next(each for each in (*self.parameters(), *self.buffers()) if each.is_floating_point())


class SteppedLayer(Layer):
    """A layer whose steps are Python, one after the other; the exporter makes an ONNX ``Scan`` of them.

    Subclasses bring ``step``, and ``project`` where something of the input needs no state.

    Args:
        state_sizes: features of each state, ``[1, B, size]``; of one with several axes, all of them.
        recurrent_dropout: see ``one_mask_a_sequence``.
    """

    def __init__(
        self, output_size: int, state_sizes: tuple[int | tuple[int, ...], ...], recurrent_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.state_shapes = [(size,) if isinstance(size, int) else size for size in state_sizes]
        self.recurrent_dropout = recurrent_dropout

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Zeros ``[1, B, size]``."""
        return tuple(self.weight_like().new_zeros(1, batch_size, *shape) for shape in self.state_shapes)

    def project(self, x: Tensor) -> Tensor:
        """What is known of all steps beforehand, ``[B, T, F]`` to ``[B, T, G]``; as it is given, unless overridden."""
        return x

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """One step, ``given [B, G]`` and states ``[B, size]`` to the output ``[B, O]`` and the states after it.

        Args:
            keep: what recurrent dropout leaves of the first state, for what reads it through weights.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """As ``Layer`` says."""
        after = tuple(state.squeeze(0) for state in states)
        keep = one_mask_a_sequence(self.recurrent_dropout if self.training else 0.0, after[0])
        outputs = []
        for given in self.project(x).unbind(1):
            output, *made = self.step(given, after, keep)
            outputs.append(output)
            after = tuple(made)
        return (torch.stack(outputs, dim=1), *(state.unsqueeze(0) for state in after))


def one_mask_a_sequence(rate: float, like: Tensor) -> Keep:
    """Recurrent dropout with one mask for all steps of a row (Gal and Ghahramani, 2016, "A Theoretically Grounded
    Application of Dropout in Recurrent Neural Networks"): never another one along time, which would forget.

    It is of what recurrent weights read; what a state keeps of itself is left alone.

    Args:
        rate: how probably a number is dropped; 0 = nothing is done.
        like: ``[B, H]``, the state.
    """
    if rate == 0.0:
        return _as_it_is
    mask = functional.dropout(torch.ones_like(like), rate)
    return lambda state: state * mask


def _as_it_is(state: Tensor) -> Tensor:
    return state
