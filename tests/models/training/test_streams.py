from __future__ import annotations

import torch
from torch import Tensor, nn

from ostinato.models.data.series_recipe import StreamTraining
from ostinato.models.networks.recurrent import States
from ostinato.models.training.streams import fit_streams
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
