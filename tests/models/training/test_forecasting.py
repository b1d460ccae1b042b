from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ostinato.models.data.series import Dataset, Statistics, load_dataset
from ostinato.models.errors import DataError, Diverged
from ostinato.models.networks.recurrent import Features, build_forecaster
from ostinato.models.recipe import NetworkRecipe, Recipe
from ostinato.models.training.forecasting import Progress, masked_mean_absolute_error, score, train, windows

NAN = float("nan")


def with_training(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


def test_a_missing_target_counts_neither_in_the_error_nor_in_the_gradient() -> None:
    forecast = torch.tensor([1.0, 5.0, 9.0], requires_grad=True)
    loss = masked_mean_absolute_error(forecast, torch.tensor([2.0, NAN, 6.0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == (1 + 3) / 2
    assert forecast.grad is not None
    assert forecast.grad.tolist() == [-0.5, 0.0, 0.5]


def test_targets_all_missing_are_no_error_and_no_gradient() -> None:
    forecast = torch.tensor([1.0], requires_grad=True)
    loss = masked_mean_absolute_error(forecast, torch.tensor([NAN]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert forecast.grad is not None
    assert forecast.grad.tolist() == [0.0]


def test_windows_go_through_each_stream_in_order_with_the_next_step_as_target() -> None:
    values = np.arange(24, dtype=np.float32)[:, None]
    pairs = list(windows(values, target_index=0, num_streams=2, window_steps=4, offset=2))
    # 24 - 1 - 2 = 21 steps have a next one: 10 in each of two streams, from 2 and from 12 on.
    assert [x[0, :, 0].tolist() for x, _ in pairs] == [[2, 3, 4, 5], [6, 7, 8, 9], [10, 11]]
    assert [x[1, :, 0].tolist() for x, _ in pairs] == [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21]]
    for x, target in pairs:
        assert torch.equal(target, x + 1)


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    short = with_training(wave_recipe, max_epochs=2)
    first, again = (train(short, dataset).network.state_dict() for _ in range(2))
    other = train(with_training(short, seed=4), dataset).network.state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert not all(torch.equal(weight, other[name]) for name, weight in first.items())


def test_training_leaves_the_callers_random_numbers_and_threads_alone(wave_recipe: Recipe) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    threads = torch.get_num_threads()
    train(with_training(wave_recipe, max_epochs=1), load_dataset(wave_recipe.data))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_a_wave_is_learned_far_better_than_persistence(wave_recipe: Recipe) -> None:
    trained = train(wave_recipe, load_dataset(wave_recipe.data))
    # The level moves by 1.6 an hour on average; a season of 12 hours later it is the same.
    assert trained.test.persistence_mae == pytest.approx(1.66, abs=0.1)
    assert trained.test.seasonal_naive_mae < 0.01
    assert trained.test.mae < 0.5 * trained.test.persistence_mae
    assert trained.test.improvement_over_persistence > 0.5


def test_training_stops_when_the_validation_error_no_longer_falls(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    # A rate this low changes nothing that counts: each epoch after the first is no better or hardly.
    recipe = with_training(wave_recipe, learning_rate=1e-12, max_epochs=30, patience_epochs=2)
    assert train(recipe, dataset).num_epochs < 30


def test_the_weights_kept_are_those_of_the_best_epoch(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    seen: list[float] = []

    def note(progress: Progress) -> None:
        if progress.validation_mae is not None:
            seen.append(progress.validation_mae)

    trained = train(with_training(wave_recipe, learning_rate=0.5, max_epochs=8), dataset, note)
    assert trained.validation_mae <= min(seen)


def test_progress_counts_windows_and_epochs(wave_recipe: Recipe) -> None:
    steps: list[Progress] = []
    train(with_training(wave_recipe, max_epochs=2), load_dataset(wave_recipe.data), steps.append)
    assert [step.epoch for step in steps] == sorted(step.epoch for step in steps)
    for epoch in (1, 2):
        of_epoch = [step for step in steps if step.epoch == epoch]
        assert [step.window for step in of_epoch] == list(range(1, of_epoch[0].num_windows + 1))
        assert (of_epoch[0].validation_mae is None) == (epoch == 1)


def test_a_loss_that_is_no_number_is_reported_with_what_to_change(wave_recipe: Recipe) -> None:
    with pytest.raises(Diverged, match=r"the loss is (inf|nan) in epoch \d+: lower training\.learning_rate"):
        train(with_training(wave_recipe, learning_rate=1e36), load_dataset(wave_recipe.data))


def test_too_short_a_training_part_is_refused_with_the_keys_to_change(wave_recipe: Recipe) -> None:
    with pytest.raises(DataError, match=r"240 steps, too few for 32 streams.*training\.num_streams"):
        train(with_training(wave_recipe, num_streams=32), load_dataset(wave_recipe.data))


def test_scores_are_those_of_the_test_part_over_steps_that_all_three_can_forecast() -> None:
    values = np.array([1, 2, 3, 4, 10, NAN, 13, 11], np.float32)[:, None]
    statistics = Statistics((2.0,), (1.0,), (1.0,), (3.0,), (0.0,))
    dataset = Dataset(
        features=("level",),
        target="level",
        values=values,
        times=np.arange(8).astype("datetime64[h]").astype("datetime64[s]"),
        validation_start=3,
        test_start=4,
        categories={},
        statistics=statistics,
        sha256="",
    )
    network = build_forecaster(Features(("level",), (0,), 0, statistics, 1.0), NetworkRecipe(cell="gru"))
    scores = score(network, dataset, season_steps=2)
    # Scored: 10, 13 and 11. Untrained, the network is persistence: 4, then 10 over the hole, then 13.
    assert scores.num_scored_steps == 3
    assert scores.persistence_mae == scores.mae == pytest.approx((6 + 3 + 2) / 3)
    # Two steps before: 3, 10, and 4 for the hole two steps before 11.
    assert scores.seasonal_naive_mae == pytest.approx((7 + 3 + 7) / 3)
    assert (scores.first_time, scores.last_time) == ("1970-01-01T04:00:00", "1970-01-01T07:00:00")


def test_the_test_part_changes_neither_the_weights_nor_when_training_stops(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    changed = dataset.values.copy()
    changed[dataset.test_start :, 0] = 1000.0
    recipe = with_training(wave_recipe, max_epochs=3)
    first = train(recipe, dataset)
    second = train(recipe, replace(dataset, values=changed))
    assert first.validation_mae == second.validation_mae
    for name, weight in first.network.state_dict().items():
        assert torch.equal(weight, second.network.state_dict()[name])
