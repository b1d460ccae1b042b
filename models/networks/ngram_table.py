"""An n-gram model in a graph: a finite automaton over contexts, as tables that are only looked up.

The state is the number of the current context, the longest end of what was read that the model knows. A step looks up
the next context, and of it the log-probability of each symbol. Few symbols follow most contexts, so each context keeps
entries of its own for those alone, and for all others those of a base, a shorter context that has all of them::

    entry(c, s) = offset[c] + s            where follows[entry] is s, else
                  base[c] + s              less penalty[c], what a symbol costs that did not follow c

The entries of all contexts lie within each other: an entry is another context's where ``follows`` names another symbol,
as no two offsets are equal (Tarjan and Yao, 1979, "Storing a Sparse Table"). Log-probabilities are multiples of 1/16 in
a byte, so that float32 holds every sum of two of them: the numbers are the same alone and in any batch.
"""

from __future__ import annotations

from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ostinato.models.networks.ensemble import Ensemble
from ostinato.models.recipe import Count, Section

UNITS_PER_NAT = 16
"""In which costs, negative log-probabilities, are counted."""
MOST_UNITS = 255
"""Of a cost: e^-16 is the least probability."""


class NGramRecipe(Section):
    """An n-gram model, whose log-probabilities are averaged with the network's, by a weight of the validation part.

    ``order``: symbols of an n-gram, at most: the last of them is predicted from those before it.
    ``max_contexts``: contexts that are kept, at most: those that change the predictions most.
    """

    order: Annotated[int, Field(ge=2, le=10)] = 6
    max_contexts: Count = 100_000


class NGramTable(nn.Module):
    """An automaton that keeps the recurrent contract: ``forward(codes, context) -> (log-probabilities, context)``.

    Args:
        num_codes, num_contexts, num_entries: V; C; E, V more than the last offset.
    """

    state_names = ("context",)
    offset: Tensor
    base: Tensor
    penalty: Tensor
    follows: Tensor
    cost: Tensor
    next_context: Tensor

    def __init__(self, num_codes: int, num_contexts: int, num_entries: int) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.register_buffer("offset", torch.zeros(num_contexts, dtype=torch.int32))
        self.register_buffer("base", torch.zeros(num_contexts, dtype=torch.int32))
        self.register_buffer("penalty", torch.zeros(num_contexts, dtype=torch.uint8))
        # A free entry has a symbol that there is not.
        symbol = torch.uint8 if num_codes < 256 else torch.int32
        self.register_buffer("follows", torch.full((num_entries,), num_codes, dtype=symbol))
        self.register_buffer("cost", torch.zeros(num_entries, dtype=torch.uint8))
        self.register_buffer("next_context", torch.zeros(num_entries, dtype=torch.int32))

    @property
    def sizes(self) -> dict[str, int]:
        """What tables of the same sizes are made of."""
        return {"num_contexts": len(self.offset), "num_entries": len(self.cost)}

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The empty context ``[B]``, which is number 0."""
        return (torch.zeros(batch_size, dtype=torch.int64),)

    def forward(self, codes: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """``codes`` int64 ``[B, T]`` to log-probabilities ``[B, T, V]`` of what comes after each, and the last context.

        They add up to one, apart from rounding.
        """
        after = []
        for code in codes.unbind(1):
            context = self._after(context, code)
            after.append(context)
        return self._log_probabilities(torch.stack(after, dim=1)), context

    def _after(self, context: Tensor, code: Tensor) -> Tensor:
        own, shared = self.offset[context] + code, self.base[context] + code
        entry = torch.where(self.follows[own].to(torch.int64) == code, own, shared)
        return self.next_context[entry].to(torch.int64)

    def _log_probabilities(self, context: Tensor) -> Tensor:
        symbols = torch.arange(self.num_codes, device=context.device)
        own, shared = (places[context].unsqueeze(-1) + symbols for places in (self.offset, self.base))
        is_own = self.follows[own].to(torch.int64) == symbols
        penalty = self.penalty[context].unsqueeze(-1).to(torch.float32)
        cost = torch.where(is_own, self.cost[own].to(torch.float32), self.cost[shared].to(torch.float32) + penalty)
        return cost * (-1.0 / UNITS_PER_NAT)


class MixedLanguageModel(Ensemble):
    """A language model, or an ensemble of them, and an n-gram model, as one network.

    Its scores are ``w`` times the network's and ``1 - w`` times the log-probabilities of the n-gram model: a log-linear
    mixture (Klakow, 1998, "Log-linear interpolation of language models"), which needs neither exponentials nor a sum
    over all symbols. ``weight []`` is ``w``.
    """

    weight: Tensor

    def __init__(self, network: nn.Module, ngram: NGramTable) -> None:
        super().__init__([network, ngram])
        self.state_names = (*network.state_names, *ngram.state_names)  # type: ignore[misc]
        self.register_buffer("weight", torch.tensor(0.5))

    @property
    def ngram(self) -> NGramTable:
        """The second of the members."""
        return cast(NGramTable, self.members[1])

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The network's, and the context of the n-gram model."""
        return tuple(state for member in self.members for state in member.initial_state(batch_size))  # type: ignore[operator]

    def forward(self, codes: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """As the network's; the last of the states is the context of the n-gram model."""
        network, ngram = self.members
        scores, *after = network(codes, *states[:-1])
        log_probabilities, context = ngram(codes, states[-1])
        return self.mixed(scores, log_probabilities, self.weight), *after, context

    @staticmethod
    def mixed(scores: Tensor, log_probabilities: Tensor, weight: Tensor | float) -> Tensor:
        """What both say of each symbol, ``[..., V]``; ``weight``: of the scores."""
        return weight * scores + (1.0 - weight) * log_probabilities
