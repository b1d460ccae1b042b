from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.models.data.frames import FrameForm, FrameParts, FrameSequence, PixelStatistics
from ostinato.models.scores.frames import (
    example_strips,
    horizon_charts,
    nearest_mean_frames,
    next_frame_errors,
    roll_out,
    rollout_errors,
)


class AddsItsState(nn.Module):
    """Answers with each frame and one more than it answered before: exact for frames 0, 1, 3, 6, ..."""

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        return (torch.zeros(1, batch_size),)

    def forward(self, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        steps = torch.arange(1, x.shape[1] + 1)[None, :] + count[0][:, None]
        return x + steps[..., None, None], count + x.shape[1]


NETWORK: Any = AddsItsState()


def sequence(*numbers: float, answers: tuple[int, ...] = ()) -> FrameSequence:
    frames = np.broadcast_to(np.array(numbers, np.float32)[:, None, None], (len(numbers), 2, 3))
    return FrameSequence("one", frames, np.array(answers, np.int64))


def data(*tests: FrameSequence, horizon: int) -> FrameParts:
    mean = np.full((2, 3), 4.0, np.float32)
    statistics = PixelStatistics(mean, mean, mean, mean)
    parts: Any = {"training": (), "validation": (), "test": tests}
    return FrameParts(parts, FrameForm(1, 2, 3, "none"), (), statistics, horizon, "")


def test_a_rollout_feeds_each_frame_back() -> None:
    given = sequence(0, 1).frames[None].copy()
    assert roll_out(NETWORK, given, 3)[0, :, 0, 0].tolist() == [3, 6, 10]


def test_next_frames_are_compared_with_the_last_and_the_mean() -> None:
    found = next_frame_errors(NETWORK, data(sequence(0, 1, 3, 7), sequence(0, 1), horizon=1))
    # The network is one short of the 7. The last frame is 1, 2, 4 and 1 away, the mean, 4, is 3, 1, 3 and 3 away.
    assert found["network"].content() == {"mse": 1 / 4, "mae": 1 / 4}
    assert found["last frame"].content() == {"mse": 22 / 4, "mae": 8 / 4}
    assert found["mean frame"].content() == {"mse": 28 / 4, "mae": 10 / 4}


def test_rollouts_are_scored_by_how_many_frames_ahead() -> None:
    asked = data(sequence(0, 1, 3, 8), sequence(0, 1), horizon=2)
    found = rollout_errors(NETWORK, asked)
    # The second is too short. Of the first 0 and 1 are given, 3 and 6 answered, 3 and 8 true.
    assert found["network"].mse.tolist() == [0, 4]
    assert found["last frame"].mae.tolist() == [2, 7]
    assert found["mean frame"].mae.tolist() == [1, 4]
    squared: Any = horizon_charts(found)[0]
    assert squared.lines["network"] == ([1, 2], [0, 4])


def test_examples_show_what_came_above_what_was_predicted() -> None:
    (strip,) = example_strips(NETWORK, data(sequence(0, 1, 3, 8), horizon=2))
    values: Any = np.array(strip.values)  # type: ignore[union-attr]
    # Two frames of 2 x 3 with a gap between, twice, with a gap between.
    assert values.shape == (2 + 1 + 2, 3 + 1 + 3)
    assert values[0, [0, 4]].tolist() == [3, 8]
    assert values[4, [0, 4]].tolist() == [3, 6]
    assert np.isnan(values[2]).all()


def test_the_nearest_mean_frame_is_told_by_each_frame_or_by_all_of_a_sequence() -> None:
    training = [sequence(0, 2, answers=(0, 0)), sequence(9, 11, 10, answers=(2, 2, 2))]
    asked = [sequence(4, 8, 1, answers=(0, 0, 0)), sequence(4, 9, 9, answers=(0,))]
    # The means are 1 and 10; the class 1 has none. All of the second are 3 + 8 + 8 away from 1, 6 + 1 + 1 from 10.
    assert [own.tolist() for own in nearest_mean_frames(training, asked, 3)] == [[0, 2, 0], [2]]
