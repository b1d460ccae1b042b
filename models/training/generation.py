"""Training of encoder-decoders on pairs: length-bucketed batches, scheduled sampling, clipping, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ostinato.models.data.pairs import IGNORED, Pairs, bucketed_batches
from ostinato.models.networks.seq2seq import Seq2Seq
from ostinato.models.recipe import Count, Fraction, NotNegative, TrainingRecipe
from ostinato.models.training.fitting import Epoch, Fitted, epoch_random, fit_epochs
from ostinato.models.training.job import Job


class GenerationTraining(TrainingRecipe):
    """How it is trained.

    ``label_smoothing``: what part of the probability all codes share (Szegedy et al., 2016).
    ``sampling_rate``: scheduled sampling rises from 0 in the first epoch to this in epoch ``max_epochs``; 0 is teacher
    forcing.
    ``unknown_rate``: how often a symbol of a source is read as the unknown symbol, where there is one, so that the
    network learns to handle it.
    """

    batch_size: Count = 128
    patience_epochs: Count | None = 4
    warm_up_epochs: NotNegative = 0.5
    label_smoothing: Fraction = 0.0
    sampling_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    unknown_rate: Fraction = 0.005


def fit_pairs(
    network: Seq2Seq,
    pairs: Pairs,
    recipe: GenerationTraining,
    validate: Callable[[Seq2Seq], float],
    job: Job,
    label: str,
    unknown: int | None = None,
) -> Fitted:
    """Train until the validation error stops falling, or ``max_epochs``; the best epoch's weights stay.

    Args:
        validate: what to stop by, of the network as it is: less is better.
        label: what the validation error is called where it is shown.
        unknown: the code of what is no symbol of a source, if there is one.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    num_batches = math.ceil(len(pairs) / recipe.batch_size)

    def begin_epoch(epoch: int) -> Epoch:
        sampling_rate = recipe.sampling_rate * (epoch - 1) / max(1, recipe.max_epochs - 1)

        def loss(rows: Tensor) -> Tensor:
            batch = pairs.batch(rows).to(recipe.device)
            source = batch.source
            if unknown is not None and recipe.unknown_rate > 0.0:
                forgotten = torch.rand(source.shape, device=source.device) < recipe.unknown_rate
                source = source.masked_fill(forgotten, unknown)
            scores = network(source, batch.lengths, batch.target_in, sampling_rate)
            return loss_of(scores, batch.target_out, recipe.label_smoothing)

        return Epoch(num_batches, map(loss, bucketed_batches(pairs, recipe.batch_size, epoch_random(recipe, epoch))))

    return fit_epochs(network, recipe, begin_epoch, lambda: validate(network), job, label)


def loss_of(scores: Tensor, target_out: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy in nats over the true steps of ``scores [B, T, V]`` and ``target_out [B, T]``."""
    return nn.functional.cross_entropy(
        scores.float().flatten(0, 1), target_out.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
    )
