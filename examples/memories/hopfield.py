"""A Hopfield network: a session is shown a damaged pattern once, and recalls the whole one step by step.

python -m examples.memories.hopfield --repository repository
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.memories.exporting import export_from_command_line
from ostinato.service.artifact.tensors import Input

LETTERS = {
    "J": ("#######", "...#...", "...#...", "...#...", "...#...", "#..#...", "###...."),
    "X": ("#.....#", ".#...#.", "..#.#..", "...#...", "..#.#..", ".#...#.", "#.....#"),
    "C": (".#####.", "#.....#", "#......", "#......", "#......", "#.....#", ".#####."),
}
NUM_UNITS = 49


def pattern_of(letter: str) -> Tensor:
    """1 where it is drawn and -1 elsewhere, ``[N]``."""
    return torch.tensor([1.0 if dot == "#" else -1.0 for row in LETTERS[letter] for dot in row])


class Hopfield(nn.Module):
    """Units of 1 and -1 that each ask all others.

    Of Hopfield (1982, "Neural networks and physical systems with emergent collective computational abilities"), all
    units at once, with what is shown besides::

        W   = sum over patterns p of p p^T, nothing of a unit to itself
        f   = W s_{t-1} + N x_t
        s_t = sign(f), and what it was where f is 0

    Whole numbers far below 2^24: no sum is ever rounded.
    """

    weight: Tensor

    def __init__(self, patterns: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", patterns.T @ patterns * (1 - torch.eye(patterns.shape[1])))

    def initial_state(self, batch_size: int) -> Tensor:
        """Nothing in mind, ``[B, N]``."""
        return self.weight.new_zeros(batch_size, len(self.weight))

    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """``x [B, T, N]``: 1, -1, or 0 for a unit of which nothing is shown; to what is in mind, ``[B, T, N]``."""
        recalled = []
        for shown in x.unbind(1):
            field = nn.functional.linear(s, self.weight) + len(self.weight) * shown
            s = torch.where(field == 0, s, torch.sign(field))
            recalled.append(s)
        return torch.stack(recalled, dim=1), s


def build() -> Hopfield:
    """A network that knows the letters."""
    return Hopfield(torch.stack([pattern_of(letter) for letter in LETTERS]))


FEATURES = tuple(f"x{number}" for number in range(NUM_UNITS))
INPUTS = Input(name="shown", dtype="float32", shape=("B", "T", NUM_UNITS), features=FEATURES)

if __name__ == "__main__":
    export_from_command_line(build(), INPUTS, "hopfield", state_names=("s",))
