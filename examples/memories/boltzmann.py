"""A restricted Boltzmann machine that draws bars and stripes: a step of a session is one of Gibbs' sampling.

What is drawn at random is a state, too, begun by the seed with which a session is opened: the same seed draws the same.

python -m examples.memories.boltzmann --repository repository
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.memories.exporting import export_from_command_line
from ostinato.service.artifact.tensors import Input

SIDE = 4
NUM_VISIBLE, NUM_HIDDEN = SIDE * SIDE, 24
_MODULUS = 2**31 - 1


def bars_and_stripes() -> Tensor:
    """All pictures whose rows are each full or empty, or whose columns are, ``[30, 16]``."""
    bits = torch.tensor([[number >> place & 1 for place in range(SIDE)] for number in range(2**SIDE)])
    rows = bits.unsqueeze(2).expand(-1, -1, SIDE)
    both = torch.cat([rows.flatten(1), rows.transpose(1, 2).flatten(1)])
    return torch.tensor(sorted(set(map(tuple, both.tolist()))), dtype=torch.float32)


class Boltzmann(nn.Module):
    """Visible and hidden units that are on or off, each side given the other.

    Of Smolensky (1986), trained by contrastive divergence (Hinton, 2002, "Training Products of Experts by Minimizing
    Contrastive Divergence"). A step, with u drawn between 0 and 1 for each unit::

        h_t = [u < sigmoid(W v_{t-1} + c)]
        v_t = [u < sigmoid(W^T h_t + b)], and what is held where the input says so

    Each unit draws by a generator of its own (Park and Miller, 1988), whose number is a state: ``r' = 48271 r mod
    (2^31 - 1)``, ``u = r / (2^31 - 1)``. The numbers at first are made of the seed.
    """

    place: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(NUM_HIDDEN, NUM_VISIBLE) * 0.1)
        self.hidden_bias = nn.Parameter(torch.zeros(NUM_HIDDEN))
        self.visible_bias = nn.Parameter(torch.zeros(NUM_VISIBLE))
        self.register_buffer("place", torch.arange(1, NUM_HIDDEN + NUM_VISIBLE + 1))

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """An empty picture, ``[B, V]``, and numbers that are not drawn yet, int64 ``[B, H + V]``."""
        numbers = torch.zeros(batch_size, NUM_HIDDEN + NUM_VISIBLE, dtype=torch.int64)
        return self.weight.new_zeros(batch_size, NUM_VISIBLE), numbers.to(self.weight.device)

    def forward(self, held: Tensor, seed: Tensor, v: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``held [B, T, V]``: 0 or 1 for a dot that is held, -1 for one that is drawn; ``seed`` int64 ``[B, 1]``."""
        drawn = []
        for each in held.unbind(1):
            numbers = torch.where(numbers == 0, self._begun(seed), numbers) * 48271 % _MODULUS
            u = numbers.to(v.dtype) / _MODULUS
            h = (u[:, :NUM_HIDDEN] < self.hidden_given(v)).to(v.dtype)
            free = (u[:, NUM_HIDDEN:] < self.visible_given(h)).to(v.dtype)
            v = torch.where(each < 0, free, each)
            drawn.append(v)
        return torch.stack(drawn, dim=1), v, numbers

    def _begun(self, seed: Tensor) -> Tensor:
        """Numbers from 1 to 2^31 - 2, far apart for seeds and units that are near."""
        return ((seed % 1_000_003 + 1) * 69621 % _MODULUS * (self.place * 7919) % (_MODULUS - 1)) + 1

    def hidden_given(self, v: Tensor) -> Tensor:
        """How probably each hidden unit is on, ``[B, H]``."""
        return torch.sigmoid(functional.linear(v, self.weight, self.hidden_bias))

    def visible_given(self, h: Tensor) -> Tensor:
        """How probably each visible one is, ``[B, V]``."""
        return torch.sigmoid(functional.linear(h, self.weight.T, self.visible_bias))


@torch.no_grad()
def learn(machine: Boltzmann, pictures: Tensor, num_updates: int = 6000, rate: float = 0.1) -> None:
    """By persistent contrastive divergence (Tieleman, 2008): chains that go on from update to update."""
    chains = torch.bernoulli(torch.full((100, NUM_VISIBLE), 0.5))
    for update in range(num_updates):
        step = rate * (1 - update / num_updates)
        h = machine.hidden_given(pictures)
        for _ in range(2):
            chains = torch.bernoulli(machine.visible_given(torch.bernoulli(machine.hidden_given(chains))))
        own = machine.hidden_given(chains)
        machine.weight.add_(step * (h.T @ pictures / len(pictures) - own.T @ chains / len(chains)))
        machine.hidden_bias.add_(step * (h.mean(0) - own.mean(0)))
        machine.visible_bias.add_(step * (pictures.mean(0) - chains.mean(0)))


def build(num_updates: int = 6000) -> Boltzmann:
    """A machine that has learned bars and stripes."""
    torch.manual_seed(0)
    machine = Boltzmann()
    learn(machine, bars_and_stripes(), num_updates)
    return machine


FEATURES = [f"dot_{row}_{column}" for row in range(SIDE) for column in range(SIDE)]
INPUTS = Input.model_validate(
    {
        "name": "held",
        "dtype": "float32",
        "shape": ("B", "T", NUM_VISIBLE),
        "features": FEATURES,
        "ranges": {name: {"least": -1, "most": 1, "whole": True} for name in FEATURES},
    }
)
SEED = Input(name="seed", dtype="int64", shape=("B", 1), features=("seed",))

if __name__ == "__main__":
    export_from_command_line(build(), INPUTS, "boltzmann", context=[SEED], state_names=("v", "numbers"))
