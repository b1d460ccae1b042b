"""ParallelLayer: a layer that learns from all steps at once, and is served one step after the other."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import Tensor

from ostinato.models.networks.layer import Keep, SteppedLayer


class ParallelLayer(SteppedLayer):
    """A layer with two forms of the same equations: ``all_steps`` in training; in evaluation ``one_step``, of which the
    exporter makes a ``Scan``.

    Subclasses bring both. What they carry along time is read through no weights, so recurrent dropout has no place.
    """

    def __init__(self, output_size: int, state_sizes: tuple[int | tuple[int, ...], ...]) -> None:
        super().__init__(output_size, state_sizes)

    def one_step(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """One step, as ``step`` has it."""
        raise NotImplementedError

    def all_steps(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """All steps, ``given [B, T, G]`` and states ``[B, size]`` to outputs ``[B, T, O]`` and the last states."""
        raise NotImplementedError

    def step(self, given: Tensor, states: tuple[Tensor, ...], _keep: Keep) -> tuple[Tensor, ...]:
        """One step."""
        return self.one_step(given, states)

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """As ``Layer`` says."""
        if not self.training:
            return super().forward(x, *states)
        y, *after = self.all_steps(self.project(x), tuple(state[0] for state in states))
        return (y, *(state.unsqueeze(0) for state in after))


def linear_scan(
    factors: Tensor, added: Tensor, before: Tensor, times: Callable[[Tensor, Tensor], Tensor] = operator.mul
) -> Tensor:
    """``h_t = a_t h_{t-1} + b_t`` for all t, in as many rounds as T has binary digits.

    By doubling (Hillis and Steele, 1986, "Data parallel algorithms"): after round k each step knows what came of the
    last ``2^k``. It divides by nothing and takes no logarithms, so numbers of any sign, complex ones and matrices do.

    Args:
        factors: a, ``[B or 1, T, ...]``.
        added: b, ``[B, T, ...]``.
        before: ``h_0``, ``[B, ...]``.
        times: how a is applied: element by element, or ``torch.matmul``.

    Returns:
        h, ``[B, T, ...]``.
    """
    first = added[:, :1] + times(factors[:, :1], before.unsqueeze(1))
    h = torch.cat([first, added[:, 1:]], dim=1)
    known = 1
    while known < h.shape[1]:
        h = torch.cat([h[:, :known], h[:, known:] + times(factors[:, known:], h[:, :-known])], dim=1)
        factors = torch.cat([factors[:, :known], times(factors[:, known:], factors[:, :-known])], dim=1)
        known *= 2
    return h
