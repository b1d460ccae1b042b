"""S5: a simplified structured state space."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.lru import DiagonalLayer


class S5(DiagonalLayer):
    """A continuous linear system of N complex numbers, seen at even steps, and the gate behind it.

    Of Smith et al. (2023, "Simplified State Space Layers for Sequence Modeling")::

        a   = exp(l d),         B' = (a - 1) / l * B
        h_t = a * h_{t-1} + B' x_t
        y_t = 2 Re(C h_t) + D x_t
        o_t = gelu(y_t) * sigmoid(W gelu(y_t))

    The h are one of each pair of conjugates, hence the 2. At first l are eigenvalues of the normal part of HiPPO-LegS
    (Gu et al., 2020), B and C are turned into their basis, and the time scales d lie between 0.001 and 0.1. gelu is the
    form with tanh. The paper's blocks have normalisation and a residual besides.
    """

    _SCALES = (1e-3, 1e-1)

    def __init__(self, input_size: int, hidden_size: int, state_size: int | None = None) -> None:
        state_size = state_size or max(hidden_size // 2, 1)
        super().__init__(input_size, hidden_size, state_size)
        self.log_shrinking = nn.Parameter(torch.empty(state_size))
        self.turning = nn.Parameter(torch.empty(state_size))
        self.log_scale = nn.Parameter(torch.empty(state_size))
        self.input_weight = nn.Parameter(torch.empty(2 * state_size, input_size))
        self.output_weight = nn.Parameter(torch.empty(hidden_size, 2 * state_size))
        self.gate_weight = nn.Parameter(torch.empty(hidden_size, hidden_size))

    @torch.no_grad()
    def set_time_scales(self) -> None:
        """l, d, and B and C in the basis of l."""
        turning, basis = _legs(self.state_size)
        nn.init.constant_(self.log_shrinking, math.log(0.5))
        self.turning.copy_(turning)
        least, most = (math.log(each) for each in self._SCALES)
        self.log_scale.copy_(torch.rand(self.state_size) * (most - least) + least)
        b = torch.randn(len(basis), self.input_weight.shape[1]) / math.sqrt(self.input_weight.shape[1])
        c = torch.randn(self.output_size, len(basis)) / math.sqrt(len(basis))
        b, c = basis.conj().T @ b.to(basis), c.to(basis) @ basis
        self.input_weight.copy_(torch.cat([b.real, b.imag]))
        self.output_weight.copy_(torch.cat([c.real, -c.imag], dim=1))

    def turned(self) -> tuple[Tensor, Tensor]:
        """As above."""
        scale = torch.exp(self.log_scale)
        length, angle = torch.exp(-torch.exp(self.log_shrinking) * scale), self.turning * scale
        return length * torch.cos(angle), length * torch.sin(angle)

    def input_matrix(self) -> Tensor:
        """B'."""
        a_re, a_im = self.turned()
        l_re, l_im = -torch.exp(self.log_shrinking), self.turning
        # (a - 1) / l, by l's conjugate.
        square = l_re * l_re + l_im * l_im
        re = ((a_re - 1) * l_re + a_im * l_im) / square
        im = (a_im * l_re - (a_re - 1) * l_im) / square
        b_re, b_im = self.input_weight.chunk(2)
        re, im = re.unsqueeze(1), im.unsqueeze(1)
        return torch.cat([re * b_re - im * b_im, re * b_im + im * b_re])

    def output_matrix(self) -> Tensor:
        """2 C."""
        return 2 * self.output_weight

    def shown(self, y: Tensor) -> Tensor:
        """The gate."""
        y = functional.gelu(y, approximate="tanh")
        return y * torch.sigmoid(functional.linear(y, self.gate_weight))


def _legs(size: int) -> tuple[Tensor, Tensor]:
    """Of the normal part of HiPPO-LegS of ``2 size`` numbers, the upper of each pair of conjugates.

    Returns:
        the imaginary parts of its eigenvalues, ``[size]``, whose real parts are all -1/2, and their eigenvectors,
        complex ``[2 size, size]``.
    """
    root = torch.sqrt(2 * torch.arange(2.0 * size, dtype=torch.float64) + 1) / math.sqrt(2)
    skew = torch.triu(torch.outer(root, root), 1)
    # -1/2 I + S with S skew-symmetric, so i S is Hermitian.
    turning, basis = torch.linalg.eigh(1j * (skew - skew.T))
    return turning[size:].float(), basis[:, size:].to(torch.complex64)
