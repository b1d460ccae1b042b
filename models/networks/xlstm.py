"""xLSTM's two cells: sLSTM, with gates that are exponentials, and mLSTM, whose memory is a matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.layer import Keep, SteppedLayer
from ostinato.models.networks.parallel import ParallelLayer

_LEAST_LOGARITHM = -80.0


class SLSTM(SteppedLayer):
    """An LSTM with exponential gates, a normaliser n and a stabiliser m.

    Of Beck et al. (2024, "xLSTM: Extended Long Short-Term Memory", equations 8 to 17), with one head and the sigmoid
    forget gate::

        i, f, z, o = W x_t + U h_{t-1} + b      each with its own W, U, b
        m_t = max(log sigmoid(f) + m_{t-1}, i)
        i'  = exp(i - m_t),     f' = exp(log sigmoid(f) + m_{t-1} - m_t)
        c_t = f' * c_{t-1} + i' * tanh(z)
        n_t = f' * n_{t-1} + i'
        h_t = sigmoid(o) * c_t / n_t

    ``m_1 = i``, as in the paper's code: nothing is remembered yet, and n is to be 1.
    """

    state_names = ("h", "c", "n", "m")

    def __init__(self, input_size: int, hidden_size: int, *, recurrent_dropout: float = 0.0) -> None:
        super().__init__(hidden_size, (hidden_size,) * 4, recurrent_dropout)
        self.input_weight = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.recurrent_weight = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))

    def set_forget_bias(self, value: float) -> None:
        """Of the gate f."""
        with torch.no_grad():
            self.bias[self.output_size : 2 * self.output_size] = value

    def project(self, x: Tensor) -> Tensor:
        """``W x + b`` of all gates, ``[B, T, 4 H]``."""
        return functional.linear(x, self.input_weight, self.bias)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As above."""
        h, c, n, m = states
        i, f, z, o = (given + functional.linear(keep(h), self.recurrent_weight)).chunk(4, dim=-1)
        kept = torch.where(n > 0, m - functional.softplus(-f), i)
        m = torch.maximum(kept, i)
        i, f = torch.exp(i - m), torch.exp(kept - m)
        c, n = f * c + i * torch.tanh(z), f * n + i
        h = torch.sigmoid(o) * c / n
        return h, h, c, n, m


class MLSTM(ParallelLayer):
    """A memory of keys and values, a matrix for each head, that gates write to and queries read.

    Of Beck et al. (2024, "xLSTM: Extended Long Short-Term Memory", equations 19 to 27). Of each head, with d units::

        q, v = W x_t + b,       k = (W x_t + b) / sqrt(d)       vectors
        i, f = w x_t + b                                        numbers
        m_t  = max(log sigmoid(f) + m_{t-1}, i)
        i'   = exp(i - m_t),    f' = exp(log sigmoid(f) + m_{t-1} - m_t)
        C_t  = f' C_{t-1} + i' k v^T
        n_t  = f' n_{t-1} + i' k
        h_t  = sigmoid(W x_t + b) * C_t^T q / max(|n_t^T q|, exp(-m_t))

    n is C's last column: what is written there is 1. States ``memory [1, B, heads, d, d + 1]`` and
    ``m [1, B, heads, 1]``. Trained by the paper's parallel form: each step weighs all before it.
    """

    state_names = ("memory", "m")

    def __init__(self, input_size: int, hidden_size: int, num_heads: int = 4) -> None:
        head_size = hidden_size // num_heads
        super().__init__(hidden_size, ((num_heads, head_size, head_size + 1), (num_heads, 1)))
        self.num_heads = num_heads
        # Of q, k, v and the output gate, behind each other.
        self.input_weight = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        # Of i, then of f.
        self.gate_weight = nn.Parameter(torch.empty(2 * num_heads, input_size))
        self.gate_bias = nn.Parameter(torch.empty(2 * num_heads))

    @torch.no_grad()
    def set_time_scales(self) -> None:
        """Forget gates from 3 to 6, as the paper's code has them."""
        self.gate_bias[self.num_heads :] = torch.linspace(3.0, 6.0, self.num_heads)

    def set_forget_bias(self, value: float) -> None:
        """Of the gates f."""
        with torch.no_grad():
            self.gate_bias[self.num_heads :] = value

    def project(self, x: Tensor) -> Tensor:
        """All that is linear, ``[B, T, 4 H + 2 heads]``."""
        weight = torch.cat([self.input_weight, self.gate_weight])
        return functional.linear(x, weight, torch.cat([self.bias, self.gate_bias]))

    def one_step(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        q, k, v, o, i, f = self._apart(given)
        memory, m = states
        kept = m - functional.softplus(-f)
        m = torch.maximum(kept, i)
        written = (torch.exp(i - m) * k).unsqueeze(-1) * v.unsqueeze(-2)
        memory = torch.exp(kept - m).unsqueeze(-1) * memory + written
        read = torch.matmul(q.unsqueeze(-2), memory).squeeze(-2)
        return self._shown(read, m, o), memory, m

    def all_steps(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        # [B, heads, T, ...].
        q, k, v, o, i, f = (each.transpose(1, 2) for each in self._apart(given))
        memory, m = states
        since = torch.cumsum(-functional.softplus(-f), dim=2)
        before = since + m.unsqueeze(2)
        # How much a step hears of each step up to it, as logarithms, [B, heads, T, T].
        heard = since - since.transpose(2, 3) + i.transpose(2, 3)
        later = torch.ones(heard.shape[2:], dtype=torch.bool, device=heard.device).triu(1)
        heard = heard.masked_fill(later, -torch.inf)
        m = torch.maximum(before, heard.amax(dim=3, keepdim=True))
        weights, kept = torch.exp(heard - m), torch.exp(before - m)
        read = torch.matmul(weights * torch.matmul(q, k.transpose(2, 3)), v) + kept * torch.matmul(q, memory)
        written = torch.matmul((weights[:, :, -1].unsqueeze(-1) * k).transpose(2, 3), v)
        memory = kept[:, :, -1:] * memory + written
        # Beyond float32's range the divisor would have no slope; what is shown is 0 long before.
        y = self._shown(read.transpose(1, 2), m.clamp(min=_LEAST_LOGARITHM).transpose(1, 2), o.transpose(1, 2))
        return y, memory, m[:, :, -1]

    def _apart(self, given: Tensor) -> tuple[Tensor, ...]:
        """q, k, v with the 1 behind it, and o, each ``[..., heads, d]``; i and f ``[..., heads, 1]``."""
        size = self.output_size
        units, gates = given[..., : 4 * size], given[..., 4 * size :]
        q, k, v, o = (torch.unflatten(each, -1, (self.num_heads, -1)) for each in units.chunk(4, dim=-1))
        i, f = (each.unsqueeze(-1) for each in gates.chunk(2, dim=-1))
        v = torch.cat([v, torch.ones_like(i)], dim=-1)
        return q, k / math.sqrt(size // self.num_heads), v, torch.sigmoid(o), i, f

    def _shown(self, read: Tensor, m: Tensor, o: Tensor) -> Tensor:
        """What was read ``[..., heads, d + 1]`` to the output ``[..., H]``."""
        divisor = torch.maximum(read[..., -1:].abs(), torch.exp(-m))
        return (o * read[..., :-1] / divisor).flatten(-2)
