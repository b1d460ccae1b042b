"""The network of the toy kind: the next number of a series, by a GRU."""

from __future__ import annotations

from torch import Tensor, nn

from ostinato.models.recipe import Count, Section


class NextNumberNetwork(Section):
    """Sizes."""

    hidden_size: Count = 8


class NextNumber(nn.Module):
    """Keeps the recurrent contract: ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``."""

    def __init__(self, recipe: NextNumberNetwork) -> None:
        super().__init__()
        self.layers = nn.GRU(1, recipe.hidden_size, batch_first=True)
        self.head = nn.Linear(recipe.hidden_size, 1)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The hidden state ``[1, B, H]`` of sequences that have not begun."""
        return (self.head.weight.new_zeros(1, batch_size, self.layers.hidden_size),)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """``x [B, T, 1]`` to the number after each, ``[B, T, 1]``."""
        hidden, after = self.layers(x, h)
        return x + self.head(hidden), after
