from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.models.data.series_recipe import StreamTraining
from ostinato.models.networks.recurrent import States
from ostinato.models.training.streams import SeriesStretch, cut_streams, fit_streams
from tests.training import NOBODY


def test_windows_begin_at_another_step_in_each_epoch_and_the_same_seed_begins_alike() -> None:
    def first_steps(seed: int) -> list[float]:
        network = nn.Linear(1, 1)
        seen: list[float] = []

        def loss(x: Tensor, _target: Tensor, states: States) -> tuple[Tensor, States]:
            seen.append(x[0, 0, 0].item())
            return network(x).square().mean(), states

        series = torch.arange(200.0).unsqueeze(1)
        # The error falls in each epoch, so that all of them are trained.
        errors = iter(range(8, 0, -1))
        recipe = StreamTraining(seed=seed, batch_size=1, window_steps=50, max_epochs=8, learning_rate=1e-9)
        fit_streams(network, lambda _: (), series, series, recipe, loss, lambda: next(errors), NOBODY, "error")
        # A window is 50 steps: what is less than 50 is the first of its epoch.
        return [step for step in seen if step < 50]

    once, again = first_steps(3), first_steps(3)
    assert len(once) == 8
    assert once == again
    assert len(set(once)) > 4


def stretch(num_steps: int, first: float) -> SeriesStretch:
    steps = torch.arange(first, first + num_steps).unsqueeze(1)
    return SeriesStretch(steps, steps + 1, torch.tensor([first]))


def test_series_go_side_by_side_each_with_streams_by_its_length() -> None:
    series = [stretch(40, 1000.0), stretch(20, 2000.0), stretch(3, 3000.0)]
    groups = cut_streams(series, num_streams=6, offset=2, window_steps=4)
    # 63 steps in 6 streams, 10 each: of 38 steps four of 9, of 18 two of 9, and the short one whole, by itself.
    assert [group.inputs[:, 0, 0].tolist() for group in groups] == [
        [1002.0, 1011.0, 1020.0, 1029.0, 2002.0, 2011.0],
        [3000.0],
    ]
    assert [group.inputs.shape[1] for group in groups] == [9, 3]
    assert [group.static[:, 0].tolist() for group in groups] == [[1000.0] * 4 + [2000.0] * 2, [3000.0]]
    assert all(torch.equal(group.targets, group.inputs + 1) for group in groups)


def test_a_shorter_stream_ends_in_steps_that_are_missing_and_have_no_target() -> None:
    [group] = cut_streams([stretch(9, 10.0), stretch(7, 50.0)], num_streams=2, offset=0, window_steps=4)
    assert group.inputs.shape == (2, 9, 1)
    assert group.inputs[1, :7, 0].tolist() == [50.0, 51.0, 52.0, 53.0, 54.0, 55.0, 56.0]
    assert group.inputs[1, 7:].isnan().all()
    assert group.targets[1, 7:].isnan().all()
    windows = [x.shape[1] for x, _ in group.windows(4)]
    assert windows == [4, 4, 1]
