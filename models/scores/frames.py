"""Scores of next frames and of their classes, next to what needs no training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ostinato.models.data.frames import FrameParts, FrameSequence
from ostinato.models.data.series import Floats
from ostinato.models.networks.frames import FramePredictor
from ostinato.models.report import LineChart, Matrix, ReportPart, ScoreTable
from ostinato.models.training.frames import at_once

RIVALS = ("network", "last frame", "mean frame")
_SHOWN_SEQUENCES, _SHOWN_FRAMES, _SHOWN_SIDE = 3, 5, 32


@dataclass(frozen=True)
class FrameErrors:
    """Mean squared and mean absolute errors of pixels in raw units, float64 ``[k]``: 1 to k frames ahead."""

    mse: NDArray[np.float64]
    mae: NDArray[np.float64]

    def content(self) -> dict[str, float]:
        """Their means over what was asked."""
        return {"mse": float(self.mse.mean()), "mae": float(self.mae.mean())}


class _Sums:
    """Errors as they come in, of each horizon."""

    def __init__(self, horizon: int) -> None:
        self.squared, self.absolute, self.count = np.zeros(horizon), np.zeros(horizon), 0

    def add(self, answered: Floats, truth: Floats) -> None:
        """``[B, k, *shape]`` each."""
        apart = answered.astype(np.float64) - truth
        axes = tuple(range(2, apart.ndim))
        self.squared += (apart**2).mean(axis=axes).sum(axis=0)
        self.absolute += np.abs(apart).mean(axis=axes).sum(axis=0)
        self.count += len(apart)

    def errors(self) -> FrameErrors:
        return FrameErrors(self.squared / self.count, self.absolute / self.count)


@torch.no_grad()
def roll_out(network: FramePredictor, given: Floats, horizon: int) -> Floats:
    """The frames ``[B, horizon, *shape]`` that follow ``given [B, T, *shape]``, each made of the one before."""
    network.eval()
    answers, *states = network(torch.from_numpy(given), *network.initial_state(len(given)))
    made = [answers[:, -1:]]
    while len(made) < horizon:
        answer, *states = network(made[-1], *states)
        made.append(answer)
    return torch.cat(made, dim=1).numpy()


def next_frame_errors(network: FramePredictor, data: FrameParts) -> dict[str, FrameErrors]:
    """One frame ahead, over all held-out frames after the first."""
    sums = {name: _Sums(1) for name in RIVALS}
    for x in _stacked(data.parts["test"]):
        with torch.no_grad():
            answers, *_ = network(torch.from_numpy(x[:, :-1]), *network.initial_state(len(x)))
        shape = (-1, 1, *x.shape[2:])
        truth = x[:, 1:].reshape(shape)
        sums["network"].add(answers.numpy().reshape(shape), truth)
        sums["last frame"].add(x[:, :-1].reshape(shape), truth)
        sums["mean frame"].add(np.broadcast_to(data.statistics.mean, truth.shape), truth)
    return {name: own.errors() for name, own in sums.items()}


def rollout_errors(network: FramePredictor, data: FrameParts) -> dict[str, FrameErrors]:
    """1 to k frames ahead, of the last k frames of each held-out sequence that is long enough."""
    horizon = data.horizon
    sums = {name: _Sums(horizon) for name in RIVALS}
    for x in _stacked([one for one in data.parts["test"] if len(one.frames) > horizon]):
        given, truth = x[:, :-horizon], x[:, -horizon:]
        sums["network"].add(roll_out(network, given, horizon), truth)
        sums["last frame"].add(np.broadcast_to(given[:, -1:], truth.shape), truth)
        sums["mean frame"].add(np.broadcast_to(data.statistics.mean, truth.shape), truth)
    return {name: own.errors() for name, own in sums.items()}


def error_table(
    ahead: dict[str, FrameErrors], rolled: dict[str, FrameErrors], data: FrameParts, note: str
) -> ScoreTable:
    """Errors one frame ahead, and over a rollout, of the network and its rivals."""
    rows = tuple(
        (name, *(f"{value:.4g}" for own in (ahead[name], rolled[name]) for value in own.content().values()))
        for name in RIVALS
    )
    columns = ("frame by", "MSE, next", "MAE, next", f"MSE, 1 to {data.horizon}", f"MAE, 1 to {data.horizon}")
    return ScoreTable(f"next frames of {len(data.parts['test']):,} held-out sequences, raw units", columns, rows, note)


def horizon_charts(rolled: dict[str, FrameErrors]) -> list[ReportPart]:
    """The errors by how many frames ahead."""
    steps = list(range(1, len(rolled["network"].mse) + 1))
    squared = {name: (steps, own.mse.tolist()) for name, own in rolled.items()}
    absolute = {name: (steps, own.mae.tolist()) for name, own in rolled.items()}
    return [
        LineChart("squared error by horizon", "frames ahead", "mean squared error", squared),
        LineChart("absolute error by horizon", "frames ahead", "mean absolute error", absolute),
    ]


def example_strips(network: FramePredictor, data: FrameParts) -> list[ReportPart]:
    """The first held-out sequences: what came above, what was answered below."""
    strips: list[ReportPart] = []
    count = min(_SHOWN_FRAMES, data.horizon)
    long = [one for one in data.parts["test"] if len(one.frames) > data.horizon]
    for one in long[:_SHOWN_SEQUENCES]:
        x = one.frames[None].astype(np.float32)
        made = roll_out(network, x[:, : -data.horizon], data.horizon)
        truth = x[:, -data.horizon :]
        rows = [_strip(data, frames[0, :count]) for frames in (truth, made)]
        gap = np.full((1, rows[0].shape[1]), np.nan)
        values = np.concatenate([rows[0], gap, rows[1]])
        title = f"sequence {one.name}: {count} frames after the {x.shape[1] - data.horizon} that were given"
        blank = ("",)
        strips.append(
            Matrix(
                title,
                "frames ahead",
                "predicted below, true above",
                blank * values.shape[1],
                blank * len(values),
                values.tolist(),
            )
        )
    return strips


def _strip(data: FrameParts, frames: Floats) -> NDArray[np.float64]:
    """Frames ``[k, *shape]`` in one row, channels averaged, large ones thinned out."""
    grey = data.form.channels_first(frames).astype(np.float64).mean(axis=1)
    every = max(1, -(-max(grey.shape[1:]) // _SHOWN_SIDE))
    thin = grey[:, ::every, ::every]
    with_gaps = np.pad(thin, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    strip: NDArray[np.float64] = np.concatenate(list(with_gaps), axis=1)[:, :-1]
    return strip


def nearest_mean_frames(
    training: Sequence[FrameSequence], asked: Sequence[FrameSequence], num_classes: int
) -> list[NDArray[np.int64]]:
    """For each sequence asked, the class of the nearest mean frame: of each frame, or of all frames together where
    sequences have one class.
    """
    total = np.zeros((num_classes, *training[0].frames.shape[1:]))
    counts = np.zeros(num_classes)
    for one in training:
        classes = np.broadcast_to(one.answers, len(one.frames))
        for own in np.unique(classes):
            total[own] += one.frames[classes == own].astype(np.float64).sum(axis=0)
            counts[own] += (classes == own).sum()
    means = (total / np.maximum(counts, 1).reshape(-1, *(1,) * (total.ndim - 1))).reshape(num_classes, -1)
    answers = []
    for one in asked:
        frames = one.frames.reshape(len(one.frames), -1).astype(np.float64)
        # |x - m|^2 without x^2, which is the same for all classes.
        apart = (means**2).sum(axis=1) - 2 * frames @ means.T
        apart[:, counts == 0] = np.inf
        answers.append((apart.sum(axis=0, keepdims=True) if len(one.answers) == 1 else apart).argmin(axis=1))
    return answers


def _stacked(sequences: Sequence[FrameSequence]) -> Iterator[Floats]:
    """Sequences of one length together, float32 ``[B, T, *shape]``."""
    groups: dict[int, list[FrameSequence]] = defaultdict(list)
    for one in sequences:
        groups[len(one.frames)].append(one)
    for group in groups.values():
        for part in at_once(group):
            yield np.stack([one.frames for one in part]).astype(np.float32)
