"""Training of classifiers of sequences, by cross entropy, in batches of like lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.models.data.labelled import LabelledSequence
from ostinato.models.data.pairs import IGNORED
from ostinato.models.networks.classifier import AnyClassifier, StreamClassifier, streams
from ostinato.models.recipe import TrainingRecipe
from ostinato.models.training.fitting import Epoch, Fitted, epoch_random, fit_epochs
from ostinato.models.training.job import Job

_SCORED_SEQUENCES = 256


def fit(
    network: AnyClassifier,
    training: Sequence[LabelledSequence],
    validation: Sequence[LabelledSequence],
    recipe: TrainingRecipe,
    job: Job,
) -> Fitted:
    """Train until the validation loss stops falling; the best epoch's weights stay.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    network.to(recipe.device)
    lengths = np.array([len(sequence.x) for sequence in training])

    def begin_epoch(epoch: int) -> Epoch:
        batches = like_lengths(lengths, recipe.batch_size, epoch_random(recipe, epoch))
        return Epoch(len(batches), (loss_of(network, [training[row] for row in rows]) for rows in batches))

    def validate() -> float:
        with torch.no_grad():
            parts = [(loss_of(network, part).item(), len(part)) for part in cut(validation)]
        return sum(loss * count for loss, count in parts) / len(validation)

    fitted = fit_epochs(network, recipe, begin_epoch, validate, job, "validation loss")
    network.cpu()
    return fitted


def loss_of(network: AnyClassifier, sequences: Sequence[LabelledSequence]) -> Tensor:
    """The mean cross entropy in nats of all answers.

    A network in one direction is asked for its label after every step, and learns from each of them.
    """
    x, lengths = padded(sequences, next(network.parameters()).device)
    if isinstance(network, StreamClassifier):
        scores, *_ = network.scores(x, *network.initial_state(len(x)))
    else:
        scores = network.scores(x, lengths)
    if scores.dim() == 2:
        wanted = torch.tensor([int(sequence.answers[0]) for sequence in sequences], device=x.device)
        return nn.functional.cross_entropy(scores, wanted)
    steps = torch.full(x.shape[:2], IGNORED, device=x.device)
    for row, sequence in enumerate(sequences):
        steps[row, : len(sequence.x)] = torch.from_numpy(sequence.answers).to(x.device)
    return nn.functional.cross_entropy(scores.flatten(0, 1), steps.flatten(), ignore_index=IGNORED)


@torch.no_grad()
def probabilities(network: AnyClassifier, sequences: Sequence[LabelledSequence]) -> list[NDArray[np.float32]]:
    """Of each sequence, the classes' at each step ``[T, K]``; ``[1, K]`` where both ways are read for one label."""
    network.eval()
    found: list[NDArray[np.float32]] = []
    for part in cut(sequences):
        x, lengths = padded(part, torch.device("cpu"))
        if streams(network):
            answers, *_ = network(x, *network.initial_state(len(x)))
        else:
            answers = network(x, lengths)
        if answers.dim() == 2:
            found += [row.numpy()[None] for row in answers]
        else:
            found += [row[: len(sequence.x)].numpy() for row, sequence in zip(answers, part, strict=True)]
    return found


def padded(sequences: Sequence[LabelledSequence], device: torch.device) -> tuple[Tensor, Tensor]:
    """Steps ``[B, T, F]`` and lengths int64 ``[B]``; the padding is 0."""
    lengths = [len(sequence.x) for sequence in sequences]
    x = np.zeros((len(sequences), max(lengths), sequences[0].x.shape[1]), np.float32)
    for row, sequence in enumerate(sequences):
        x[row, : len(sequence.x)] = sequence.x
    return torch.from_numpy(x).to(device), torch.tensor(lengths, device=device)


def cut(sequences: Sequence[LabelledSequence]) -> Iterator[Sequence[LabelledSequence]]:
    """Into parts that are scored at once, in order."""
    for start in range(0, len(sequences), _SCORED_SEQUENCES):
        yield sequences[start : start + _SCORED_SEQUENCES]


def like_lengths(lengths: NDArray[np.int64], batch_size: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
    """The rows of one epoch's batches: like lengths together, who exactly and in which order drawn anew."""
    # Within a tenth of a length who shares a batch is chance.
    order = np.lexsort((random.random(len(lengths)), np.log(lengths) // 0.1))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[place] for place in random.permutation(len(batches))]
