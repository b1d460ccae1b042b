"""ParallelLayer: a layer that learns from all steps at once, and is served one step after the other."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import Tensor

from ostinato.models.networks.layer import Keep, SteppedLayer

# Numbers of a state of all rows up to which steps are paired.
_FEW = 1024


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
        # What is carried along all steps at once has the states' precision, whatever that of the products is.
        given = self.project(x).to(states[0].dtype)
        y, *after = self.all_steps(given, tuple(state[0] for state in states))
        return (y, *(state.unsqueeze(0) for state in after))


def linear_scan(
    factors: Tensor, added: Tensor, before: Tensor, times: Callable[[Tensor, Tensor], Tensor] = operator.mul
) -> Tensor:
    """``h_t = a_t h_{t-1} + b_t`` for all t.

    Steps of few numbers are paired, and pairs again (Blelloch, 1990, "Prefix sums and their applications"), in as many
    rounds as T has binary digits; steps of many are done one after the other, which moves less memory: on a CPU, of 64
    rows and 50 steps with 64 units that takes two thirds of the time, of one row and 1,000 steps five times as long.
    It divides by nothing and takes no logarithms, so numbers of any sign, complex ones and matrices do.

    Args:
        factors: a, ``[B or 1, T, ...]``.
        added: b, ``[B, T, ...]``.
        before: ``h_0``, ``[B, ...]``.
        times: how a is applied: element by element, or ``torch.matmul``.

    Returns:
        h, ``[B, T, ...]``.
    """
    if before.numel() > _FEW:
        return _one_by_one(factors, added, before, times)
    first = added[:, :1] + times(factors[:, :1], before.unsqueeze(1))
    return _by_pairs(factors, torch.cat([first, added[:, 1:]], dim=1), times)


def _one_by_one(factors: Tensor, added: Tensor, before: Tensor, times: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    h, made = before, []
    for a, b in zip(factors.unbind(1), added.unbind(1), strict=True):
        h = times(a, h) + b
        made.append(h)
    return torch.stack(made, dim=1)


def _by_pairs(factors: Tensor, added: Tensor, times: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The same, the first step's a being of no matter."""
    num_steps = added.shape[1]
    if num_steps == 1:
        return added
    end = num_steps - num_steps % 2
    a, b = factors[:, 1::2], added[:, 1::2]
    # What each odd step makes of the state two steps before it.
    odd = _by_pairs(times(a, factors[:, :end:2]), times(a, added[:, :end:2]) + b, times)
    later = added[:, 2::2]
    even = torch.cat([added[:, :1], times(factors[:, 2::2], odd[:, : later.shape[1]]) + later], dim=1)
    both = torch.stack([even[:, : odd.shape[1]], odd], dim=2).flatten(1, 2)
    return both if end == num_steps else torch.cat([both, even[:, -1:]], dim=1)
