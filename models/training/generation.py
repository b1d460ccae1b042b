"""Training of encoder-decoders on pairs: length-bucketed batches, scheduled sampling, clipping, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ostinato.models.data.pairs import IGNORED, Pairs, bucketed_batches
from ostinato.models.networks.seq2seq import Seq2Seq
from ostinato.models.recipe import Count, Fraction, Positive, SeededRecipe
from ostinato.models.report import Report
from ostinato.models.training.fitting import Course, Epoch, Fitted, fit_epochs


class GenerationTraining(SeededRecipe):
    """How it is trained, by Adam (Kingma and Ba, 2015).

    ``warm_up_epochs``: over how many epochs the learning rate rises; it then falls to 0 at ``max_epochs`` along a
    cosine (Loshchilov and Hutter, 2017, "SGDR").
    ``patience_epochs``: after how many epochs without a better validation error training stops.
    ``label_smoothing``: what part of the probability all codes share (Szegedy et al., 2016).
    ``sampling_rate``: scheduled sampling rises from 0 in the first epoch to this in the last; 0 is teacher forcing.
    ``max_gradient_norm``: longer gradients are shortened to this (Pascanu et al., 2013).
    """

    batch_size: Count = 128
    max_epochs: Count = 10
    patience_epochs: Count = 4
    learning_rate: Positive = 2e-3
    warm_up_epochs: Annotated[float, Field(ge=0)] = 0.5
    label_smoothing: Fraction = 0.0
    sampling_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_gradient_norm: Positive = 1.0


def fit(
    network: Seq2Seq,
    pairs: Pairs,
    recipe: GenerationTraining,
    validate: Callable[[Seq2Seq], float],
    report: Report,
    label: str,
) -> Fitted:
    """Train until the validation error stops falling, or ``max_epochs``; the best epoch's weights stay.

    Args:
        validate: what to stop by, of the network as it is: less is better.
        label: what the validation error is called where it is shown.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    num_batches = math.ceil(len(pairs) / recipe.batch_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda update: learning_rate_factor(update / num_batches, recipe)
    )
    course = Course(optimizer, schedule, recipe.max_gradient_norm, recipe.max_epochs, recipe.patience_epochs)
    random = np.random.default_rng(recipe.seed)

    def begin_epoch(epoch: int) -> Epoch:
        sampling_rate = recipe.sampling_rate * (epoch - 1) / max(1, recipe.max_epochs - 1)

        def loss(rows: Tensor) -> Tensor:
            batch = pairs.batch(rows)
            scores = network(batch.source, batch.lengths, batch.target_in, sampling_rate)
            return loss_of(scores, batch.target_out, recipe.label_smoothing)

        return Epoch(num_batches, map(loss, bucketed_batches(pairs, recipe.batch_size, random)))

    return fit_epochs(network, course, begin_epoch, lambda: validate(network), report, label)


def loss_of(scores: Tensor, target_out: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy in nats over the true steps of ``scores [B, T, V]`` and ``target_out [B, T]``."""
    return nn.functional.cross_entropy(
        scores.flatten(0, 1), target_out.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
    )


def learning_rate_factor(epochs: float, recipe: GenerationTraining) -> float:
    """What the learning rate is multiplied by after so many epochs, parts of one counted: between 0 and 1."""
    if epochs < recipe.warm_up_epochs:
        # The first batch learns too.
        return max(0.01, epochs / recipe.warm_up_epochs)
    progress = (epochs - recipe.warm_up_epochs) / max(recipe.max_epochs - recipe.warm_up_epochs, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
