"""A linear chain (Lafferty et al., 2001, "Conditional Random Fields"): what taggers are compared with.

A step's tag is scored by the step alone and by the tag before it::

    score(x, y) = sum over t of (e(x_t)[y_t] + A[y_{t-1}, y_t])
    p(y | x)    = exp(score(x, y)) / sum over all y' of exp(score(x, y'))

where ``e`` has a number for each word and tag, and is linear in amounts.

It is learned by gradient descent over a few epochs, and the best tags are found by Viterbi's algorithm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.models.data.labelled import LabelledSequence
from ostinato.models.networks.step_encoder import StepFeatures

_EPOCHS, _BATCH_SIZE, _LEARNING_RATE, _WEIGHT_DECAY = 8, 16, 0.05, 1e-4


class LinearChain(nn.Module):
    """A conditional random field over the steps; words that it did not meet say nothing."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: StepFeatures, num_tags: int) -> None:
        super().__init__()
        self.words = [(place, count) for place, count in enumerate(features.num_words) if count]
        self.amounts = [place for place, count in enumerate(features.num_words) if not count]
        self.register_buffer("mean", torch.tensor([features.statistics.mean[place] for place in self.amounts]))
        self.register_buffer("std", torch.tensor([features.statistics.std[place] or 1.0 for place in self.amounts]))
        # The last row, of unknown words, stays 0.
        self.tables = nn.ModuleList(nn.Embedding(count, num_tags, padding_idx=count - 1) for _, count in self.words)
        for table in self.tables:
            nn.init.zeros_(table.weight)  # type: ignore[arg-type]
        self.linear = nn.Linear(len(self.amounts), num_tags) if self.amounts else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
        self.bias = nn.Parameter(torch.zeros(num_tags))
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))

    def learn(self, training: Sequence[LabelledSequence]) -> None:
        """Fit the chain."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
        order = sorted(range(len(training)), key=lambda row: len(training[row].x))
        batches = [order[start : start + _BATCH_SIZE] for start in range(0, len(order), _BATCH_SIZE)]
        # Its own random numbers: the same chain, whatever network it is compared with.
        drawn = torch.Generator().manual_seed(0)
        for _ in range(_EPOCHS):
            for place in torch.randperm(len(batches), generator=drawn).tolist():
                optimizer.zero_grad()
                self._surprise([training[row] for row in batches[place]]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    @torch.no_grad()
    def answer(self, sequence: LabelledSequence) -> NDArray[np.int64]:
        """The most probable tags of all steps together, int64 ``[T]``."""
        scores = self._emissions(torch.from_numpy(sequence.x)).numpy()
        transitions = self.transitions.numpy()
        best, came_from = scores[0], []
        for step in scores[1:]:
            along = best[:, None] + transitions
            came_from.append(along.argmax(axis=0))
            best = along.max(axis=0) + step
        tags = [int(best.argmax())]
        for before in reversed(came_from):
            tags.append(int(before[tags[-1]]))
        return np.array(tags[::-1])

    def _emissions(self, x: Tensor) -> Tensor:
        """Scores ``[..., K]`` of steps ``[..., F]`` by themselves."""
        scores = self.bias.expand(*x.shape[:-1], -1)
        if self.linear is not None:
            scores = scores + self.linear(torch.nan_to_num((x[..., self.amounts] - self.mean) / self.std))
        for (place, count), table in zip(self.words, self.tables, strict=True):
            scores = scores + table(torch.nan_to_num(x[..., place], nan=count - 1).to(torch.int64))
        return scores

    def _surprise(self, sequences: Sequence[LabelledSequence]) -> Tensor:
        """The mean of ``-log p`` of the sequences' true tags, by step."""
        longest = max(len(sequence.x) for sequence in sequences)
        x = torch.full((len(sequences), longest, sequences[0].x.shape[1]), torch.nan)
        tags = torch.zeros(len(sequences), longest, dtype=torch.int64)
        lengths = torch.tensor([len(sequence.x) for sequence in sequences])
        for row, sequence in enumerate(sequences):
            x[row, : len(sequence.x)] = torch.from_numpy(sequence.x)
            tags[row, : len(sequence.x)] = torch.from_numpy(sequence.answers)
        scores = self._emissions(x)
        within = torch.arange(longest) < lengths.unsqueeze(1)
        own = (scores.gather(2, tags.unsqueeze(2)).squeeze(2) * within).sum(dim=1)
        own = own + (self.transitions[tags[:, :-1], tags[:, 1:]] * within[:, 1:]).sum(dim=1)
        total = scores[:, 0]
        for step in range(1, longest):
            after = torch.logsumexp(total.unsqueeze(2) + self.transitions, dim=1) + scores[:, step]
            total = torch.where(within[:, step : step + 1], after, total)
        return (torch.logsumexp(total, dim=1) - own).sum() / lengths.sum()


def most_frequent_tags(
    training: Sequence[LabelledSequence], asked: Sequence[LabelledSequence], features: StepFeatures
) -> NDArray[np.int64]:
    """For each step the tag that its first word has most often; of words not met, and without words, the commonest."""
    overall = Counter(tag for sequence in training for tag in sequence.answers.tolist())
    commonest, _ = overall.most_common(1)[0]
    places = [place for place, count in enumerate(features.num_words) if count]
    if not places:
        return np.full(sum(len(sequence.x) for sequence in asked), commonest)
    of_word: dict[float, Counter[int]] = {}
    for sequence in training:
        for word, tag in zip(sequence.x[:, places[0]].tolist(), sequence.answers.tolist(), strict=True):
            of_word.setdefault(word, Counter())[tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in of_word.items()}
    return np.array([best.get(word, commonest) for sequence in asked for word in sequence.x[:, places[0]].tolist()])
