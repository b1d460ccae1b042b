"""Linear recurrent units: a complex diagonal state, kept as pairs of reals."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.parallel import ParallelLayer, linear_scan

# Below it the square root's slope would be without bound, as of an a that has learned to forget nothing.
_LEAST_NEW = 1e-6


class DiagonalLayer(ParallelLayer):
    """A layer whose complex state is turned and shrunk, each number by itself, and read out linearly.

    ::

        h_t = a * h_{t-1} + B x_t
        y_t = Re(C h_t) + D x_t

    ONNX has no complex numbers to serve, so the state is two, ``re`` and ``im``, each ``[1, B, N]``. Subclasses bring
    a, B and C, and what becomes of y.
    """

    state_names = ("re", "im")

    def __init__(self, input_size: int, hidden_size: int, state_size: int) -> None:
        super().__init__(hidden_size, (state_size, state_size))
        self.state_size = state_size
        self.direct_weight = nn.Parameter(torch.empty(hidden_size, input_size))

    def turned(self) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of a, each ``[N]``."""
        raise NotImplementedError

    def input_matrix(self) -> Tensor:
        """B, ``[2 N, F]``: real parts, imaginary parts."""
        raise NotImplementedError

    def output_matrix(self) -> Tensor:
        """C, ``[H, 2 N]``: real parts, and imaginary parts with their signs changed."""
        raise NotImplementedError

    def shown(self, y: Tensor) -> Tensor:
        """What the layer gives of ``y [..., H]``."""
        raise NotImplementedError

    def project(self, x: Tensor) -> Tensor:
        """``B x`` and ``D x``, ``[B, T, 2 N + H]``."""
        return functional.linear(x, torch.cat([self.input_matrix(), self.direct_weight]))

    def one_step(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        (re, im), (a_re, a_im) = states, self.turned()
        b_re, b_im, direct = self._apart(given)
        re, im = a_re * re - a_im * im + b_re, a_re * im + a_im * re + b_im
        return self.shown(functional.linear(torch.cat([re, im], dim=-1), self.output_matrix()) + direct), re, im

    def all_steps(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        b_re, b_im, direct = self._apart(given)
        a = torch.complex(*self.turned()).expand(1, given.shape[1], -1)
        h = linear_scan(a, torch.complex(b_re, b_im), torch.complex(states[0], states[1]))
        read = functional.linear(torch.cat([h.real, h.imag], dim=-1), self.output_matrix())
        return self.shown(read + direct), h.real[:, -1], h.imag[:, -1]

    def _apart(self, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b_re, b_im, direct = torch.split(given, [self.state_size, self.state_size, self.output_size], dim=-1)
        return b_re, b_im, direct


class LRU(DiagonalLayer):
    """A linear recurrent unit, and the gated linear unit behind it.

    Of Orvieto et al. (2023, "Resurrecting Recurrent Neural Networks for Long Sequences"), with N complex numbers::

        a   = exp(-exp(v) + i exp(w)),  |a| < 1
        h_t = a * h_{t-1} + sqrt(1 - |a|^2) * (B x_t)
        y_t = Re(C h_t) + D x_t
        o_t = (W y_t + b) * sigmoid(W' y_t + b')

    At first ``|a|`` lies between 0.9 and 0.999, and a may turn by any angle below pi / 10 (a ring near the unit circle,
    and small phases for long memory). The paper's blocks have normalisation and a residual besides.
    """

    _RING, _MAX_PHASE = (0.9, 0.999), math.pi / 10

    def __init__(self, input_size: int, hidden_size: int, state_size: int | None = None) -> None:
        state_size = state_size or hidden_size
        super().__init__(input_size, hidden_size, state_size)
        self.log_shrinking = nn.Parameter(torch.empty(state_size))
        self.log_phase = nn.Parameter(torch.empty(state_size))
        self.input_weight = nn.Parameter(torch.empty(2 * state_size, input_size))
        self.output_weight = nn.Parameter(torch.empty(hidden_size, 2 * state_size))
        self.gate_weight = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        self.gate_bias = nn.Parameter(torch.empty(2 * hidden_size))

    @torch.no_grad()
    def set_time_scales(self) -> None:
        """``|a|`` and phase even over the ring."""
        least, most = self._RING
        square = torch.rand(self.state_size) * (most**2 - least**2) + least**2
        self.log_shrinking.copy_(torch.log(-0.5 * torch.log(square)))
        self.log_phase.copy_(torch.log(self._MAX_PHASE * (torch.rand(self.state_size) + 1e-3)))

    def turned(self) -> tuple[Tensor, Tensor]:
        """As above."""
        length, phase = torch.exp(-torch.exp(self.log_shrinking)), torch.exp(self.log_phase)
        return length * torch.cos(phase), length * torch.sin(phase)

    def input_matrix(self) -> Tensor:
        """``sqrt(1 - |a|^2) B``."""
        scale = torch.sqrt((1 - torch.exp(-2 * torch.exp(self.log_shrinking))).clamp(min=_LEAST_NEW))
        return torch.cat([scale, scale]).unsqueeze(1) * self.input_weight

    def output_matrix(self) -> Tensor:
        """C."""
        return self.output_weight

    def shown(self, y: Tensor) -> Tensor:
        """The gated linear unit."""
        value, gate = functional.linear(y, self.gate_weight, self.gate_bias).chunk(2, dim=-1)
        return value * torch.sigmoid(gate)
