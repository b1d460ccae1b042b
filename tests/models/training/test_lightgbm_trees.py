from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import torch

from ostinato.models.networks.boosted import BoostedTrees
from ostinato.models.training.lightgbm_trees import CompleteTree, boosted, plant, rounded_down

SETTINGS = {
    "objective": "l1",
    "num_leaves": 7,
    "max_depth": 4,
    "min_data_in_leaf": 5,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


def rows_and_wanted(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Coarse numbers, so that many of them are thresholds' neighbours."""
    random = np.random.default_rng(seed)
    rows = (random.integers(0, 30, (400, 3)) / 10).astype(np.float32)
    return rows, (np.sin(rows[:, 0]) + rows[:, 1] * (rows[:, 2] > 1)).astype(np.float32)


@pytest.mark.parametrize(("value", "rounded"), [(0.5, 0.5), (0.1, 0.099999994), (-0.1, -0.1), (1e-35, 1e-35)])
def test_a_threshold_is_rounded_down_so_that_no_float32_changes_its_side(value: float, rounded: float) -> None:
    found = rounded_down(value)
    above = np.nextafter(found, np.float32(np.inf))
    assert float(found) <= value < float(above)
    assert found == pytest.approx(rounded, rel=1e-6)


def test_planted_trees_predict_what_the_boosters_do_in_the_mean() -> None:
    training, validation = rows_and_wanted(0), rows_and_wanted(1)
    trees = boosted(SETTINGS, training, validation, range(3, 5), num_rounds=12, patience_rounds=12)
    network = BoostedTrees([len(trees)], 4)
    plant(network, [trees])
    learned = lightgbm.Dataset(*training, params={"verbose": -1}, free_raw_data=False)
    held_out = lightgbm.Dataset(*validation, reference=learned, free_raw_data=False)
    predicted = []
    for seed in (3, 4):
        stop: list[Callable[..., Any]] = [lightgbm.early_stopping(12, verbose=False)]
        booster = lightgbm.train({**SETTINGS, "seed": seed}, learned, 12, valid_sets=[held_out], callbacks=stop)
        predicted.append(booster.predict(validation[0], num_iteration=booster.best_iteration))
    found = network(torch.from_numpy(validation[0])).numpy()[:, 0]
    np.testing.assert_allclose(found, np.mean(predicted, axis=0), atol=1e-5)
    assert np.abs(found - validation[1]).mean() < np.abs(validation[1] - np.median(validation[1])).mean() / 2


def test_the_sum_of_leaves_is_the_same_number_in_any_order() -> None:
    random = np.random.default_rng(0)
    shape = (np.zeros(1, np.int64), np.full(1, np.inf, np.float32))
    trees = [CompleteTree(*shape, random.normal(size=2) * 10.0 ** random.integers(-3, 3)) for _ in range(300)]
    network = BoostedTrees([300, 1], 1)
    plant(network, [trees, trees[:1]])
    leaves = network.leaf[:300, 0].numpy()
    sums = {float(random.permutation(leaves).cumsum(dtype=np.float32)[-1]) for _ in range(50)}
    assert sums == {float(leaves.astype(np.float64).sum())}
    np.testing.assert_allclose(leaves, [tree.leaf[0] for tree in trees], atol=1e-3)
    np.testing.assert_allclose(network.leaf[300], trees[0].leaf, atol=1e-3)
