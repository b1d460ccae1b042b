"""Streams of a long series: truncated backpropagation through time, the state carried from window to window.

The series is cut into streams of equal length, one for each row of the batch, and each stream into windows. The
gradient flows back to the beginning of a window, the state comes from the window before it (Williams and Peng, 1990,
"An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from torch import Tensor, nn

from ostinato.models.data.series_recipe import StreamTraining
from ostinato.models.errors import DataError
from ostinato.models.networks.recurrent import States
from ostinato.models.training.fitting import Epoch, Fitted, Validate, epoch_random, fit_epochs
from ostinato.models.training.job import Job

# How many sequences, to their states before the first step.
InitialState: TypeAlias = Callable[[int], States]
# Inputs [B, T, F] and targets [B, T, K] of a window and the states before it, to its loss and the states after it.
WindowLoss: TypeAlias = Callable[[Tensor, Tensor, States], tuple[Tensor, States]]
Stretch: TypeAlias = tuple[Tensor, Tensor]


def fit_streams(
    network: nn.Module,
    initial_state: InitialState,
    inputs: Tensor,
    targets: Tensor,
    recipe: StreamTraining,
    loss: WindowLoss,
    validate: Validate,
    job: Job,
    label: str,
) -> Fitted:
    """Train on a series until the validation error stops falling; the best epoch's weights stay.

    The windows begin at another step in each epoch, so that gradients are not always cut at the same place.

    Args:
        initial_state: the network's own.
        inputs, targets: of the training part, ``[N, F]`` and ``[N, K]``.
        label: what the validation error is called where it is shown.

    Raises:
        Diverged: the loss is no longer a finite number.
    """

    def begin_epoch(epoch: int) -> Epoch:
        offset = int(epoch_random(recipe, epoch).integers(recipe.window_steps))
        batches = list(cut_windows(inputs, targets, recipe.batch_size, recipe.window_steps, offset))
        return Epoch(len(batches), _carried_losses(batches, initial_state(recipe.batch_size), loss))

    return fit_epochs(network, recipe, begin_epoch, validate, job, label)


def check_streams(num_steps: int, num_targets: int, recipe: StreamTraining) -> None:
    """Whether each stream has more than two windows, wherever an epoch begins.

    Args:
        num_steps: of the training part.
        num_targets: how many of them have a target.

    Raises:
        DataError: it has not.
    """
    if num_targets // recipe.batch_size <= 2 * recipe.window_steps:
        raise DataError(
            f"the training part has {num_steps} steps, too few for {recipe.batch_size} streams of more than two "
            f"windows of {recipe.window_steps}: lower training.batch_size or training.window_steps"
        )


def cut_windows(inputs: Tensor, targets: Tensor, num_streams: int, window_steps: int, offset: int) -> Iterator[Stretch]:
    """Windows ``[B, T, F]`` and ``[B, T, K]`` of one epoch, in the order in which the state is carried.

    The series ``[N, F]`` and ``[N, K]`` from ``offset`` on is cut into ``num_streams`` equal streams, one per row of
    the batch; each stream is cut into windows, the last of which may be shorter.
    """
    num_steps = (len(inputs) - offset) // num_streams
    part = slice(offset, offset + num_steps * num_streams)
    x, y = (series[part].reshape(num_streams, num_steps, -1) for series in (inputs, targets))
    for start in range(0, num_steps, window_steps):
        yield x[:, start : start + window_steps], y[:, start : start + window_steps]


def _carried_losses(batches: Iterable[Stretch], states: States, loss: WindowLoss) -> Iterator[Tensor]:
    for x, target in batches:
        of_window, after = loss(x, target, states)
        # What is carried on carries no gradient into the next window.
        states = tuple(part.detach() for part in after)
        yield of_window
