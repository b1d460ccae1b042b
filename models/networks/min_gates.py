"""minGRU and minLSTM: gates that read the input alone, so that all steps can be computed at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.parallel import ParallelLayer, linear_scan


class MinGRU(ParallelLayer):
    """A GRU without what reads the state.

    Of Feng et al. (2024, "Were RNNs All We Needed?", section 3.1)::

        z   = sigmoid(W x_t + b)
        n   = W x_t + b
        h_t = (1 - z) * h_{t-1} + z * n

    Each of z and n has its own ``W, b``. The paper's form in logarithms, which needs positive n, is not needed here.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(hidden_size, (hidden_size,))
        self.input_weight = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.bias = nn.Parameter(torch.empty(2 * hidden_size))

    def project(self, x: Tensor) -> Tensor:
        """``W x + b`` of z and n, ``[B, T, 2 H]``."""
        return functional.linear(x, self.input_weight, self.bias)

    def one_step(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        z, n = given.chunk(2, dim=-1)
        z = torch.sigmoid(z)
        h = (1 - z) * states[0] + z * n
        return h, h

    def all_steps(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        z, n = given.chunk(2, dim=-1)
        z = torch.sigmoid(z)
        h = linear_scan(1 - z, z * n, states[0])
        return h, h[:, -1]


class MinLSTM(ParallelLayer):
    """An LSTM without what reads the state, whose two gates add up to one.

    Of Feng et al. (2024, "Were RNNs All We Needed?", section 3.2)::

        f, i = sigmoid(W x_t + b)
        n    = W x_t + b
        h_t  = f / (f + i) * h_{t-1} + i / (f + i) * n

    Each of f, i and n has its own ``W, b``. Where both gates are shut the quotient still is what it tends to.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(hidden_size, (hidden_size,))
        self.input_weight = nn.Parameter(torch.empty(3 * hidden_size, input_size))
        self.bias = nn.Parameter(torch.empty(3 * hidden_size))

    def set_forget_bias(self, value: float) -> None:
        """Of the gate f."""
        with torch.no_grad():
            self.bias[: self.output_size] = value

    def project(self, x: Tensor) -> Tensor:
        """``W x + b`` of f, i and n, ``[B, T, 3 H]``."""
        return functional.linear(x, self.input_weight, self.bias)

    def one_step(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        kept, n = _kept_and_new(given)
        h = kept * states[0] + (1 - kept) * n
        return h, h

    def all_steps(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        kept, n = _kept_and_new(given)
        h = linear_scan(kept, (1 - kept) * n, states[0])
        return h, h[:, -1]


def _kept_and_new(given: Tensor) -> tuple[Tensor, Tensor]:
    """``f / (f + i)`` and n. With ``f = 1 / (1 + F)`` and ``i = 1 / (1 + I)`` it is ``(1 + I) / (1 + F + 1 + I)``; all
    of it divided by the largest, it neither overflows nor vanishes.
    """
    f, i, n = given.chunk(3, dim=-1)
    largest = torch.maximum(torch.maximum(-f, -i), torch.zeros_like(f))
    one = torch.exp(-largest)
    of_f, of_i = one + torch.exp(-f - largest), one + torch.exp(-i - largest)
    return of_i / (of_f + of_i), n
