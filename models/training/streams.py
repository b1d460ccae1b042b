"""Streams of a long series: truncated backpropagation through time, the state carried from window to window.

The series is cut into streams of equal length, one for each row of the batch, and each stream into windows. The
gradient flows back to the beginning of a window, the state comes from the window before it (Williams and Peng, 1990,
"An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network Trajectories").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ostinato.models.data.series_recipe import StreamTraining
from ostinato.models.errors import DataError
from ostinato.models.networks.recurrent import States
from ostinato.models.training.fitting import Epoch, Fitted, Validate, epoch_random, fit_epochs
from ostinato.models.training.job import Job

# How many sequences, to their states before the first step.
InitialState: TypeAlias = Callable[[int], States]
# Inputs [B, T, F] and targets [B, T, K] of a window and the states before it, to its loss and the states after it.
WindowLoss: TypeAlias = Callable[[Tensor, Tensor, States], tuple[Tensor, States]]
# The same, with what is known of each row as a whole, [B, S], behind the targets.
PanelLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor, States], tuple[Tensor, States]]
Stretch: TypeAlias = tuple[Tensor, Tensor]


class SeriesStretch(NamedTuple):
    """The training part of one series: inputs ``[N, F]``, targets ``[N, K]``, and of it as a whole ``[S]``."""

    inputs: Tensor
    targets: Tensor
    static: Tensor


class StreamGroup(NamedTuple):
    """Rows that go side by side: inputs ``[B, N, F]``, targets ``[B, N, K]``, and ``[B, S]`` of each row as a whole."""

    inputs: Tensor
    targets: Tensor
    static: Tensor

    def windows(self, window_steps: int) -> Iterator[Stretch]:
        """One after the other; the last may be shorter."""
        for start in range(0, self.inputs.shape[1], window_steps):
            yield tuple(part[:, start : start + window_steps] for part in self[:2])  # type: ignore[misc]


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

    def of_window(x: Tensor, target: Tensor, _static: Tensor, states: States) -> tuple[Tensor, States]:
        return loss(x, target, states)

    series = [SeriesStretch(inputs, targets, inputs.new_empty(0))]
    return fit_panel(network, initial_state, series, recipe, of_window, validate, job, label)


def fit_panel(
    network: nn.Module,
    initial_state: InitialState,
    series: Sequence[SeriesStretch],
    recipe: StreamTraining,
    loss: PanelLoss,
    validate: Validate,
    job: Job,
    label: str,
) -> Fitted:
    """``fit_streams`` on several series, whose streams go side by side."""

    def begin_epoch(epoch: int) -> Epoch:
        random = epoch_random(recipe, epoch)
        offset = int(random.integers(recipe.window_steps))
        groups = cut_streams(series, recipe.batch_size, offset, recipe.window_steps)
        order = random.permutation(len(groups)) if len(groups) > 1 else [0]
        batches = [(groups[place], list(groups[place].windows(recipe.window_steps))) for place in order]
        num_batches = sum(len(windows) for _, windows in batches)
        return Epoch(num_batches, _carried_losses(batches, initial_state, loss))

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
    [streams] = cut_streams([SeriesStretch(inputs, targets, inputs.new_empty(0))], num_streams, offset, window_steps)
    yield from streams.windows(window_steps)


def cut_streams(series: Sequence[SeriesStretch], num_streams: int, offset: int, window_steps: int) -> list[StreamGroup]:
    """Streams of about equal length, ``num_streams`` at most in each group; of one series, all steps' from ``offset``.

    A series has as many streams as its length asks for, one at least. Shorter ones end in steps that are missing and
    have no target; a series hardly longer than two windows is taken from its first step on.
    """
    if len(series) == 1:
        return [_cut(series[0], num_streams, offset)]
    typical = max(1, sum(len(one.inputs) for one in series) // num_streams)
    cut = []
    for one in series:
        first = offset if len(one.inputs) > 2 * window_steps + offset else 0
        cut.append(_cut(one, max(1, round((len(one.inputs) - first) / typical)), first))
    rows = [
        StreamGroup(*(part[row : row + 1] for part in streams)) for streams in cut for row in range(len(streams[0]))
    ]
    # Those of like lengths go side by side.
    rows.sort(key=lambda row: -row.inputs.shape[1])
    return [_side_by_side(rows[start : start + num_streams]) for start in range(0, len(rows), num_streams)]


def _cut(one: SeriesStretch, num_streams: int, offset: int) -> StreamGroup:
    num_steps = (len(one.inputs) - offset) // num_streams
    part = slice(offset, offset + num_steps * num_streams)
    x, y = (each[part].reshape(num_streams, num_steps, -1) for each in (one.inputs, one.targets))
    return StreamGroup(x, y, one.static.expand(num_streams, -1))


def _side_by_side(rows: Sequence[StreamGroup]) -> StreamGroup:
    longest = max(row.inputs.shape[1] for row in rows)

    def joined(part: int) -> Tensor:
        return torch.cat([pad(row[part], (0, 0, 0, longest - row[part].shape[1]), value=math.nan) for row in rows])

    return StreamGroup(joined(0), joined(1), torch.cat([row.static for row in rows]))


def _carried_losses(
    batches: Iterable[tuple[StreamGroup, Sequence[Stretch]]], initial_state: InitialState, loss: PanelLoss
) -> Iterator[Tensor]:
    for streams, windows in batches:
        states = initial_state(len(streams.inputs))
        for x, target in windows:
            of_window, after = loss(x, target, streams.static, states)
            # What is carried on carries no gradient into the next window.
            states = tuple(part.detach() for part in after)
            yield of_window
