"""Echo state networks: a large recurrent layer that never learns, and a linear read-out found in closed form."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.layer import Keep, SteppedLayer
from ostinato.models.recipe import Count, Fraction, Positive, Section


class EchoStateRecipe(Section):
    """A reservoir.

    ``reservoir_size``: N. ``spectral_radius``: the largest absolute eigenvalue of its recurrent weights.
    ``sparsity``: the fraction of them that are 0.
    ``input_scaling``, ``bias_scaling``, ``feedback_scaling``: the largest weight from the input, of the bias, and from
    the output that is fed back; 0 = there is none.
    ``leak``: how much of a state is new at each step.
    ``ridge``: what the read-out's squared weights cost.
    ``washout_steps``: how many steps at the beginning of each sequence the read-out does not learn from.
    """

    reservoir_size: Count = 300
    spectral_radius: Positive = 0.9
    sparsity: Fraction = 0.9
    input_scaling: Positive = 0.5
    bias_scaling: Annotated[float, Field(ge=0)] = 0.1
    feedback_scaling: Annotated[float, Field(ge=0)] = 0.0
    leak: Annotated[float, Field(gt=0, le=1)] = 1.0
    ridge: Positive = 1e-6
    washout_steps: Annotated[int, Field(ge=0)] = 100


class Reservoir(SteppedLayer):
    """A recurrent layer of random weights that never learn, of which any input leaves its echo.

    Of Jaeger (2001, "The 'echo state' approach to analysing and training recurrent neural networks"), with units that
    leak (Jaeger et al., 2007, "Optimization and applications of echo state networks with leaky-integrator neurons")::

        s_t = (1 - a) s_{t-1} + a tanh(W_in u_t + W s_{t-1} + b)

    ``W`` is sparse, uniform, and scaled to its spectral radius. What is fed back, is part of ``u``.
    """

    input_weight: Tensor
    recurrent_weight: Tensor
    bias: Tensor
    state_names = ("echo",)

    def __init__(self, recipe: EchoStateRecipe, input_size: int, num_fed_back: int = 0) -> None:
        super().__init__(recipe.reservoir_size, (recipe.reservoir_size,))
        size = recipe.reservoir_size
        self.leak = recipe.leak
        scales = torch.tensor([recipe.input_scaling] * input_size + [recipe.feedback_scaling] * num_fed_back)
        self.register_buffer("input_weight", _uniform(size, input_size + num_fed_back) * scales)
        self.register_buffer("bias", _uniform(size) * recipe.bias_scaling)
        self.register_buffer("recurrent_weight", _reservoir(size, recipe.sparsity, recipe.spectral_radius))

    def project(self, x: Tensor) -> Tensor:
        """``W_in u + b``, ``[B, T, N]``."""
        return functional.linear(x, self.input_weight, self.bias)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        (s,) = states
        new = torch.tanh(given + functional.linear(keep(s), self.recurrent_weight))
        s = new if self.leak == 1.0 else (1 - self.leak) * s + self.leak * new
        return s, s


class EchoStateNetwork(SteppedLayer):
    """A reservoir and its linear read-out, whose outputs may be fed back.

    ::

        s_t = as Reservoir has it, of [u_t; y_{t-1}]
        y_t = V [u_t; s_t] + c

    ``fit`` finds ``V, c`` by ridge regression, in one step and without a gradient.

    Args:
        output_size: O.
    """

    def __init__(self, recipe: EchoStateRecipe, input_size: int, output_size: int) -> None:
        feeds_back = recipe.feedback_scaling != 0.0
        super().__init__(output_size, (recipe.reservoir_size, output_size) if feeds_back else (recipe.reservoir_size,))
        self.recipe, self.feeds_back = recipe, feeds_back
        self.state_names = ("echo", "fed_back") if feeds_back else ("echo",)
        self.reservoir = Reservoir(recipe, input_size, output_size if feeds_back else 0)
        self.readout = nn.Linear(input_size + recipe.reservoir_size, output_size).requires_grad_(False)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        heard = torch.cat([given, states[1]], dim=-1) if self.feeds_back else given
        s, _ = self.reservoir.step(self.reservoir.project(heard), states[:1], keep)
        y = self.readout(torch.cat([given, s], dim=-1))
        return (y, s, y) if self.feeds_back else (y, s)

    @torch.no_grad()
    def fit(self, x: Tensor, targets: Tensor) -> None:
        """Learn the read-out; what is fed back meanwhile is the true output of the step before.

        Args:
            x: ``[B, T, F]``, T more than the washout's steps.
            targets: ``[B, T, O]``.
        """
        before = torch.cat([torch.zeros_like(targets[:, :1]), targets[:, :-1]], dim=1)
        heard = torch.cat([x, before], dim=-1) if self.feeds_back else x
        echoes, _ = self.reservoir(heard, *self.reservoir.initial_state(len(x)))
        seen = torch.cat([x, echoes], dim=-1)[:, self.recipe.washout_steps :].flatten(0, 1)
        wanted = targets[:, self.recipe.washout_steps :].flatten(0, 1)
        weight, bias = ridge_regression(seen, wanted, self.recipe.ridge)
        self.readout.weight.copy_(weight)
        self.readout.bias.copy_(bias)


def ridge_regression(seen: Tensor, wanted: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """The linear map of least squared errors plus ``ridge`` times its squared weights, in float64.

    With both centred at their means, which is what leaves the bias free (Hoerl and Kennard, 1970)::

        V = (S' S + ridge I)^-1 S' Y,       c = mean(y) - V mean(s)

    Args:
        seen: S, ``[n, N]``.
        wanted: Y, ``[n, O]``.

    Returns:
        V ``[O, N]`` and c ``[O]``.
    """
    s, y = seen.double(), wanted.double()
    s_mean, y_mean = s.mean(dim=0), y.mean(dim=0)
    s, y = s - s_mean, y - y_mean
    weight = torch.linalg.solve(s.T @ s + ridge * torch.eye(s.shape[1]).to(s), s.T @ y).T
    return weight, y_mean - weight @ s_mean


def _uniform(*shape: int) -> Tensor:
    return torch.empty(shape).uniform_(-1.0, 1.0)


def _reservoir(size: int, sparsity: float, spectral_radius: float) -> Tensor:
    weight = torch.where(torch.rand(size, size) < sparsity, 0.0, _uniform(size, size))
    radius = float(torch.linalg.eigvals(weight.double()).abs().max())
    # So few weights that no circle is among them: all eigenvalues are 0, and nothing echoes however it is scaled.
    return weight if radius < 1e-12 else weight * (spectral_radius / radius)
