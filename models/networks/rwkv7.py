"""RWKV-7: a memory that forgets, replaces and writes by a rule of the input's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.models.networks.parallel import ParallelLayer, linear_scan

_MOST_DECAY = math.exp(-0.5)
_LEAST_LENGTH = 1e-12
_EPSILON = 64e-5


class RWKV7(ParallelLayer):
    """The time mixing of RWKV-7, behind a linear map of the input to H units.

    Of Peng et al. (2025, "RWKV-7 'Goose' with Expressive Dynamic State Evolution", section 4.1), with heads of d units,
    ``u_t = W x_t`` and ``mix(m) = u_t + m * (u_{t-1} - u_t)``, an m for each of what follows::

        r, k, v = W mix(m)                                      receptance, key, value
        w   = exp(-exp(-1/2) sigmoid(b + tanh(mix(m) W) W'))    decay
        a   = sigmoid(b + mix(m) W W')                          learning rate in context
        g   = sigmoid(mix(m) W) W'                              output gate
        e   = k * p, of length 1 in each head;     k = k * (1 + (a - 1) * q)
        S_t = (diag(w) - (a * e) e^T) S_{t-1} + k v^T           of each head
        y_t = V (g * (norm(S_t^T r) + (r . (s * k)) v))

    norm is over each head's units. States: ``before [1, B, H]`` and ``memory [1, B, heads, d, d]``. The value residual
    of later layers and the channel mixing are no part of it.
    """

    state_names = ("before", "memory")

    def __init__(self, input_size: int, hidden_size: int, num_heads: int = 4) -> None:
        head_size = hidden_size // num_heads
        super().__init__(hidden_size, (hidden_size, (num_heads, head_size, head_size)))
        self.num_heads = num_heads
        inner = max(hidden_size // 4, 1)

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape))

        self.input_weight = weight(hidden_size, input_size)
        # Of r, k, v, w, a and g.
        self.mixes = weight(6, hidden_size)
        self.read_weight, self.key_weight, self.value_weight = (weight(hidden_size, hidden_size) for _ in range(3))
        self.decay_down, self.decay_up = weight(inner, hidden_size), weight(hidden_size, inner)
        self.rate_down, self.rate_up = weight(inner, hidden_size), weight(hidden_size, inner)
        self.gate_down, self.gate_up = weight(inner, hidden_size), weight(hidden_size, inner)
        self.decay_bias, self.rate_bias = weight(hidden_size), weight(hidden_size)
        self.erased, self.written, self.bonus = (weight(hidden_size) for _ in range(3))
        self.norm_weight, self.norm_bias = weight(hidden_size), weight(hidden_size)
        self.output_weight = weight(hidden_size, hidden_size)

    @torch.no_grad()
    def set_time_scales(self) -> None:
        """Decays from fast to slow over the units; mixes, rates and the norm as the paper's code begins."""
        place = torch.linspace(0, 1, self.output_size)
        self.decay_bias.copy_(1 - 6 * place)
        self.mixes.copy_((1 - place).expand_as(self.mixes))
        nn.init.zeros_(self.rate_bias)
        nn.init.constant_(self.erased, 0.85)
        nn.init.ones_(self.written)
        nn.init.ones_(self.norm_weight)
        nn.init.zeros_(self.norm_bias)

    def project(self, x: Tensor) -> Tensor:
        """u, ``[B, T, H]``."""
        return functional.linear(x, self.input_weight)

    def one_step(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above."""
        before, memory = states
        r, k, v, w, a, e, g = self._told(given, before)
        # The rule without its matrix: what is read along e is erased.
        erased = (a * e).unsqueeze(-1) * torch.matmul(e.unsqueeze(-2), memory)
        memory = w.unsqueeze(-1) * memory - erased + k.unsqueeze(-1) * v.unsqueeze(-2)
        return self._shown(memory, r, k, v, g), given, memory

    def all_steps(self, given: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As above, by products of the rules of all steps."""
        before = torch.cat([states[0].unsqueeze(1), given[:, :-1]], dim=1)
        r, k, v, w, a, e, g = self._told(given, before)
        rules = torch.diag_embed(w) - (a * e).unsqueeze(-1) * e.unsqueeze(-2)
        memory = linear_scan(rules, k.unsqueeze(-1) * v.unsqueeze(-2), states[1], torch.matmul)
        return self._shown(memory, r, k, v, g), given[:, -1], memory[:, -1]

    def _told(self, u: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """r, k, v, w, a, e ``[..., heads, d]`` and g ``[..., H]``."""
        of_r, of_k, of_v, of_w, of_a, of_g = (u + mix * (before - u) for mix in self.mixes)
        r, v = functional.linear(of_r, self.read_weight), functional.linear(of_v, self.value_weight)
        k = functional.linear(of_k, self.key_weight)
        decay = functional.linear(torch.tanh(functional.linear(of_w, self.decay_down)), self.decay_up, self.decay_bias)
        w = torch.exp(-_MOST_DECAY * torch.sigmoid(decay))
        a = torch.sigmoid(functional.linear(functional.linear(of_a, self.rate_down), self.rate_up, self.rate_bias))
        g = functional.linear(torch.sigmoid(functional.linear(of_g, self.gate_down)), self.gate_up)
        e = self._by_head(k * self.erased)
        # Bounded below the root, whose slope at 0 is infinite: a first step without a reading has a key of zeros.
        length = torch.sqrt((e * e).sum(dim=-1, keepdim=True).clamp(min=_LEAST_LENGTH**2))
        k = k * (1 + (a - 1) * self.written)
        r, k, v, w, a = (self._by_head(each) for each in (r, k, v, w, a))
        return r, k, v, w, a, e / length, g

    def _by_head(self, units: Tensor) -> Tensor:
        return torch.unflatten(units, -1, (self.num_heads, -1))

    def _shown(self, memory: Tensor, r: Tensor, k: Tensor, v: Tensor, g: Tensor) -> Tensor:
        read = torch.matmul(r.unsqueeze(-2), memory).squeeze(-2)
        centred = read - read.mean(dim=-1, keepdim=True)
        spread = torch.sqrt((centred * centred).mean(dim=-1, keepdim=True) + _EPSILON)
        normal = (centred / spread).flatten(-2) * self.norm_weight + self.norm_bias
        bonus = (r * k * self._by_head(self.bonus)).sum(dim=-1, keepdim=True) * v
        return functional.linear((normal + bonus.flatten(-2)) * g, self.output_weight)
