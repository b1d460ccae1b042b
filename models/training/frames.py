"""Training of networks of frames, in batches of like lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ostinato.models.data.frames import FrameSequence
from ostinato.models.data.pairs import IGNORED
from ostinato.models.data.series import Floats
from ostinato.models.networks.frames import AnyFrameNetwork, FrameClassifier, FramePredictor
from ostinato.models.recipe import Count, TrainingRecipe
from ostinato.models.training.fitting import Epoch, Fitted, epoch_random, fit_epochs
from ostinato.models.training.job import Job
from ostinato.models.training.labelled import like_lengths

FrameLoss: TypeAlias = Literal["squared", "absolute", "cross_entropy"]
# Sequences that are looked at at once without learning.
_AT_ONCE = 32


class FrameTrainingRecipe(TrainingRecipe):
    """How it is trained.

    ``loss``: of the pixels of a next frame: ``squared`` errors (None = these), ``absolute`` errors, or the
    ``cross_entropy`` of pixels that are more or less full, as ink is. Labels always have the cross entropy.
    """

    batch_size: Count = 16
    max_epochs: Count = 20
    patience_epochs: Count | None = 6
    loss: FrameLoss | None = None


def fit(
    network: AnyFrameNetwork,
    training: Sequence[FrameSequence],
    validation: Sequence[FrameSequence],
    recipe: FrameTrainingRecipe,
    job: Job,
) -> Fitted:
    """Train until the validation loss stops falling; the best epoch's weights stay.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    network.to(recipe.device)
    lengths = np.array([len(sequence.frames) for sequence in training])

    def begin_epoch(epoch: int) -> Epoch:
        batches = like_lengths(lengths, recipe.batch_size, epoch_random(recipe, epoch))
        return Epoch(len(batches), (loss_of(network, [training[row] for row in rows], recipe) for rows in batches))

    def validate() -> float:
        with torch.no_grad():
            parts = [(loss_of(network, part, recipe).item(), len(part)) for part in at_once(validation)]
        return sum(loss * count for loss, count in parts) / len(validation)

    fitted = fit_epochs(network, recipe, begin_epoch, validate, job, "validation loss")
    network.cpu()
    return fitted


def loss_of(network: AnyFrameNetwork, sequences: Sequence[FrameSequence], recipe: FrameTrainingRecipe) -> Tensor:
    """The mean loss over all frames that have an answer."""
    x = padded(sequences).to(network.head.weight.device)
    if isinstance(network, FrameClassifier):
        answers = torch.from_numpy(answers_of(sequences)).to(x.device)
        scores, *_ = network.scores(network.scale.read(x), *network.initial_state(len(x)))
        return functional.cross_entropy(scores.flatten(0, 1), answers.flatten(), ignore_index=IGNORED)
    seen = network.scale.read(x)
    made, *_ = network.scores(seen[:, :-1], *network.initial_state(len(x)))
    lengths = torch.tensor([len(sequence.frames) for sequence in sequences], device=x.device)
    is_there = torch.arange(1, x.shape[1], device=x.device) < lengths[:, None]
    return _pixel_loss(network, made[is_there], seen[:, 1:][is_there], recipe)


def _pixel_loss(network: FramePredictor, made: Tensor, wanted: Tensor, recipe: FrameTrainingRecipe) -> Tensor:
    if network.sigmoid:
        return functional.binary_cross_entropy_with_logits(made, wanted.clamp(0.0, 1.0))
    return functional.l1_loss(made, wanted) if recipe.loss == "absolute" else functional.mse_loss(made, wanted)


@torch.no_grad()
def probabilities(network: FrameClassifier, sequences: Sequence[FrameSequence]) -> list[Floats]:
    """Of each sequence, the classes' after each frame, ``[T, K]``."""
    found: list[Floats] = []
    for part in at_once(sequences):
        answers, *_ = network(padded(part), *network.initial_state(len(part)))
        found += [row[: len(one.frames)].numpy() for row, one in zip(answers, part, strict=True)]
    return found


def padded(sequences: Sequence[FrameSequence]) -> Tensor:
    """Frames float32 ``[B, T, *shape]``; the padding is 0."""
    longest = max(len(sequence.frames) for sequence in sequences)
    x = np.zeros((len(sequences), longest, *sequences[0].frames.shape[1:]), np.float32)
    for row, sequence in enumerate(sequences):
        x[row, : len(sequence.frames)] = sequence.frames
    return torch.from_numpy(x)


def answers_of(sequences: Sequence[FrameSequence]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The class of each frame ``[B, T]``: its own, or its sequence's; ``IGNORED`` beyond."""
    longest = max(len(sequence.frames) for sequence in sequences)
    answers = np.full((len(sequences), longest), IGNORED, np.int64)
    for row, sequence in enumerate(sequences):
        answers[row, : len(sequence.frames)] = sequence.answers
    return answers


def at_once(sequences: Sequence[FrameSequence]) -> list[Sequence[FrameSequence]]:
    """Cut into parts that are looked at at once, in order."""
    return [sequences[start : start + _AT_ONCE] for start in range(0, len(sequences), _AT_ONCE)]
