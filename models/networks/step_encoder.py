"""The step encoder: raw features of a step, amounts and words, to numbers of one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.models.data.labelled import Labelled
from ostinato.models.data.series import TrainingStatistics
from ostinato.models.errors import RecipeError

# Beyond this an amount counts as this: an outlier must not drown what the layers have learned.
MAX_DEVIATIONS = 10.0


@dataclass(frozen=True)
class StepFeatures:
    """What a network must know of its input; ``num_words``: how many words a feature has, the last of which stands for
    all that are unknown; 0 for an amount.
    """

    names: tuple[str, ...]
    num_words: tuple[int, ...]
    statistics: TrainingStatistics

    @classmethod
    def of(cls, data: Labelled) -> StepFeatures:
        """As the training part of some sequences has them."""
        num_words = tuple(len(data.categories.get(name, ())) for name in data.features)
        return cls(data.features, num_words, data.statistics)

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> StepFeatures:
        """As ``run.json`` has them, of which ``dataclasses.asdict`` made the content."""
        statistics = {name: tuple(numbers) for name, numbers in content["statistics"].items()}
        return cls(tuple(content["names"]), tuple(content["num_words"]), TrainingStatistics(**statistics))


class StepEncoder(nn.Module):
    """Amounts normalised, words embedded, and what was there as a mask.

    An amount that is missing is the last that was seen, its mean before any was; a word that is missing, or that the
    training did not meet, is the unknown word, which training learns by taking each word for it now and then.

    Args:
        embedding_size: numbers that stand for a word.
        noise: how many standard deviations of normal noise each amount has added in training (Bishop, 1995, "Training
            with Noise is Equivalent to Tikhonov Regularization").

    Raises:
        RecipeError: there is noise and no amount.

    Attributes:
        encoded_size: E.
    """

    mean: Tensor
    std: Tensor
    before: Tensor
    # How probably a word is taken for the unknown one in training.
    word_dropout = 0.05

    def __init__(self, features: StepFeatures, embedding_size: int, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        self.amounts = [place for place, num_words in enumerate(features.num_words) if not num_words]
        self.amount_names = [features.names[place] for place in self.amounts]
        if noise and not self.amounts:
            raise RecipeError("network.noise: is added to amounts, and all features are words: leave it out")
        self.words = [place for place, num_words in enumerate(features.num_words) if num_words]
        statistics = features.statistics
        self.register_buffer("mean", torch.tensor([statistics.mean[place] for place in self.amounts]))
        self.register_buffer("std", torch.tensor([statistics.std[place] or 1.0 for place in self.amounts]))
        means = zip(statistics.mean, features.num_words, strict=True)
        self.register_buffer("before", torch.tensor([0.0 if num_words else mean for mean, num_words in means]))
        # Few words need few numbers.
        self.num_words = [features.num_words[place] for place in self.words]
        sizes = [min(embedding_size, count) for count in self.num_words]
        self.embeddings = nn.ModuleList(map(nn.Embedding, self.num_words, sizes))
        self.encoded_size = 2 * len(self.amounts) + sum(sizes)

    def initial_last_seen(self, batch_size: int) -> Tensor:
        """What stands for features that were never seen, ``[B, F]``."""
        return self.before.expand(batch_size, -1).clone()

    def forward(self, filled: Tensor, seen: Tensor) -> Tensor:
        """``[B, T, F]`` and its mask to ``[B, T, E]``."""
        parts = []
        if self.amounts:
            amounts = ((filled[..., self.amounts] - self.mean) / self.std).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
            if self.training and self.noise:
                amounts = amounts + self.noise * torch.randn_like(amounts)
            parts += [amounts, seen[..., self.amounts].to(filled.dtype)]
        for place, num_words, table in zip(self.words, self.num_words, self.embeddings, strict=True):
            parts.append(table(self._codes(filled[..., place], seen[..., place], num_words - 1)))
        return torch.cat(parts, dim=-1)

    def _codes(self, words: Tensor, seen: Tensor, unknown: int) -> Tensor:
        known = seen & (words >= 0) & (words < unknown)
        if self.training:
            known = known & (torch.rand(words.shape, device=words.device) >= self.word_dropout)
        return torch.where(known, words, torch.full_like(words, unknown)).to(torch.int64)
