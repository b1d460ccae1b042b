from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ostinato.models.data.series import load_dataset
from ostinato.models.data.series_recipe import Recipe
from ostinato.models.errors import DataError, RecipeError, RunError
from ostinato.models.kinds.multi_horizon import check_series, load_run
from ostinato.models.networks.multi_horizon import GRUMultiHorizon, build_multi_horizon, forecast
from ostinato.models.networks.multi_horizon_recipe import MultiHorizonNetwork, MultiHorizonRecipe
from ostinato.models.networks.recurrent import Features, States
from ostinato.models.scores.multi_horizon import (
    check_scores,
    coverage,
    interval_coverage,
    mean_absolute_errors,
    score,
    seasonal_naive,
)
from ostinato.models.training.multi_horizon import PinballLoss, forecast_origins, futures, persistence_errors
from ostinato.models.training.origins import Recurrent, join_rows
from tests.training import train_multi_horizon as train
from tests.training import train_run

NAN = float("nan")


@pytest.fixture
def waves(wave_recipe: Recipe) -> MultiHorizonRecipe:
    content = wave_recipe.model_dump()
    content["kind"] = "multi_horizon"
    content["network"].update(memory_steps=12, memory_size=6)
    content["training"].update(horizon_steps=4, origin_steps=4, max_epochs=12, patience_epochs=12)
    return MultiHorizonRecipe.model_validate(content)


def no_report(_done: int, _total: int, _text: str) -> None:
    """Nobody looks."""


def test_pinball_loss_by_hand() -> None:
    loss = PinballLoss((0.1, 0.5, 0.9), torch.tensor([2.0, 4.0]))
    forecasts = torch.tensor([[[1.0, 2.0, 5.0], [0.0, 1.0, 2.0]]])
    # Truth 3: errors 2, 1, -2 cost 0.1 x 2 + 0.5 x 1 + 0.1 x 2 = 0.9, in units of 2: 0.45.
    # Truth 4: errors 4, 3, 2 cost 0.4 + 1.5 + 1.8 = 3.7, in units of 4: 0.925.
    assert loss(forecasts, torch.tensor([[3.0, 4.0]])).item() == pytest.approx((0.45 + 0.925) / 2)
    assert loss(forecasts, torch.tensor([[3.0, NAN]])).item() == pytest.approx(0.45)
    assert loss(forecasts, torch.tensor([[NAN, NAN]])).item() == 0.0


def test_a_missing_value_has_no_part_in_the_gradient() -> None:
    forecasts = torch.tensor([[[1.0], [7.0]]], requires_grad=True)
    PinballLoss((0.5,), torch.ones(2))(forecasts, torch.tensor([[3.0, NAN]])).backward()  # type: ignore[no-untyped-call]
    assert forecasts.grad is not None
    assert forecasts.grad.flatten().tolist() == [-0.5, 0.0]


def test_persistence_errors_leave_holes_out() -> None:
    # One ahead: |2-1| and |7-5|; two ahead: |5-2| alone, for 1 and 7 stand beside the hole; three ahead: |5-1|, |7-2|.
    series = np.array([1, 2, NAN, 5, 7], np.float32)
    assert persistence_errors(series, 3).tolist() == [1.5, 3.0, 4.5]


def test_futures_are_the_steps_after_each_and_unknown_beyond_the_end() -> None:
    table = futures(np.array([1, 2, 3], np.float32), 2)
    assert torch.equal(table.nan_to_num(-1), torch.tensor([[2.0, 3.0], [3.0, -1.0], [-1.0, -1.0]]))


def test_errors_and_coverage_by_hand() -> None:
    truth = np.array([[5.0, 1.0], [2.0, 9.0]], np.float32)
    forecasts = np.array([[[1, 4, 6], [2, 3, 4]], [[2, 3, 8], [0, 5, 6]]], np.float32)
    scored = np.array([[True, True], [True, False]])
    # One ahead: |4-5| and |3-2|; two ahead: |3-1|, and 9 is not scored.
    assert mean_absolute_errors(forecasts[..., 1], truth, scored) == (1.0, 2.0)
    # Of 5, 1, 2 at or below the low: 1, 2; the median: 1, 2; the high: all.
    assert coverage(forecasts, truth, scored) == pytest.approx((2 / 3, 2 / 3, 1.0))
    # One ahead 5 in 1..6 and 2 in 2..8; two ahead 1 is not in 2..4.
    assert interval_coverage(forecasts, truth, scored) == (1.0, 0.0)


def test_the_seasonal_naive_forecast_knows_nothing_after_its_origin() -> None:
    target = np.array([1, 2, 3, 4, NAN, 60, 70], np.float32)
    # At step 4, season 2: of 5 the value at 3; of 6 that at 4, a hole, so that at 2; of 7 that of 5 again.
    assert seasonal_naive(target, range(4, 5), 3, 2).tolist() == [[4.0, 3.0, 4.0]]


def test_training_lowers_the_loss_and_beats_persistence(waves: MultiHorizonRecipe) -> None:
    dataset = load_dataset(waves.data)
    network, _ = train(waves, dataset)
    scores = score(network, waves.network.quantiles, dataset, num_steps=4, season_steps=12)
    assert scores.mean_mae("network") < 0.7 * scores.mean_mae("persistence")
    # The wave repeats after 12 hours to the rounding of the file.
    assert scores.mean_mae("seasonal naive") < 0.01


def test_what_lies_beyond_a_part_changes_nothing_that_is_learned_from_it(waves: MultiHorizonRecipe) -> None:
    dataset = load_dataset(waves.data)
    training = waves.training.model_copy(update={"max_epochs": 1})
    short = waves.model_copy(update={"training": training})
    network, fitted = train(short, dataset)
    # The gradient of a quantile knows the sign of an error alone: both signs are tried.
    for start, level in (
        (dataset.only.test_start, 1e3),
        (dataset.only.validation_start, 1e3),
        (dataset.only.validation_start, -1e3),
    ):
        changed = dataset.only.values.copy()
        changed[start:, 0] = level
        other, other_fitted = train(short, replace(dataset, values=changed))
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
        assert (fitted.validation == other_fitted.validation) is (start == dataset.only.test_start)


def test_an_origin_is_scored_on_the_steps_right_after_it(
    waves: MultiHorizonRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks: list[torch.Tensor] = []
    truths: list[torch.Tensor] = []
    forward, score_truth = GRUMultiHorizon.forward, PinballLoss.__call__

    def noted_chunk(network: GRUMultiHorizon, x: torch.Tensor, *states: torch.Tensor) -> Any:
        chunks.append(x)
        return forward(network, x, *states)

    def noted_truth(loss: PinballLoss, forecasts: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        truths.append(truth)
        return score_truth(loss, forecasts, truth)

    monkeypatch.setattr(GRUMultiHorizon, "forward", noted_chunk)
    monkeypatch.setattr(PinballLoss, "__call__", noted_truth)
    training = waves.training.model_copy(update={"max_epochs": 1})
    train(waves.model_copy(update={"training": training}), load_dataset(waves.data))
    # The first window: three chunks of 4 steps, with an origin at the end of each and a horizon of 4.
    num_streams = len(chunks[0])
    for origin in (0, 1):
        rows = truths[0][origin * num_streams : (origin + 1) * num_streams]
        assert torch.equal(rows.nan_to_num(-1), chunks[origin + 1][:, :, 0].nan_to_num(-1))


def test_each_origin_of_a_window_is_forecast_from_its_own_state(
    waves: MultiHorizonRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[list[States]] = []

    def noted(network: Recurrent, rows: Sequence[States]) -> States:
        windows.append(list(rows))
        return join_rows(network, rows)

    monkeypatch.setattr("ostinato.models.training.multi_horizon.join_rows", noted)
    training = waves.training.model_copy(update={"max_epochs": 1})
    train(waves.model_copy(update={"training": training}), load_dataset(waves.data))
    # An origin every 4 steps of a window of 12.
    assert len(windows[0]) == 3
    for before, after in pairwise(windows[0]):
        assert not all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_gradients_are_clipped(waves: MultiHorizonRecipe) -> None:
    lengths: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        gradients = [weight.grad.flatten() for group in optimizer.param_groups for weight in group["params"]]
        lengths.append(torch.linalg.vector_norm(torch.cat(gradients)).item())

    training = waves.training.model_copy(update={"max_gradient_norm": 0.01, "max_epochs": 1})
    hook = register_optimizer_step_pre_hook(note)
    try:
        train(waves.model_copy(update={"training": training}), load_dataset(waves.data))
    finally:
        hook.remove()
    # 240 hours in 4 streams are 60 steps in each, less 2 at most for where they begin: 5 windows of 12.
    assert lengths == pytest.approx([0.01] * 5, rel=1e-3)


def test_forecasts_at_many_origins_are_those_of_a_session(waves: MultiHorizonRecipe) -> None:
    dataset = load_dataset(waves.data)
    torch.manual_seed(5)
    network = build_multi_horizon(Features.of(dataset), waves.network).eval()
    torch.nn.init.normal_(network.head.weight)
    together = forecast_origins(network, dataset.only.values, range(30, 60, 7), 4)
    with torch.no_grad():
        for row, origin in enumerate(range(30, 60, 7)):
            x = torch.from_numpy(dataset.only.values[: origin + 1]).unsqueeze(0)
            _, *states = network(x, *network.initial_state(1))
            alone = forecast(network, tuple(states), 4)
            assert torch.allclose(together[row : row + 1], alone, rtol=1e-5, atol=1e-4)


def test_a_forecast_must_end_in_its_part(waves: MultiHorizonRecipe) -> None:
    dataset = load_dataset(waves.data)
    # Three days from the 11th to the 14th, and 400 - 13 x 24 hours after that.
    check_series(dataset, with_horizon(waves, 72))
    with pytest.raises(DataError, match=r"training\.horizon_steps is 73, .* have 72 and 88 steps"):
        check_series(dataset, with_horizon(waves, 73))


def test_a_cycle_that_does_not_count_on_is_refused(waves: MultiHorizonRecipe) -> None:
    data = waves.data.model_copy(update={"cycles": ("wind",)})
    with pytest.raises(DataError, match=r"cycles: the codes of 'wind' do not count on by one"):
        check_series(load_dataset(data), waves.model_copy(update={"data": data}))


@pytest.mark.usefixtures("wave_recipe")
def test_a_one_step_network_scored_on_other_days_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "waves.toml"
    recipe.write_text(
        'kind = "multi_horizon"\nname = "waves"\none_step = "one.toml"\n'
        + DATA
        + NETWORK
        + "[training]\nnum_streams = 4\nwindow_steps = 12\nhorizon_steps = 3\n"
    )
    (tmp_path / "one.toml").write_text('name = "one"\n' + DATA.replace("-14", "-15") + NETWORK)
    with pytest.raises(RecipeError, match=r"one_step: .*one\.toml has another file, target or test part"):
        train_run(recipe, tmp_path / "run")


@pytest.mark.usefixtures("wave_recipe")
def test_a_run_is_written_and_read_back(tmp_path: Path) -> None:
    recipe = tmp_path / "waves.toml"
    recipe.write_text(
        'kind = "multi_horizon"\nname = "waves"\none_step = "one.toml"\n' + DATA + NETWORK + "memory_steps = 12\n"
        "[training]\nnum_streams = 4\nwindow_steps = 12\nmax_epochs = 1\nhorizon_steps = 3\n"
    )
    (tmp_path / "one.toml").write_text(
        'name = "one"\n' + DATA + NETWORK + "[training]\nnum_streams = 4\nwindow_steps = 12\nmax_epochs = 1\n"
    )
    seen: list[tuple[int, int]] = []
    directory, (errors, parts) = train_run(
        recipe, tmp_path / "run", 3, lambda done, total, _text: seen.append((done, total))
    )
    assert directory == tmp_path / "run"
    assert seen[-1] == (1, 1)
    assert errors.columns == (
        "steps ahead",
        "network",
        "persistence",
        "seasonal naive",
        "one step, fed back",
        "within 0.1 to 0.9",
    )
    assert [row[0] for row in errors.rows] == ["1", "2", "3", "mean"]
    assert [row[0] for row in parts.rows] == ["0.1", "0.5", "0.9"]
    run = load_run(directory)
    assert run.content["kind"] == "multi_horizon"
    assert run.recipe.training.seed == 3
    assert not run.network.training


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"kind": "multi_horizon"}')
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        load_run(tmp_path)


@pytest.mark.parametrize("quantiles", [(0.1, 0.9), (0.9, 0.5, 0.1), (0.5, 0.6, 0.9), (0.1, 0.5, 0.5)])
def test_quantiles_must_rise_around_the_median(quantiles: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="quantiles"):
        MultiHorizonNetwork(cell="gru", quantiles=quantiles)


def with_horizon(recipe: MultiHorizonRecipe, num_steps: int) -> MultiHorizonRecipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"horizon_steps": num_steps})})


DATA = """
[data]
file = "wave.csv"
target = "level"
features = ["level", "wind"]
categorical = ["wind"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-14
season_steps = 12
"""
NETWORK = '[network]\ncell = "gru"\nhidden_size = 4\n'


@pytest.mark.parametrize(
    ("part", "key", "message"),
    [
        ("training", "horizon_steps", r"training\.horizon_steps is 240, and the training part has 240 steps"),
        ("network", "memory_steps", r"network\.memory_steps is 240, and the training part has 240 steps"),
    ],
)
def test_steps_beyond_the_training_part_are_refused(
    part: str, key: str, message: str, waves: MultiHorizonRecipe
) -> None:
    section = getattr(waves, part).model_copy(update={key: 240})
    with pytest.raises(DataError, match=message):
        check_series(load_dataset(waves.data), waves.model_copy(update={part: section}))


def test_a_test_part_that_cannot_be_scored_at_each_horizon_is_refused(waves: MultiHorizonRecipe) -> None:
    dataset = load_dataset(waves.data)
    check_scores(dataset, num_steps=4, season_steps=312)
    with pytest.raises(
        DataError, match=r"data\.season_steps is 313, and the history before the test part has 312 steps"
    ):
        check_scores(dataset, num_steps=4, season_steps=313)
    # Of the test part only its first value is known: nothing can be scored two steps ahead.
    values = dataset.only.values.copy()
    values[dataset.only.test_start + 1 :] = np.nan
    with pytest.raises(DataError, match=r"no forecast 2 steps ahead can be scored: .* a value of 'level'"):
        check_scores(replace(dataset, values=values), num_steps=4, season_steps=12)


def test_a_cycle_that_breaks_off_is_said_with_the_times(waves: MultiHorizonRecipe) -> None:
    data = waves.data.model_copy(update={"cycles": ("wind",)})
    with pytest.raises(DataError, match=r"not from 2024-01-01T01:00:00 to 2024-01-01T02:00:00"):
        check_series(load_dataset(data), waves.model_copy(update={"data": data}))
