"""Attention: which of the encoder's steps a decoder's step looks at.

For a query ``q`` and the encoder's outputs ``h_k``, ``k < lengths``::

    e_k     = score(q, h_k)
    alpha   = softmax(e)                    over the true source length; 0 beyond it
    context = sum over k of alpha_k h_k

What a score needs of ``h_k`` alone is computed once for each source, as its ``keys``. Sums over the source and over
the features are matrix products throughout: onnxruntime rounds those the same for any batch, and its plain sums not.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

ScoreFunction: TypeAlias = Literal["dot", "general", "cosine", "additive"]
SCORES: tuple[ScoreFunction, ...] = get_args(ScoreFunction)

# What a step beyond the source scores. Finite, so that nothing divides by zero; exp() of it is 0.
_BEYOND = -1e30
_EPSILON = 1e-6


class Attention(nn.Module):
    """Attention with one of four scores.

    - ``dot``: ``q . h_k`` (Luong et al., 2015, "Effective Approaches to Attention-based Neural Machine Translation").
    - ``general``: ``q W h_k`` (the same; bilinear).
    - ``cosine``: ``s q . h_k / (|q| |h_k|)`` with a learned ``s`` (Graves et al., 2014, "Neural Turing Machines");
      ``|x| = sqrt(x . x + 1e-6)``, so that a vector of zeros scores 0.
    - ``additive``: ``v tanh(U q + W h_k)`` (Bahdanau et al., 2015, "Neural Machine Translation by Jointly Learning to
      Align and Translate").

    Args:
        query_size, memory_size: features of ``q`` and ``h_k``; ``dot`` and ``cosine`` need them equal.
        attention_size: hidden units of ``additive``; ``query_size`` where not given.
    """

    def __init__(self, score: ScoreFunction, query_size: int, memory_size: int, attention_size: int = 0) -> None:
        super().__init__()
        if score in ("dot", "cosine") and query_size != memory_size:
            raise ValueError(
                f"the score {score!r} needs a query of {memory_size} features, as the memory; {query_size}"
            )
        self.score = score
        size = attention_size or query_size
        if score == "general":
            self.key = nn.Linear(memory_size, query_size, bias=False)
        elif score == "additive":
            self.key = nn.Linear(memory_size, size, bias=False)
            self.query = nn.Linear(query_size, size)
            self.weight = nn.Linear(size, 1, bias=False)
        elif score == "cosine":
            # Cosines lie between -1 and 1, over which a softmax is nearly flat.
            self.scale = nn.Parameter(torch.tensor(10.0))

    def keys(self, memory: Tensor) -> Tensor:
        """What the score needs of ``memory [B, S, M]``, ``[B, S, K]``; the memory itself for ``dot``."""
        if self.score == "dot":
            return memory
        if self.score == "cosine":
            return memory / _length(memory)
        keys: Tensor = self.key(memory)
        return keys

    def forward(
        self, query: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Contexts ``[B, M]`` and weights ``[B, S]`` of queries ``[B, Q]``.

        Args:
            memory: ``[B, S, M]``; what stands at and beyond ``lengths`` has no influence if it is finite.
            keys: ``keys(memory)``.
            lengths: int64 ``[B]``, from 1 to S.
            bias: ``[B, S]``, added to the scores: what a step's place is worth.
        """
        scores = self._scores(query, keys)
        if bias is not None:
            scores = scores + bias
        weights = masked_softmax(scores, lengths)
        return torch.matmul(weights.unsqueeze(1), memory).squeeze(1), weights

    def over_steps(self, queries: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, for ``T`` queries of each source at once: ``[B, T, Q]`` to ``[B, T, M]`` and ``[B, T, S]``.

        In training all the decoder's steps are known, and one product over them is faster than one a step.
        """
        weights = masked_softmax(self._scores_over_steps(queries, keys), lengths)
        return torch.matmul(weights, memory), weights

    def _scores_over_steps(self, queries: Tensor, keys: Tensor) -> Tensor:
        """``[B, T, S]``."""
        if self.score == "additive":
            hidden = torch.tanh(keys.unsqueeze(1) + self.query(queries).unsqueeze(2))
            scores: Tensor = self.weight(hidden)
            return scores.squeeze(-1)
        if self.score == "cosine":
            queries = self.scale * queries / _length(queries)
        return torch.matmul(queries, keys.transpose(1, 2))

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """``[B, S]``."""
        if self.score == "additive":
            hidden: Tensor = torch.tanh(keys + self.query(query).unsqueeze(1))
            scores: Tensor = self.weight(hidden)
            return scores.squeeze(-1)
        if self.score == "cosine":
            query = self.scale * query / _length(query)
        return torch.matmul(keys, query.unsqueeze(-1)).squeeze(-1)


def masked_softmax(scores: Tensor, lengths: Tensor) -> Tensor:
    """Softmax of ``[B, S]`` or ``[B, T, S]`` over the first ``lengths [B]`` of S; 0 beyond them."""
    steps = torch.arange(scores.shape[-1], device=scores.device)
    lengths = lengths.reshape(-1, *(1,) * (scores.dim() - 1))
    return torch.softmax(scores.masked_fill(steps >= lengths, _BEYOND), dim=-1)


def _length(vectors: Tensor) -> Tensor:
    """The Euclidean length of each vector ``[..., n]``, ``[..., 1]``, by ``_EPSILON`` never 0."""
    squares = torch.matmul(vectors.unsqueeze(-2), vectors.unsqueeze(-1)).squeeze(-1)
    return torch.sqrt(squares + _EPSILON)
