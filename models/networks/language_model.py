"""A language model: which symbol comes next, by recurrent layers over the symbols so far.

It keeps the recurrent contract, ``forward(codes, *state) -> (scores, *state)`` and ``initial_state(batch_size)``, and
generates by itself: what it chose goes in as the next code (Graves, 2013, "Generating Sequences With Recurrent Neural
Networks"). The symbol that ends a sequence, ``y_T``, also stands before its first as ``y_0``, so that one code says
"nothing yet"::

    p(y_1 .. y_T)  = product over t of p(y_t | y_<t)
    h_t, c_t       = g(e(y_{t-1}), h_{t-1}, c_{t-1})    stacked layers (models/networks/layers.py), here of an LSTM
    p(y_t | y_<t)  = softmax(W h_t + b)                 h_t of the last layer
"""

from __future__ import annotations

from torch import Tensor, nn

from ostinato.models.networks.layers import LayersRecipe, build_layers
from ostinato.models.recipe import Count


class LanguageModelRecipe(LayersRecipe):
    """Sizes and cells; ``dropout`` is of what comes out of each layer, the last one too.

    ``embedding_size``: numbers that represent a symbol.
    """

    embedding_size: Count = 32
    hidden_size: Count = 128


class LanguageModel(nn.Module):
    """Embedding, stacked recurrent layers, and a score for each symbol.

    Args:
        num_codes: V, how many symbols there are.
    """

    def __init__(self, num_codes: int, recipe: LanguageModelRecipe) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_codes, recipe.embedding_size)
        self.layers = build_layers(recipe, recipe.embedding_size)
        self.dropout = nn.Dropout(recipe.dropout)
        self.head = nn.Linear(self.layers.output_size, num_codes)
        self.state_names = self.layers.state_names

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The layers' states of sequences that have not begun, each ``[L, B, H]``."""
        return self.layers.initial_state(batch_size)

    def forward(self, codes: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """``codes`` int64 ``[B, T]`` to what comes after each of them: log-probabilities up to a constant.

        Returns:
            scores ``[B, T, V]``, and the states after the last code.
        """
        hidden, *after = self.layers(self.embedding(codes), *states)
        return (self.head(self.dropout(hidden)), *after)
