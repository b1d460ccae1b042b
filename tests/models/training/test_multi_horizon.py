from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ostinato.models.data.series import load_dataset
from ostinato.models.errors import DataError, RecipeError, RunError
from ostinato.models.kinds.forecaster import check_series, load_run
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecaster_recipe import ForecasterNetwork, Recipe
from ostinato.models.networks.multi_horizon import GRUMultiHorizon, build_multi_horizon, forecast
from ostinato.models.networks.recurrent import States
from ostinato.models.training.forecasting import futures
from ostinato.models.training.losses import ForecastLoss
from ostinato.models.training.multi_horizon import forecast_origins
from ostinato.models.training.origins import Recurrent, join_rows
from tests.training import train_multi_horizon as train
from tests.training import train_run

NAN = float("nan")


@pytest.fixture
def waves(wave_recipe: Recipe) -> Recipe:
    content = wave_recipe.model_dump()
    content["network"].update(forecast="attention", memory_steps=12, memory_size=6)
    content["training"].update(loss="pinball", horizon_steps=4, origin_steps=4, max_epochs=12, patience_epochs=12)
    return Recipe.model_validate(content)


def no_report(_done: int, _total: int, _text: str) -> None:
    """Nobody looks."""


def test_training_lowers_the_loss_and_beats_persistence(waves: Recipe) -> None:
    dataset = load_dataset(waves.data)
    network, _ = train(waves, dataset)
    origins = range(dataset.only.test_start - 1, len(dataset.only.values) - 4)
    median = forecast_origins(network, dataset.only.values, origins, 4)[..., 1]
    truth = futures(dataset.only.truth, 4)[list(origins), :, 0]
    persistence = dataset.only.truth[list(origins)]
    known = ~torch.isnan(truth) & ~torch.isnan(torch.from_numpy(persistence))
    error, simple = (median - truth).abs(), (torch.from_numpy(persistence) - truth).abs()
    assert error[known].mean() < 0.7 * simple[known].mean()


def test_what_lies_beyond_a_part_changes_nothing_that_is_learned_from_it(waves: Recipe) -> None:
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
        series = replace(dataset.only, values=changed, truth=changed[:, :1])
        other, other_fitted = train(short, replace(dataset, series=(series,)))
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))
        assert (fitted.validation == other_fitted.validation) is (start == dataset.only.test_start)


def test_an_origin_is_scored_on_the_steps_right_after_it(waves: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks: list[torch.Tensor] = []
    truths: list[torch.Tensor] = []
    forward, score_truth = GRUMultiHorizon.forward, ForecastLoss.__call__

    def noted_chunk(network: GRUMultiHorizon, x: torch.Tensor, *states: torch.Tensor) -> Any:
        chunks.append(x)
        return forward(network, x, *states)

    def noted_truth(loss: ForecastLoss, forecasts: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        truths.append(truth)
        return score_truth(loss, forecasts, truth)

    monkeypatch.setattr(GRUMultiHorizon, "forward", noted_chunk)
    monkeypatch.setattr(ForecastLoss, "__call__", noted_truth)
    training = waves.training.model_copy(update={"max_epochs": 1})
    train(waves.model_copy(update={"training": training}), load_dataset(waves.data))
    # The first window: three chunks of 4 steps, with an origin at the end of each and a horizon of 4.
    num_streams = len(chunks[0])
    for origin in (0, 1):
        rows = truths[0][origin * num_streams : (origin + 1) * num_streams]
        assert torch.equal(rows[..., 0].nan_to_num(-1), chunks[origin + 1][:, :, 0].nan_to_num(-1))


def test_each_origin_of_a_window_is_forecast_from_its_own_state(waves: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_gradients_are_clipped(waves: Recipe) -> None:
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


def test_forecasts_at_many_origins_are_those_of_a_session(waves: Recipe) -> None:
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


def test_a_forecast_must_end_in_its_part(waves: Recipe) -> None:
    dataset = load_dataset(waves.data)
    # Three days from the 11th to the 14th, and 400 - 13 x 24 hours after that.
    check_series(dataset, with_horizon(waves, 72))
    with pytest.raises(DataError, match=r"training\.horizon_steps is 73, .* have 72 and 88 steps"):
        check_series(dataset, with_horizon(waves, 73))


def test_a_cycle_that_does_not_count_on_is_refused(waves: Recipe) -> None:
    data = waves.data.model_copy(update={"cycles": ("wind",)})
    with pytest.raises(DataError, match=r"cycles: the codes of 'wind' do not count on by one"):
        check_series(load_dataset(data), waves.model_copy(update={"data": data}))


@pytest.mark.usefixtures("wave_recipe")
def test_a_one_step_network_scored_on_other_days_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "waves.toml"
    recipe.write_text(
        'kind = "forecaster"\nname = "waves"\none_step = "one.toml"\n'
        + DATA
        + ATTENTION
        + '[training]\nloss = "pinball"\nnum_streams = 4\nwindow_steps = 12\nhorizon_steps = 3\n'
    )
    (tmp_path / "one.toml").write_text('name = "one"\n' + DATA.replace("-14", "-15") + NETWORK)
    with pytest.raises(RecipeError, match=r"one_step: .*one\.toml has another file, target or test part"):
        train_run(recipe, tmp_path / "run")


@pytest.mark.usefixtures("wave_recipe")
def test_a_one_step_network_that_forecasts_by_attention_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "waves.toml"
    recipe.write_text(
        'kind = "forecaster"\nname = "waves"\none_step = "waves.toml"\n' + DATA + ATTENTION + "memory_steps = 12\n"
        '[training]\nloss = "pinball"\nhorizon_steps = 3\n'
    )
    with pytest.raises(RecipeError, match=r"one_step: .*waves\.toml forecasts by attention, and one step is fed back"):
        train_run(recipe, tmp_path / "run")


@pytest.mark.usefixtures("wave_recipe")
def test_a_run_is_written_and_read_back(tmp_path: Path) -> None:
    recipe = tmp_path / "waves.toml"
    recipe.write_text(
        'kind = "forecaster"\nname = "waves"\none_step = "one.toml"\n' + DATA + ATTENTION + "memory_steps = 12\n"
        '[training]\nloss = "pinball"\nnum_streams = 4\nwindow_steps = 12\nmax_epochs = 1\nhorizon_steps = 3\n'
    )
    (tmp_path / "one.toml").write_text(
        'name = "one"\n' + DATA + NETWORK + "[training]\nnum_streams = 4\nwindow_steps = 12\nmax_epochs = 1\n"
        "[trees]\nlags = 12\nmax_trees = 5\n"
    )
    seen: list[tuple[int, int, str]] = []
    directory, (errors, parts, quantiles) = train_run(
        recipe, tmp_path / "run", 3, lambda done, total, text: seen.append((done, total, text))
    )
    assert directory == tmp_path / "run"
    assert seen[-1][:2] == (1, 1)
    # The network that is compared has its trees, too: one group, of the one number that it answers.
    assert (0, 1, "one  epoch 1/1  boosted trees") in seen
    assert not any("epoch 2/1" in text for _, _, text in seen)
    assert errors.columns == (
        "steps ahead",
        "network",
        "persistence",
        "seasonal naive",
        "linear autoregression",
        "one step, fed back",
        "within 0.1 to 0.9",
    )
    assert [row[0] for row in errors.rows] == ["1", "2", "3", "mean"]
    assert [row[0] for row in parts.rows] == ["0.1", "0.5", "0.9"]
    assert [row[0] for row in quantiles.rows] == ["network"]
    assert [row[2] for row in quantiles.rows] == [errors.rows[-1][-1]], "the same interval, in the mean"
    run = load_run(directory)
    assert run.content["kind"] == "forecaster"
    assert run.recipe.training.seed == 3
    assert not run.network.training


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"kind": "forecaster"}')
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        load_run(tmp_path)


@pytest.mark.parametrize("quantiles", [(0.1, 0.9), (0.9, 0.5, 0.1), (0.5, 0.6, 0.9), (0.1, 0.5, 0.5)])
def test_quantiles_must_rise_around_the_median(quantiles: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="quantiles"):
        ForecasterNetwork(cell="gru", quantiles=quantiles)


def with_horizon(recipe: Recipe, num_steps: int) -> Recipe:
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
ATTENTION = NETWORK + 'forecast = "attention"\n'


@pytest.mark.parametrize(
    ("part", "key", "message"),
    [
        ("training", "horizon_steps", r"training\.horizon_steps is 240, and the training part has 240 steps"),
        ("network", "memory_steps", r"network\.memory_steps is 240, and the training part has 240 steps"),
    ],
)
def test_steps_beyond_the_training_part_are_refused(part: str, key: str, message: str, waves: Recipe) -> None:
    section = getattr(waves, part).model_copy(update={key: 240})
    with pytest.raises(DataError, match=message):
        check_series(load_dataset(waves.data), waves.model_copy(update={part: section}))


def test_a_cycle_that_breaks_off_is_said_with_the_times(waves: Recipe) -> None:
    data = waves.data.model_copy(update={"cycles": ("wind",)})
    with pytest.raises(DataError, match=r"not from 2024-01-01T01:00:00 to 2024-01-01T02:00:00"):
        check_series(load_dataset(data), waves.model_copy(update={"data": data}))
