from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ostinato.models.data.series import load_dataset
from ostinato.models.errors import DataError, Diverged
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.networks.recurrent import Forecaster, build_forecaster
from ostinato.models.rivals.forecasts import PERSISTENCE, SEASONAL_NAIVE
from ostinato.models.rivals.rival import NETWORK
from ostinato.models.training import fitting
from ostinato.models.training.forecasting import (
    forecast_part,
    futures,
    hidden_features,
    hide,
    persistence_errors,
    windows,
)
from tests.training import judged, train

NAN = float("nan")


def with_training(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


def test_windows_go_through_each_stream_in_order_with_the_next_step_as_target() -> None:
    values = np.arange(24, dtype=np.float32)[:, None]
    pairs = list(windows(values, target_index=0, num_streams=2, window_steps=4, offset=2))
    # 24 - 1 - 2 = 21 steps have a next one: 10 in each of two streams, from 2 and from 12 on.
    assert [x[0, :, 0].tolist() for x, _ in pairs] == [[2, 3, 4, 5], [6, 7, 8, 9], [10, 11]]
    assert [x[1, :, 0].tolist() for x, _ in pairs] == [[12, 13, 14, 15], [16, 17, 18, 19], [20, 21]]
    for x, target in pairs:
        assert torch.equal(target, x + 1)


def test_persistence_errors_leave_holes_out() -> None:
    # One ahead: |2-1| and |7-5|; two ahead: |5-2| alone, for 1 and 7 stand beside the hole; three ahead: |5-1|, |7-2|.
    series = np.array([1, 2, NAN, 5, 7], np.float32)
    assert persistence_errors([series], 3) == [1.5, 3.0, 4.5]


def test_futures_are_the_steps_after_each_and_unknown_beyond_the_end() -> None:
    table = futures(np.array([[1], [2], [3]], np.float32), 2)
    assert torch.equal(table[..., 0].nan_to_num(-1), torch.tensor([[2.0, 3.0], [3.0, -1.0], [-1.0, -1.0]]))


def test_some_features_are_hidden_in_some_stretches_drawn_for_each_row() -> None:
    x = torch.arange(4 * 11 * 3.0).reshape(4, 11, 3)
    torch.manual_seed(0)
    hidden = hide(x, [0, 2], 3, 0.5)
    gone = hidden.isnan()
    assert torch.equal(hidden[~gone], x[~gone])
    assert not gone[..., 1].any()
    assert torch.equal(gone[..., 0], gone[..., 2])
    # Whole stretches of three steps, the last shorter; not the same of all rows.
    for start in range(0, 11, 3):
        stretch = gone[:, start : start + 3, 0]
        assert (stretch == stretch[:, :1]).all()
    assert 0 < gone[..., 0].float().mean() < 1
    assert len({tuple(row) for row in gone[..., 0].tolist()}) > 1
    assert hide(x, [0, 2], 3, 1.0)[..., [0, 2]].isnan().all()
    assert torch.equal(hide(x, [0, 2], 3, 0.0), x)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ("wind",)),
        ({"data": {"known_future": ("wind",)}}, ()),
        ({"training": {"hidden_rate": 0.0}}, ()),
        ({"training": {"horizon_steps": 1}}, ()),
        ({"network": {"forecast": "direct"}}, ()),
    ],
)
def test_what_a_forecast_that_is_fed_back_does_not_know_is_hidden(
    wave_recipe: Recipe, changes: dict[str, dict[str, Any]], names: tuple[str, ...]
) -> None:
    content = wave_recipe.model_dump()
    content["data"] |= {"features": ("load", "wind"), "target": "load", **changes.get("data", {})}
    content["network"] |= {"forecast": "fed_back", **changes.get("network", {})}
    content["training"] |= {"horizon_steps": 4, **changes.get("training", {})}
    assert hidden_features(Recipe.model_validate(content)) == names


def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    short = with_training(wave_recipe, max_epochs=2)
    first, again = (train(short, dataset)[0].state_dict() for _ in range(2))
    other = train(with_training(short, seed=4), dataset)[0].state_dict()
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
    dataset = load_dataset(wave_recipe.data)
    network, _ = train(wave_recipe, dataset)
    [scores] = judged(network, wave_recipe, dataset)
    # The level moves by 1.6 an hour on average; a season of 12 hours later it is the same.
    assert scores.mean_mae(PERSISTENCE) == pytest.approx(1.66, abs=0.1)
    assert scores.mean_mae(SEASONAL_NAIVE) < 0.01
    assert scores.mean_mae(NETWORK) < 0.5 * scores.mean_mae(PERSISTENCE)
    assert scores.improvement > 0.5


def test_training_stops_when_the_validation_error_no_longer_falls(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    # A rate this low changes nothing that counts: each epoch after the first is no better or hardly.
    recipe = with_training(wave_recipe, learning_rate=1e-12, max_epochs=30, patience_epochs=2)
    _, fitted = train(recipe, dataset)
    assert fitted.num_epochs == fitted.best_epoch + 2 < 30


def test_the_weights_kept_are_those_of_the_best_epoch(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    shown: list[str] = []
    recipe = with_training(wave_recipe, learning_rate=0.05, schedule="constant", max_epochs=30, patience_epochs=1)
    network, fitted = train(recipe, dataset, lambda _done, _total, text: shown.append(text))
    errors = [float(text.rpartition(" ")[2]) for text in shown if text.startswith("validation loss (MAE)")]
    # The last epoch was worse than the one before it.
    assert fitted.num_epochs == len(errors) == fitted.best_epoch + 1 < 30
    assert fitted.best_epoch == 1 + errors.index(min(errors))
    part = slice(dataset.only.validation_start, dataset.only.test_start)
    forecast = forecast_part(network, dataset.only, part.start - 1, part.stop - 1)
    truth = dataset.only.truth[part, 0]
    assert np.abs(forecast - truth).mean() == pytest.approx(fitted.validation, rel=1e-6)
    assert fitted.validation == pytest.approx(min(errors), abs=1e-4)


def test_the_state_is_carried_from_window_to_window_and_begins_anew_in_each_epoch(
    wave_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[torch.Tensor] = []
    made: list[torch.Tensor] = []
    forward = Forecaster.forward

    def noted(network: Forecaster, x: torch.Tensor, last_seen: torch.Tensor, h: torch.Tensor) -> Any:
        answer = forward(network, x, last_seen, h)
        if network.training:
            assert not h.requires_grad
            given.append(h.clone())
            made.append(answer[2].detach().clone())
        return answer

    monkeypatch.setattr(Forecaster, "forward", noted)
    train(with_training(wave_recipe, max_epochs=2), load_dataset(wave_recipe.data))
    # 239 hours with a next one, in 4 streams, less where the epoch begins: 5 windows of 12, in each of two epochs.
    assert len(given) == 10
    for window, (before, after) in enumerate(zip(given[1:], made, strict=False), start=1):
        assert torch.equal(before, torch.zeros_like(before) if window == 5 else after)
    assert not given[0].any()


def test_gradients_are_of_one_window_alone_and_shortened_and_the_rate_falls(wave_recipe: Recipe) -> None:
    lengths: list[float] = []
    rates: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        [group] = optimizer.param_groups
        lengths.append(torch.linalg.vector_norm(torch.cat([w.grad.flatten() for w in group["params"]])).item())
        rates.append(group["lr"])

    hook = register_optimizer_step_pre_hook(note)
    try:
        recipe = with_training(wave_recipe, max_gradient_norm=0.01, max_epochs=4, learning_rate=1e-3)
        train(recipe, load_dataset(wave_recipe.data))
    finally:
        hook.remove()
    assert lengths == pytest.approx([0.01] * 20, rel=1e-3)
    # Half a cosine over 4 epochs, 5 windows in each.
    assert rates == pytest.approx([1e-3 * (1 + math.cos(math.pi * window / 20)) / 2 for window in range(20)])


def test_a_scored_part_is_forecast_as_by_a_session_that_has_read_all_before_it(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    torch.manual_seed(2)
    network = build_forecaster(Features.of(dataset), wave_recipe.network).eval()
    torch.nn.init.normal_(network.head.weight)
    with torch.no_grad():
        whole, *_ = network(torch.from_numpy(dataset.only.values[:60]).unsqueeze(0), *network.initial_state(1))
    part = forecast_part(network, dataset.only, 50, 60)
    assert part == pytest.approx(whole[0, 50:, 0].numpy(), rel=1e-5)
    cold = forecast_part(network, replace(dataset.only, values=dataset.only.values[50:]), 0, 10)
    assert part != pytest.approx(cold, rel=1e-3)


def test_progress_counts_windows_and_epochs(wave_recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[int, int, str]] = []
    monkeypatch.setattr(fitting, "REPORT_SECONDS", 0.0)
    train(with_training(wave_recipe, max_epochs=2), load_dataset(wave_recipe.data), lambda *step: steps.append(step))
    assert [done for done, _, _ in steps] == [0] * 5 + [1] + [1] * 5 + [2]
    assert [text.partition("  ")[0] for _, _, text in steps[:5]] == [f"batch {number}/5" for number in range(1, 6)]
    assert steps[5][2].startswith("validation loss (MAE) ")
    # From the second epoch on, with the error of the one before.
    assert "validation" not in steps[4][2]
    assert steps[6][2].endswith(steps[5][2])


def test_a_loss_that_is_no_number_is_reported_with_what_to_change(wave_recipe: Recipe) -> None:
    with pytest.raises(Diverged, match=r"the loss is (inf|nan) in epoch \d+: lower training\.learning_rate"):
        train(with_training(wave_recipe, loss="squared", learning_rate=1e36), load_dataset(wave_recipe.data))


def test_too_short_a_training_part_is_refused_with_the_keys_to_change(wave_recipe: Recipe) -> None:
    with pytest.raises(DataError, match=r"240 steps, too few for 32 streams.*training\.batch_size"):
        train(with_training(wave_recipe, batch_size=32), load_dataset(wave_recipe.data))


def test_the_test_part_changes_neither_the_weights_nor_when_training_stops(wave_recipe: Recipe) -> None:
    dataset = load_dataset(wave_recipe.data)
    changed = dataset.only.values.copy()
    changed[dataset.only.test_start :, 0] = 1000.0
    recipe = with_training(wave_recipe, max_epochs=3)
    first, first_fitted = train(recipe, dataset)
    other = replace(dataset.only, values=changed, truth=changed[:, :1])
    second, second_fitted = train(recipe, replace(dataset, series=(other,)))
    assert first_fitted.validation == second_fitted.validation
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
