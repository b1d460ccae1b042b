from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ostinato.models.rivals.forecasts import autoregression
from ostinato.models.rivals.lag_table import LagTable
from ostinato.models.rivals.ridge import ridge_over_lags
from ostinato.models.rivals.trees import boosted_trees
from tests.models.rivals.series import task_of, windy


class Puppet:
    """In LightGBM's place: a model is a quantile of what it learned, and off by how far it is from 15 leaves."""

    def __init__(self) -> None:
        self.fitted: list[tuple[float, int]] = []
        self.categorical: list[int] = []

    def Dataset(self, rows: Any, labels: Any, **settings: Any) -> Any:  # noqa: N802 - the library's name
        self.categorical = settings.get("categorical_feature", self.categorical)
        return SimpleNamespace(rows=rows, labels=labels)

    def early_stopping(self, _patience: int, *, verbose: bool) -> None:
        assert not verbose

    def train(self, settings: Any, training: Any, _rounds: int, *, valid_sets: Any, callbacks: Any) -> Any:
        assert len(callbacks) == 1
        assert len(valid_sets[0].labels) < len(training.labels), "chosen by the validation part, which is the smaller"
        self.fitted.append((settings["alpha"], settings["num_leaves"]))
        value = np.quantile(training.labels, settings["alpha"]) + abs(settings["num_leaves"] - 15)
        loss = np.abs(valid_sets[0].labels - value).mean()
        return SimpleNamespace(
            predict=lambda rows: np.full(len(rows), value), best_score={"valid_0": {"quantile": loss}}
        )


@pytest.fixture
def puppet(monkeypatch: pytest.MonkeyPatch) -> Puppet:
    made = Puppet()
    monkeypatch.setitem(sys.modules, "lightgbm", made)
    return made


def test_a_model_a_step_ahead_and_a_level_learns_the_change_from_the_last_value(puppet: Puppet) -> None:
    task = task_of(windy(), num_steps=2, levels=(0.1, 0.5, 0.9))
    found = boosted_trees(task)
    assert found is not None
    table = LagTable(task)
    for ahead in (1, 2):
        _, last, truth = table.part("training", ahead, 10**9)
        changes = [np.quantile(truth - last, level) for level in task.levels]
        _, now = table.tested(ahead)
        assert found[:, ahead - 1] == pytest.approx(now[:, None] + np.array(changes), abs=1e-4)
    # How many leaves is chosen for the median one step ahead, by the validation part; the rest has as many.
    assert puppet.fitted[:3] == [(0.5, 7), (0.5, 15), (0.5, 31)]
    assert puppet.fitted[3:] == [(level, 15) for level in (0.1, 0.9, *task.levels)]
    assert puppet.categorical == table.categorical


def test_quantiles_that_cross_are_put_in_order(puppet: Puppet) -> None:
    task = task_of(windy(), levels=(0.9, 0.5, 0.1))
    found = boosted_trees(task)
    assert found is not None
    assert (np.diff(found, axis=-1) >= 0).all()
    assert [level for level, _ in puppet.fitted[3:]] == [0.9, 0.1], "as they are asked for"


def test_without_levels_it_is_the_median_and_not_below_the_least(puppet: Puppet) -> None:
    found = boosted_trees(replace(task_of(windy()), least=9.0))
    assert found is not None
    assert found.shape[1:] == (1, 1)
    assert found.min() == 9.0
    assert {level for level, _ in puppet.fitted} == {0.5}


@pytest.mark.usefixtures("puppet")
def test_too_little_to_learn_from_and_too_many_models_are_left_out() -> None:
    assert boosted_trees(task_of(windy(400))) is None
    assert boosted_trees(task_of(windy(4000), num_steps=51, levels=(0.1, 0.5, 0.9))) is None


@pytest.mark.long
def test_lightgbm_itself_learns_what_lines_do_not_and_the_same_each_time() -> None:
    dataset = windy(1400)
    series = dataset.only
    # A level of which the wind turns the sign of the change: no line over lags has it.
    level, wind = series.truth[:, 0].copy(), series.values[:, 1]
    level[0] = 1.0
    for step in range(1, len(level)):
        level[step] = level[step - 1] * (0.9 if wind[step - 1] else -0.9) + np.sin(step) * 0.1
    values = np.stack([level, wind], axis=1).astype(np.float32)
    twisted = replace(series, values=values, truth=values[:, :1])
    task = task_of(replace(dataset, series=(twisted,)))
    wanted = values[np.array(task.tested[0][1]) + 1, 0]
    errors = []
    for rival in (boosted_trees, ridge_over_lags, autoregression):
        made = rival(task)
        assert made is not None
        errors.append(float(np.abs(made[:, 0, 0] - wanted).mean()))
    assert errors[0] < 0.7 * min(errors[1:])
    one, two = (boosted_trees(task) for _ in range(2))
    assert one is not None
    assert two is not None
    assert one.tobytes() == two.tobytes()
