"""A language model: which symbol comes next, by an LSTM over the symbols so far.

It keeps the recurrent contract, ``forward(codes, *state) -> (scores, *state)`` and ``initial_state(batch_size)``, and
generates by itself: what it chose goes in as the next code (Graves, 2013, "Generating Sequences With Recurrent Neural
Networks"). The symbol that ends a sequence, ``y_T``, also stands before its first as ``y_0``, so that one code says
"nothing yet"::

    p(y_1 .. y_T)  = product over t of p(y_t | y_<t)
    h_t, c_t       = g(e(y_{t-1}), h_{t-1}, c_{t-1})    stacked LSTM (models/networks/encoders.py), h_0 = c_0 = 0
    p(y_t | y_<t)  = softmax(W h_t + b)                 h_t of the last layer
"""

from __future__ import annotations

from torch import Tensor, nn

from ostinato.models.networks.encoders import recurrent_layers
from ostinato.models.recipe import Count, Fraction, Section


class LanguageModelRecipe(Section):
    """Sizes; ``dropout`` is of what comes out of each layer."""

    embedding_size: Count = 32
    hidden_size: Count = 128
    num_layers: Count = 1
    dropout: Fraction = 0.0


class LanguageModel(nn.Module):
    """Embedding, stacked LSTM (Hochreiter and Schmidhuber, 1997), and a score for each symbol.

    Args:
        num_codes: V, how many symbols there are.
    """

    def __init__(self, num_codes: int, recipe: LanguageModelRecipe) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_codes, recipe.embedding_size)
        self.layers = recurrent_layers(
            "lstm", recipe.embedding_size, recipe.hidden_size, recipe.num_layers, dropout=recipe.dropout
        )
        self.dropout = nn.Dropout(recipe.dropout)
        self.head = nn.Linear(recipe.hidden_size, num_codes)

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """H and c ``[L, B, H]`` of sequences that have not begun."""
        h = self.head.weight.new_zeros(self.layers.num_layers, batch_size, self.layers.hidden_size)
        return h, h.clone()

    def forward(self, codes: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``codes`` int64 ``[B, T]`` to what comes after each of them: log-probabilities up to a constant.

        Returns:
            scores ``[B, T, V]``, and the states after the last code.
        """
        hidden, (h_next, c_next) = self.layers(self.embedding(codes), (h, c))
        return self.head(self.dropout(hidden)), h_next, c_next
